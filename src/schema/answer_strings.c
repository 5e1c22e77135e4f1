/* Strings of an alternative: a set that is filtered, or one regex for all that was asserted. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/printer.h"
#include "base/utf8.h"
#include "grammar/regex_least.h"
#include "grammar/regex_product.h"
#include "schema/answer_parts.h"

enum { MAX_TERMS = 32, MAX_SETS = 32 };

/* The cost of a product in KL_ANSWER_MAX_STEPS: all of them take some 100 ms at most. */
enum { PRODUCT_STEPS = 1000, STATE_STEPS = 4 };

/* Larger patterns are not looked through for names that run out; the cost of a state of others. */
enum { MAX_COUNTED_POSITIONS = 256, COUNT_STEPS = 8 };

/* Everything that is asserted of a string. */
struct demands {
    uint32_t min, max;
    uint32_t terms[MAX_TERMS]; /* index of the regex, doubled, plus 1 if it must not match */
    size_t n_terms;
    int32_t sets[MAX_SETS], not_sets[MAX_SETS];
    size_t n_sets, n_not_sets;
    bool is_full; /* more than there is room for */
};

static struct kl_regex_run *run_of(struct kl_answers *a, uint32_t regex, enum kl_status *status)
{
    if (regex >= a->n_runs) {
        size_t n = a->graph->n_regexes;
        void *grown = realloc(a->runs, n * sizeof(*a->runs));
        if (grown == NULL) {
            *status = kl_fail_memory(a->err, "a schema", n * sizeof(*a->runs));
            return NULL;
        }
        a->runs = grown;
        memset(a->runs + a->n_runs, 0, (n - a->n_runs) * sizeof(*a->runs));
        a->n_runs = n;
    }
    if (a->runs[regex].run == NULL)
        *status = kl_regex_run_open(a->graph->regexes[regex], &a->runs[regex].run, a->err);
    return a->runs[regex].run;
}

bool kl_answers_match(struct kl_answers *a, uint32_t regex, const struct kl_schema_text *text,
                      enum kl_status *status)
{
    struct kl_regex_run *run = *status == KL_OK ? run_of(a, regex, status) : NULL;
    if (run == NULL)
        return false;
    uint32_t state = kl_regex_run_start(run);
    for (uint32_t i = 0; i < text->len && state != KL_REGEX_DEAD; i++)
        state = kl_regex_run_step(run, state, (uint8_t)text->bytes[i]);
    if (kl_regex_run_failure(run) != KL_OK)
        *status = kl_fail(a->err, kl_regex_run_failure(run),
                          "a pattern of the schema needs too many states");
    return state != KL_REGEX_DEAD && kl_regex_run_accepts(run, state);
}

bool kl_answers_set_has(const struct kl_string_set *set, const struct kl_schema_text *text)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < text->len; i++)
        at = kl_string_set_step(set, at, (uint8_t)text->bytes[i]);
    return at != KL_STRING_SET_DEAD && set->n != 0 && set->nodes[at].ends;
}

/* The length of the shortest text that matches; UINT32_MAX: there is none. */
static uint32_t least_of(struct kl_answers *a, uint32_t regex, enum kl_status *status)
{
    struct kl_regex_run *run = *status == KL_OK ? run_of(a, regex, status) : NULL;
    if (run == NULL || kl_regex_run_start(run) == KL_REGEX_DEAD)
        return UINT32_MAX;
    struct kl_regex_least memo = {0};
    uint32_t least = kl_regex_least(&memo, run, kl_regex_run_start(run), status);
    kl_regex_least_release(&memo);
    if (*status != KL_OK)
        kl_fail(a->err, *status, "a pattern of the schema needs too many states");
    return least;
}

static uint32_t length_of(const struct kl_schema_text *text)
{
    uint32_t length = 0;
    for (uint32_t i = 0; i < text->len; i++)
        length += ((uint8_t)text->bytes[i] & 0xC0) != 0x80;
    return length;
}

static bool own_allow(struct kl_answers *a, const struct kl_schema_node *node,
                      const struct kl_schema_text *text, enum kl_status *status)
{
    uint32_t length = length_of(text);
    bool allows = (node->types & KL_JSON_STRING) != 0 && length >= node->min_length &&
                  length <= node->max_length;
    if (allows && node->strings >= 0)
        allows = kl_answers_set_has(&a->graph->sets[node->strings], text);
    for (uint32_t i = 0; i < node->regexes.n && allows; i++)
        allows = kl_answers_match(a, a->graph->regex_lists[node->regexes.first + i], text, status);
    return allows;
}

/* Recursive by the chains of nodes for the same value, which are at most KL_SCHEMA_MAX_CHAIN. */
bool kl_answers_allow_string(struct kl_answers *a, int32_t index, const struct kl_schema_text *text,
                             enum kl_status *status)
{
    const struct kl_schema_node *node = kl_raw(a, index);
    bool allows = own_allow(a, node, text, status);
    uint32_t n = 0;
    for (uint32_t i = 0; i < node->all_of.n && allows; i++)
        allows =
            kl_answers_allow_string(a, a->graph->node_lists[node->all_of.first + i], text, status);
    for (uint32_t i = 0; i < node->any_of.n && allows; i++)
        n += kl_answers_allow_string(a, a->graph->node_lists[node->any_of.first + i], text, status);
    allows = allows && (node->any_of.n == 0 || n > 0);
    n = 0;
    for (uint32_t i = 0; i < node->one_of.n && allows; i++)
        n += kl_answers_allow_string(a, a->graph->node_lists[node->one_of.first + i], text, status);
    allows = allows && (node->one_of.n == 0 || n == 1);
    if (allows && node->not_node != KL_NO_NODE)
        allows = !kl_answers_allow_string(a, node->not_node, text, status);
    if (allows && node->if_node != KL_NO_NODE) {
        int32_t then = kl_answers_allow_string(a, node->if_node, text, status) ? node->then_node
                                                                               : node->else_node;
        allows = then == KL_NO_NODE || kl_answers_allow_string(a, then, text, status);
    }
    return allows;
}

/* ---- products -------------------------------------------------------------------------------- */

enum kl_status kl_answers_product(struct kl_answers *a, uint32_t *terms, size_t n,
                                  uint32_t min_length, uint32_t max_length, uint32_t *regex)
{
    uint32_t words[MAX_TERMS + 2];
    struct kl_regex_term given[MAX_TERMS];
    memcpy(words, terms, n * sizeof(*terms));
    words[n] = min_length;
    words[n + 1] = max_length;
    uint32_t entry = kl_word_store_put(&a->products, words, n + 2);
    if (entry == 0)
        return kl_fail(a->err, a->products.failure, "the schema is too large to be rewritten");
    uint32_t known = *kl_word_store_value(&a->products, entry);
    if (known != 0) {
        *regex = known == UINT32_MAX ? UINT32_MAX : known - 1;
        return KL_OK;
    }
    for (size_t i = 0; i < n; i++)
        given[i] = (struct kl_regex_term){.regex = a->graph->regexes[terms[i] / 2],
                                          .is_negated = terms[i] % 2 != 0};
    if (a->steps > KL_ANSWER_MAX_STEPS)
        return kl_fail(a->err, KL_ERR_LIMIT,
                       "the schema has too many patterns that must be combined");
    a->steps += PRODUCT_STEPS;
    struct kl_regex *made = NULL;
    enum kl_status status = kl_regex_product(given, n, min_length, max_length, &made, a->err);
    *regex = UINT32_MAX;
    if (made != NULL)
        a->steps += STATE_STEPS * kl_regex_positions(made);
    if (status == KL_OK && made != NULL)
        status = kl_schema_take_regex(&a->builder, made, regex);
    if (status == KL_OK)
        *kl_word_store_value(&a->products, entry) = *regex == UINT32_MAX ? *regex : *regex + 1;
    return status;
}

/* ---- patterns of a few texts ----------------------------------------------------------------- */

enum { MAX_LISTED_BYTES = 64 };

struct listing {
    struct kl_answers *a;
    struct kl_regex_run *run;
    uint32_t *keys;
    size_t n;
    char text[MAX_LISTED_BYTES];
    enum kl_status status;
};

/* Adds the texts that begin with text[0..len); false: there are too many. */
static bool list(struct listing *l, uint32_t state, size_t len)
{
    if (kl_regex_run_accepts(l->run, state)) {
        if (l->n == KL_ANSWER_MAX_LISTED)
            return false;
        l->status = kl_schema_add_key(&l->a->builder, l->text, len, &l->keys[l->n++]);
    }
    for (int byte = 0; byte < 256 && l->status == KL_OK; byte++) {
        uint32_t next = kl_regex_run_step(l->run, state, (uint8_t)byte);
        if (next == KL_REGEX_DEAD)
            continue;
        if (len == MAX_LISTED_BYTES)
            return false;
        l->text[len] = (char)byte;
        if (!list(l, next, len + 1))
            return false;
    }
    return true;
}

enum kl_status kl_answers_list(struct kl_answers *a, uint32_t regex,
                               uint32_t keys[KL_ANSWER_MAX_LISTED], size_t *n)
{
    struct listing l = {.a = a, .keys = keys};
    l.run = run_of(a, regex, &l.status);
    *n = SIZE_MAX;
    if (l.run == NULL)
        return l.status;
    uint32_t start = kl_regex_run_start(l.run);
    /* all lengths are possible: no need to try */
    if (!kl_regex_run_accepts_all(l.run, start) && (start == KL_REGEX_DEAD || list(&l, start, 0)))
        *n = l.n;
    if (l.status == KL_OK && kl_regex_run_failure(l.run) != KL_OK)
        l.status = kl_fail(a->err, kl_regex_run_failure(l.run),
                           "a pattern of the schema needs too many states");
    return l.status;
}

enum kl_status kl_answers_count(struct kl_answers *a, uint32_t regex, uint32_t *n, bool *is_endless)
{
    enum kl_status status = KL_OK;
    struct kl_regex_run *run = run_of(a, regex, &status);
    if (run == NULL)
        return status;
    struct kl_answer_run *r = &a->runs[regex];
    size_t n_states = 0, positions = kl_regex_positions(a->graph->regexes[regex]);
    if (!r->is_counted && positions <= MAX_COUNTED_POSITIONS && a->steps <= KL_ANSWER_MAX_STEPS)
        r->is_endless = kl_regex_is_endless(&r->count, run, &n_states, &status);
    a->steps += COUNT_STEPS * n_states;
    r->is_counted = true;
    *is_endless = r->is_endless;
    *n = kl_regex_run_start(run) == KL_REGEX_DEAD
             ? 0
             : kl_regex_count(&r->count, run, kl_regex_run_start(run), &status);
    if (status != KL_OK)
        kl_fail(a->err, status, "a pattern of the schema needs too many states");
    return status;
}

enum kl_status kl_answers_regex_of_set(struct kl_answers *a, const struct kl_string_set *set,
                                       uint32_t *regex)
{
    struct kl_printer p;
    kl_printer_init(&p, KL_REGEX_MAX_PATTERN);
    for (size_t i = 0; i < set->n; i++) {
        kl_print(&p, i == 0 ? "(?:" : "|");
        for (uint32_t k = 0; k < set->sorted[i].len;) {
            uint32_t point;
            bool valid;
            k += (uint32_t)kl_utf8_decode(set->sorted[i].bytes + k, set->sorted[i].len - k, &point,
                                          &valid);
            kl_print(&p, "\\u{%X}", (unsigned)point);
        }
    }
    kl_print(&p, ")");
    enum kl_status status = p.status;
    if (status == KL_ERR_LIMIT)
        kl_fail(a->err, status, "a value that is excluded is too long");
    else if (status == KL_OK)
        status = kl_schema_add_regex(&a->builder, p.text.data, p.text.len, KL_REGEX_WHOLE, regex);
    kl_printer_release(&p);
    return status;
}

/* ---- merging --------------------------------------------------------------------------------- */

static void add_term(struct demands *d, uint32_t term)
{
    size_t at = 0;
    while (at < d->n_terms && d->terms[at] < term)
        at++;
    if (at < d->n_terms && d->terms[at] == term)
        return;
    if (d->n_terms == MAX_TERMS) {
        d->is_full = true;
        return;
    }
    memmove(d->terms + at + 1, d->terms + at, (d->n_terms - at) * sizeof(*d->terms));
    d->terms[at] = term;
    d->n_terms++;
}

static void add_set(struct demands *d, int32_t *sets, size_t *n, int32_t set)
{
    if (*n == MAX_SETS)
        d->is_full = true;
    else
        sets[(*n)++] = set;
}

static void collect(const struct kl_answers *a, const struct kl_alternative *alt, struct demands *d)
{
    const uint32_t *regexes = a->graph->regex_lists;
    for (size_t i = 0; i < alt->n; i++) {
        const struct kl_schema_node *node = kl_raw(a, alt->applied[i]);
        d->min = node->min_length > d->min ? node->min_length : d->min;
        d->max = node->max_length < d->max ? node->max_length : d->max;
        for (uint32_t k = 0; k < node->regexes.n; k++)
            add_term(d, 2 * regexes[node->regexes.first + k]);
        if (node->strings >= 0)
            add_set(d, d->sets, &d->n_sets, node->strings);
        if (node->not_node == KL_NO_NODE)
            continue;
        const struct kl_schema_node *not_node = kl_raw(a, node->not_node);
        if (!kl_raw_is_primitive(not_node))
            continue;
        if (not_node->strings >= 0)
            add_set(d, d->not_sets, &d->n_not_sets, not_node->strings);
        else
            add_term(d, 2 * regexes[not_node->regexes.first] + 1);
    }
}

static bool allows(struct kl_answers *a, const struct demands *d, const struct kl_schema_text *text,
                   enum kl_status *status)
{
    uint32_t length = length_of(text);
    if (length < d->min || length > d->max)
        return false;
    for (size_t i = 1; i < d->n_sets; i++)
        if (!kl_answers_set_has(&a->graph->sets[d->sets[i]], text))
            return false;
    for (size_t i = 0; i < d->n_not_sets; i++)
        if (kl_answers_set_has(&a->graph->sets[d->not_sets[i]], text))
            return false;
    for (size_t i = 0; i < d->n_terms; i++)
        if (kl_answers_match(a, d->terms[i] / 2, text, status) == (d->terms[i] % 2 != 0))
            return false;
    return true;
}

/* The strings of the first set that all others allow, in the order of the schema. */
static enum kl_status filter(struct kl_answers *a, const struct demands *d,
                             struct kl_schema_node *node)
{
    const struct kl_string_set *set = &a->graph->sets[d->sets[0]];
    node->strings = d->sets[0];
    if (d->n_sets == 1 && d->n_terms == 0 && d->n_not_sets == 0 && d->min == 0 &&
        d->max == UINT32_MAX)
        return KL_OK;
    size_t room = 0, n = 0;
    for (size_t i = 0; i < set->n; i++)
        room = set->place[i] >= room ? set->place[i] + 1 : room;
    struct kl_schema_text *texts = calloc(room + 1, sizeof(*texts));
    if (texts == NULL)
        return kl_fail_memory(a->err, "a schema", room * sizeof(*texts));
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < set->n && status == KL_OK; i++)
        if (allows(a, d, &set->sorted[i], &status))
            texts[set->place[i]] = set->sorted[i];
    for (size_t i = 0; i < room; i++)
        if (texts[i].bytes != NULL)
            texts[n++] = texts[i];
    if (status == KL_OK && n == 0)
        node->types &= (uint8_t)~KL_JSON_STRING;
    if (status == KL_OK && n == set->n)
        node->strings = d->sets[0];
    else if (status == KL_OK && n != 0)
        status = kl_schema_add_set(&a->builder, texts, n, &node->strings);
    free(texts);
    return status;
}

enum kl_status kl_answers_merge_strings(struct kl_answers *a, const struct kl_alternative *alt,
                                        struct kl_schema_node *node)
{
    struct demands d = {.max = UINT32_MAX};
    if ((node->types & KL_JSON_STRING) == 0)
        return KL_OK;
    collect(a, alt, &d);
    if (d.n_sets != 0 && !d.is_full)
        return filter(a, &d, node);
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < d.n_not_sets && status == KL_OK; i++) {
        uint32_t regex = 0;
        status = kl_answers_regex_of_set(a, &a->graph->sets[d.not_sets[i]], &regex);
        add_term(&d, 2 * regex + 1);
    }
    if (status != KL_OK)
        return status;
    if (d.is_full)
        return kl_answers_refuse(a, node, KL_ERR_UNSUPPORTED, "pattern",
                                 "has too many others that must hold with it");
    if (d.min > d.max) {
        node->types &= (uint8_t)~KL_JSON_STRING;
        return KL_OK;
    }
    node->max_length = d.max;
    if (d.n_terms == 0) {
        node->min_length = d.min;
        return KL_OK;
    }
    uint32_t regex = d.terms[0] / 2;
    bool is_one = d.n_terms == 1 && d.terms[0] % 2 == 0;
    if (!is_one || d.min > (d.min == 0 ? 0 : least_of(a, regex, &status)))
        status = kl_answers_product(a, d.terms, d.n_terms, d.min, UINT32_MAX, &regex);
    if (status == KL_ERR_LIMIT)
        return kl_answers_refuse(a, node, KL_ERR_UNSUPPORTED, "pattern",
                                 "and the lengths and patterns that must hold with it need too "
                                 "many states");
    uint32_t least =
        status == KL_OK && regex != UINT32_MAX ? least_of(a, regex, &status) : UINT32_MAX;
    if (status == KL_OK && (least == UINT32_MAX || least > d.max))
        node->types &= (uint8_t)~KL_JSON_STRING;
    else if (status == KL_OK)
        status = kl_schema_add_regex_list(&a->builder, &regex, 1, &node->regexes);
    return status;
}
