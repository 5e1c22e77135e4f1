#include "grammar/regex_product.h"

#include <stdlib.h>
#include <string.h>

#include "grammar/regex_program.h"
#include "grammar/word_store.h"

/* Where a text is in a character of UTF-8: between two, or before some bytes of the range 80 to
 * BF, or behind a first byte with a narrower range. */
enum { BETWEEN, NEED_1, NEED_2, NEED_3, AFTER_E0, AFTER_ED, AFTER_F0, AFTER_F4, BROKEN };

/* Words of a state before those of the terms. */
enum { W_PHASE, W_LENGTH, W_TERMS };

#define MAX_STORE_BYTES ((size_t)32 << 20)

struct product {
    const struct kl_regex_term *terms;
    struct kl_regex_run **runs;
    size_t n_terms;
    uint32_t min_length, max_length;
    uint8_t classes[256], bytes[256]; /* bytes of a class are alike; one byte of each */
    size_t n_classes;
    struct kl_word_store store; /* of the states; value: their number */
    uint32_t *entries;          /* [n] */
    uint32_t *steps;            /* [n][n_classes]; 0: dead */
    bool *accepts, *useful;     /* [n] */
    size_t n, room;
    uint32_t *tuple; /* scratch, [W_TERMS + n_terms] */
};

static unsigned begin_character(uint8_t byte)
{
    if (byte < 0x80)
        return BETWEEN;
    if (byte < 0xC2 || byte > 0xF4)
        return BROKEN;
    if (byte < 0xE0)
        return NEED_1;
    if (byte < 0xF0)
        return byte == 0xE0 ? AFTER_E0 : byte == 0xED ? AFTER_ED : NEED_2;
    return byte == 0xF0 ? AFTER_F0 : byte == 0xF4 ? AFTER_F4 : NEED_3;
}

static unsigned next_phase(unsigned phase, uint8_t byte)
{
    if (phase == BETWEEN)
        return begin_character(byte);
    uint8_t least = phase == AFTER_E0 ? 0xA0 : phase == AFTER_F0 ? 0x90 : 0x80;
    uint8_t most = phase == AFTER_ED ? 0x9F : phase == AFTER_F4 ? 0x8F : 0xBF;
    if (byte < least || byte > most)
        return BROKEN;
    switch (phase) {
    case NEED_3:
    case AFTER_F0:
    case AFTER_F4:
        return NEED_2;
    case NEED_2:
    case AFTER_E0:
    case AFTER_ED:
        return NEED_1;
    default:
        return BETWEEN;
    }
}

/* Whether two bytes are alike to UTF-8 and to all terms. */
static bool are_alike(const struct product *p, uint8_t a, uint8_t b)
{
    for (unsigned phase = BETWEEN; phase < BROKEN; phase++)
        if (next_phase(phase, a) != next_phase(phase, b))
            return false;
    for (size_t i = 0; i < p->n_terms; i++)
        if (p->terms[i].regex->classes[a] != p->terms[i].regex->classes[b])
            return false;
    return true;
}

static void find_classes(struct product *p)
{
    for (int byte = 0; byte < 256; byte++) {
        size_t c = 0;
        while (c < p->n_classes && !are_alike(p, p->bytes[c], (uint8_t)byte))
            c++;
        if (c == p->n_classes)
            p->bytes[p->n_classes++] = (uint8_t)byte;
        p->classes[byte] = (uint8_t)c;
    }
}

static bool grow(struct product *p)
{
    size_t room = p->room == 0 ? 64 : 2 * p->room;
    uint32_t *entries = realloc(p->entries, room * sizeof *entries);
    if (entries != NULL)
        p->entries = entries;
    uint32_t *steps = realloc(p->steps, room * p->n_classes * sizeof *steps);
    if (steps != NULL)
        p->steps = steps;
    bool *accepts = realloc(p->accepts, room);
    if (accepts != NULL)
        p->accepts = accepts;
    p->room = entries == NULL || steps == NULL || accepts == NULL ? p->room : room;
    return p->room == room;
}

/* Sets *state to the number of p->tuple, 0 if it is dead; true unless something failed. */
static enum kl_status state_of(struct product *p, uint32_t *state)
{
    bool accepts = p->tuple[W_PHASE] == BETWEEN && p->tuple[W_LENGTH] >= p->min_length;
    *state = 0;
    if (p->tuple[W_PHASE] == BROKEN || p->tuple[W_LENGTH] > p->max_length)
        return KL_OK;
    for (size_t i = 0; i < p->n_terms; i++) {
        uint32_t at = p->tuple[W_TERMS + i];
        bool is_negated = p->terms[i].is_negated;
        if (is_negated ? kl_regex_run_accepts_all(p->runs[i], at) : at == KL_REGEX_DEAD)
            return KL_OK;
        accepts =
            accepts && (at != KL_REGEX_DEAD && kl_regex_run_accepts(p->runs[i], at)) != is_negated;
    }
    uint32_t entry = kl_word_store_put(&p->store, p->tuple, W_TERMS + p->n_terms);
    if (entry == 0)
        return p->store.failure;
    uint32_t *known = kl_word_store_value(&p->store, entry);
    if (*known == 0) {
        if (p->n > KL_REGEX_MAX_PRODUCT)
            return KL_ERR_LIMIT;
        if (p->n == p->room && !grow(p))
            return KL_ERR_MEMORY;
        *known = (uint32_t)p->n;
        p->entries[p->n] = entry;
        p->accepts[p->n++] = accepts;
    }
    *state = *known;
    return KL_OK;
}

/* Sets p->tuple to the state after one more byte. */
static void step(struct product *p, uint32_t from, uint8_t byte)
{
    size_t n;
    const uint32_t *words = kl_word_store_get(&p->store, p->entries[from], &n);
    uint32_t most = p->max_length == UINT32_MAX ? p->min_length : p->max_length + 1;
    memcpy(p->tuple, words, n * sizeof *words);
    if (p->tuple[W_PHASE] == BETWEEN && p->tuple[W_LENGTH] < most)
        p->tuple[W_LENGTH]++;
    p->tuple[W_PHASE] = next_phase(p->tuple[W_PHASE], byte);
    for (size_t i = 0; i < p->n_terms; i++)
        if (p->tuple[W_TERMS + i] != KL_REGEX_DEAD)
            p->tuple[W_TERMS + i] = kl_regex_run_step(p->runs[i], p->tuple[W_TERMS + i], byte);
}

static enum kl_status explore(struct product *p)
{
    uint32_t state;
    p->n = 1; /* 0 is dead */
    p->tuple[W_PHASE] = BETWEEN;
    p->tuple[W_LENGTH] = 0;
    for (size_t i = 0; i < p->n_terms; i++)
        p->tuple[W_TERMS + i] = kl_regex_run_start(p->runs[i]);
    enum kl_status status = state_of(p, &state);
    for (uint32_t at = 1; at < p->n && status == KL_OK; at++)
        for (size_t c = 0; c < p->n_classes && status == KL_OK; c++) {
            step(p, at, p->bytes[c]);
            status = state_of(p, &state);
            p->steps[at * p->n_classes + c] = state;
        }
    for (size_t i = 0; i < p->n_terms && status == KL_OK; i++)
        status = kl_regex_run_failure(p->runs[i]);
    return status;
}

/* Finds the states that lead to one that accepts. */
static void trim(struct product *p)
{
    bool changed = true;
    memset(p->useful, 0, p->n);
    while (changed) {
        changed = false;
        for (size_t s = p->n - 1; s > 0; s--) {
            bool useful = p->accepts[s];
            for (size_t c = 0; c < p->n_classes && !useful; c++)
                useful = p->useful[p->steps[s * p->n_classes + c]];
            changed = changed || useful != p->useful[s];
            p->useful[s] = useful;
        }
    }
}

/* The next range of bytes that lead from a state to one useful state; false: there is none. */
static bool next_range(const struct product *p, size_t state, int *first, int *last,
                       uint32_t *target)
{
    const uint32_t *row = p->steps + state * p->n_classes;
    while (*first < 256 && !p->useful[row[p->classes[*first]]])
        ++*first;
    if (*first == 256)
        return false;
    *target = row[p->classes[*first]];
    for (*last = *first; *last < 255 && row[p->classes[*last + 1]] == *target;)
        ++*last;
    return true;
}

/* The states of the program for one state of the product: a byte or a match each, and splits before
 * all but the last one. program: NULL to count them. */
static size_t emit(const struct product *p, size_t state, const uint32_t *begins,
                   struct kl_regex_state *program)
{
    size_t n = 0;
    size_t left = p->accepts[state];
    uint32_t target = 0;
    for (int first = 0, last; next_range(p, state, &first, &last, &target); first = last + 1)
        left++;
    if (program == NULL)
        return 2 * left - 1;
    int first = 0, last = 0;
    for (bool accepts = p->accepts[state]; left > 0; left--) {
        struct kl_regex_state leaf = {
            .op = KL_OP_MATCH, .can_match = true, .ends = true, .empty = true};
        uint32_t at = begins[state] + (uint32_t)n;
        if (left > 1)
            program[n++] = (struct kl_regex_state){
                .op = KL_OP_SPLIT, .can_match = true, .next = at + 1, .other = at + 2};
        if (!accepts) {
            next_range(p, state, &first, &last, &target);
            leaf = (struct kl_regex_state){.op = KL_OP_BYTE,
                                           .first = (uint8_t)first,
                                           .last = (uint8_t)last,
                                           .can_match = true,
                                           .next = begins[target]};
            first = last + 1;
        }
        accepts = false;
        program[n++] = leaf;
    }
    return n;
}

static enum kl_status make_program(const struct product *p, struct kl_regex **regex)
{
    struct kl_regex *r = calloc(1, sizeof *r);
    uint32_t *begins = calloc(p->n, sizeof *begins);
    size_t n = 1;
    for (size_t s = 1; s < p->n && begins != NULL; s++)
        if (p->useful[s]) {
            begins[s] = (uint32_t)n;
            n += emit(p, s, NULL, NULL);
        }
    if (r != NULL && begins != NULL)
        r->states = calloc(n, sizeof *r->states);
    if (r == NULL || begins == NULL || r->states == NULL) {
        free(r);
        free(begins);
        return KL_ERR_MEMORY;
    }
    r->states[0] =
        (struct kl_regex_state){.op = KL_OP_MATCH, .can_match = true, .ends = true, .empty = true};
    for (size_t s = 1; s < p->n; s++)
        if (p->useful[s])
            emit(p, s, begins, r->states + begins[s]);
    r->n = r->room = n;
    r->start = begins[1];
    memcpy(r->classes, p->classes, sizeof r->classes);
    memcpy(r->samples, p->bytes, sizeof r->samples);
    r->n_classes = p->n_classes;
    r->positions = n;
    free(begins);
    *regex = r;
    return KL_OK;
}

static enum kl_status run_product(struct product *p, struct kl_regex **regex)
{
    find_classes(p);
    if (!grow(p))
        return KL_ERR_MEMORY;
    enum kl_status status = explore(p);
    if (status != KL_OK || p->n == 1)
        return status;
    p->useful = malloc(p->n);
    if (p->useful == NULL)
        return KL_ERR_MEMORY;
    trim(p);
    return p->useful[1] ? make_program(p, regex) : KL_OK;
}

enum kl_status kl_regex_product(const struct kl_regex_term *terms, size_t n, uint32_t min_length,
                                uint32_t max_length, struct kl_regex **regex, struct kl_error *err)
{
    struct product p = {
        .terms = terms, .n_terms = n, .min_length = min_length, .max_length = max_length};
    *regex = NULL;
    kl_word_store_init(&p.store, MAX_STORE_BYTES);
    p.runs = calloc(n + 1, sizeof(struct kl_regex_run *));
    p.tuple = calloc(n + W_TERMS, sizeof *p.tuple);
    enum kl_status status = p.runs == NULL || p.tuple == NULL ? KL_ERR_MEMORY : KL_OK;
    for (size_t i = 0; i < n && status == KL_OK; i++)
        status = kl_regex_run_open(terms[i].regex, &p.runs[i], err);
    if (status == KL_OK)
        status = run_product(&p, regex);
    for (size_t i = 0; i < n && p.runs != NULL; i++)
        kl_regex_run_close(p.runs[i]);
    free(p.runs);
    free(p.tuple);
    free(p.entries);
    free(p.steps);
    free(p.accepts);
    free(p.useful);
    kl_word_store_free(&p.store);
    if (status == KL_ERR_LIMIT)
        return kl_fail(err, status,
                       "patterns and lengths that must hold together need more than %d states",
                       KL_REGEX_MAX_PRODUCT);
    return status == KL_OK ? KL_OK : kl_fail_memory(err, "a pattern", KL_REGEX_MAX_PRODUCT);
}
