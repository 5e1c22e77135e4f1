#include "grammar/choice_rule.h"

#include <stdlib.h>
#include <string.h>

#define MAX_BYTES ((size_t)4 << 20)

struct choice_rule {
    struct kl_rule rule;
    char *bytes;
    struct kl_choice_text *texts; /* [n] in the order of their bytes; those that begin another one
                                   * are before it */
    uint32_t n;
};

/* The words of a state: the first text that begins like the answer, the one behind the last, and
 * the bytes read. */
struct choice_machine {
    struct kl_machine machine;
    const struct choice_rule *rule;
};

static void choice_begin(struct kl_machine *machine, struct kl_rule_state *state)
{
    *state = (struct kl_rule_state){{0, ((struct choice_machine *)machine)->rule->n, 0}};
}

/* The first of texts[low..high), which agree in `at` bytes, whose next byte is `least` or more. */
static uint32_t find(const struct choice_rule *r, uint32_t low, uint32_t high, uint32_t at,
                     unsigned least)
{
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct kl_choice_text *t = &r->texts[middle];
        if (t->len <= at || (uint8_t)t->text[at] < least)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool choice_step(struct kl_machine *machine, const struct kl_rule_state *from, uint8_t byte,
                        struct kl_rule_state *to)
{
    const struct choice_rule *r = ((struct choice_machine *)machine)->rule;
    uint32_t at = from->words[2];
    uint32_t first = find(r, from->words[0], from->words[1], at, byte);
    uint32_t end = find(r, first, from->words[1], at, byte + 1u);
    if (first == end)
        return false;
    *to = (struct kl_rule_state){{first, end, at + 1}};
    return true;
}

static bool choice_is_complete(struct kl_machine *machine, const struct kl_rule_state *state)
{
    return ((struct choice_machine *)machine)->rule->texts[state->words[0]].len == state->words[2];
}

static size_t choice_bytes(const struct kl_machine *machine)
{
    (void)machine;
    return sizeof(struct choice_machine);
}

static void choice_close(struct kl_machine *machine)
{
    free(machine);
}

static const struct kl_machine_kind machine_kind = {.close = choice_close,
                                                    .begin = choice_begin,
                                                    .step = choice_step,
                                                    .is_complete = choice_is_complete,
                                                    .bytes = choice_bytes};

static enum kl_status choice_open(const struct kl_rule *rule, struct kl_machine **machine,
                                  struct kl_error *err)
{
    struct choice_machine *m = calloc(1, sizeof *m);
    if (m == NULL)
        return kl_fail_memory(err, "a machine", sizeof *m);
    m->machine.kind = &machine_kind;
    m->rule = (const struct choice_rule *)rule;
    *machine = &m->machine;
    return KL_OK;
}

static void choice_free(struct kl_rule *rule)
{
    struct choice_rule *r = (struct choice_rule *)rule;
    free(r->bytes);
    free(r->texts);
    free(r);
}

static const struct kl_rule_kind rule_kind = {"choice", choice_open, choice_free};

static int compare(const void *a, const void *b)
{
    const struct kl_choice_text *x = a, *y = b;
    int order = memcmp(x->text, y->text, x->len < y->len ? x->len : y->len);
    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

enum kl_status kl_choice_rule(const struct kl_choice_text *texts, size_t n, struct kl_rule **rule,
                              struct kl_error *err)
{
    size_t bytes = n * sizeof *texts;
    for (size_t i = 0; i < n && bytes <= MAX_BYTES; i++)
        bytes += texts[i].len;
    if (n == 0)
        return kl_fail(err, KL_ERR_INVALID, "a choice: expected at least one text");
    if (bytes > MAX_BYTES)
        return kl_fail(err, KL_ERR_LIMIT, "a choice: expected texts of at most %zu bytes",
                       MAX_BYTES);
    struct choice_rule *r = calloc(1, sizeof *r);
    char *at = malloc(bytes);
    struct kl_choice_text *copies = malloc(n * sizeof *copies);
    if (r == NULL || at == NULL || copies == NULL) {
        free(r);
        free(at);
        free(copies);
        return kl_fail_memory(err, "a rule", bytes);
    }
    kl_rule_init(&r->rule, &rule_kind);
    r->bytes = at;
    r->texts = copies;
    for (size_t i = 0; i < n; at += texts[i++].len) {
        memcpy(at, texts[i].text, texts[i].len);
        copies[i] = (struct kl_choice_text){at, texts[i].len};
    }
    qsort(copies, n, sizeof *copies, compare);
    r->n = (uint32_t)n;
    r->rule.n_states = n;
    r->rule.bytes = sizeof *r + bytes;
    *rule = &r->rule;
    return KL_OK;
}
