#include "grammar/regex_rule.h"

#include <stdlib.h>
#include <string.h>

#include "grammar/regex.h"

/* ---- regular expressions: words[0] is the state of the run ---- */

struct regex_rule {
    struct kl_rule rule;
    struct kl_regex *regex;
};

struct regex_machine {
    struct kl_machine machine;
    struct kl_regex_run *run;
    uint64_t work_left; /* for one mask */
};

static struct kl_regex_run *run_of(const struct kl_machine *machine)
{
    return ((const struct regex_machine *)machine)->run;
}

static void close_regex(struct kl_machine *machine)
{
    kl_regex_run_close(run_of(machine));
    free(machine);
}

static void begin_regex(struct kl_machine *machine, struct kl_rule_state *state)
{
    *state = (struct kl_rule_state){.words = {kl_regex_run_start(run_of(machine))}};
}

static bool step_regex(struct kl_machine *machine, const struct kl_rule_state *from, uint8_t byte,
                       struct kl_rule_state *to)
{
    struct kl_regex_run *run = run_of(machine);
    if (machine->failure.status != KL_OK)
        return false;
    uint32_t state = kl_regex_run_step(run, from->words[0], byte);
    if (state != KL_REGEX_DEAD) {
        *to = (struct kl_rule_state){.words = {state}};
        return true;
    }
    enum kl_status status = kl_regex_run_failure(run);
    if (status == KL_ERR_LIMIT)
        kl_fail(&machine->failure, status,
                "regex: its automaton needs too many states, more than 8 MB, or too many steps for "
                "one mask; use fewer counted repetitions after alternatives that begin alike");
    else if (status != KL_OK)
        kl_fail_memory(&machine->failure, "the automaton of a regex", kl_regex_run_bytes(run));
    return false;
}

static bool regex_is_complete(struct kl_machine *machine, const struct kl_rule_state *state)
{
    return kl_regex_run_accepts(run_of(machine), state->words[0]);
}

static size_t regex_bytes(const struct kl_machine *machine)
{
    return sizeof(struct regex_machine) + kl_regex_run_bytes(run_of(machine));
}

/* A run keeps its states, within its own limits, since most are reached again. */
static size_t mark_regex(struct kl_machine *machine)
{
    (void)machine;
    return 0;
}

/* The work of the next mask is counted anew. */
static void release_regex(struct kl_machine *machine, size_t mark)
{
    (void)mark;
    ((struct regex_machine *)machine)->work_left = KL_REGEX_MASK_WORK;
}

static const struct kl_machine_kind regex_machine_kind = {.close = close_regex,
                                                          .begin = begin_regex,
                                                          .step = step_regex,
                                                          .is_complete = regex_is_complete,
                                                          .mark = mark_regex,
                                                          .release = release_regex,
                                                          .bytes = regex_bytes};

static enum kl_status open_regex(const struct kl_rule *rule, struct kl_machine **machine,
                                 struct kl_error *err)
{
    struct regex_machine *m = calloc(1, sizeof *m);
    *machine = NULL;
    if (m == NULL)
        return kl_fail_memory(err, "the machine of a regex", sizeof *m);
    m->machine.kind = &regex_machine_kind;
    enum kl_status status =
        kl_regex_run_open(((const struct regex_rule *)rule)->regex, &m->run, err);
    if (status != KL_OK) {
        free(m);
        return status;
    }
    m->work_left = KL_REGEX_MASK_WORK;
    kl_regex_run_count(m->run, &m->work_left);
    *machine = &m->machine;
    return KL_OK;
}

static void free_regex(struct kl_rule *rule)
{
    kl_regex_free(((struct regex_rule *)rule)->regex);
    free(rule);
}

static const struct kl_rule_kind regex_kind = {"regex", open_regex, free_regex};

/* Whether some text matches. */
static enum kl_status check_regex(const struct kl_regex *regex, struct kl_error *err)
{
    struct kl_regex_run *run;
    enum kl_status status = kl_regex_run_open(regex, &run, err);
    if (status != KL_OK)
        return status;
    if (kl_regex_run_start(run) == KL_REGEX_DEAD)
        status = kl_fail(err, KL_ERR_INVALID,
                         "regex: expected a pattern that some text matches, found one that nothing "
                         "matches; look for empty classes, and for ^ or $ inside");
    kl_regex_run_close(run);
    return status;
}

enum kl_status kl_regex_rule(const char *pattern, size_t len, struct kl_rule **rule,
                             struct kl_error *err)
{
    struct regex_rule *r = calloc(1, sizeof *r);
    *rule = NULL;
    if (r == NULL)
        return kl_fail_memory(err, "a regex", sizeof *r);
    kl_rule_init(&r->rule, &regex_kind);
    enum kl_status status = kl_regex_compile(pattern, len, KL_REGEX_WHOLE, &r->regex, err);
    if (status != KL_OK)
        r->regex = NULL;
    else
        status = check_regex(r->regex, err);
    if (status != KL_OK) {
        free_regex(&r->rule);
        return status;
    }
    r->rule.n_states = kl_regex_positions(r->regex);
    r->rule.bytes = sizeof *r + kl_regex_bytes(r->regex);
    *rule = &r->rule;
    return KL_OK;
}

/* ---- choices ---- */

/* The strings that begin like the text so far are a range of the sorted strings; so the state is
 * that range and the length of the text, and the machine keeps nothing. */
enum { FIRST, END, LENGTH };

struct choice_rule {
    struct kl_rule rule;
    char *bytes;          /* of all strings, each with its NUL */
    const char **strings; /* [n] sorted, into bytes */
    size_t n;
};

struct choice_machine {
    struct kl_machine machine;
    const struct choice_rule *rule;
};

static const struct choice_rule *choice_of(const struct kl_machine *machine)
{
    return ((const struct choice_machine *)machine)->rule;
}

static void close_choice(struct kl_machine *machine)
{
    free(machine);
}

static void begin_choice(struct kl_machine *machine, struct kl_rule_state *state)
{
    *state = (struct kl_rule_state){.words = {[END] = (uint32_t)choice_of(machine)->n}};
}

/* The first string of [first, end) whose byte at `at` is `least` or more. */
static uint32_t find(const struct choice_rule *rule, uint32_t first, uint32_t end, uint32_t at,
                     unsigned least)
{
    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        if ((unsigned char)rule->strings[middle][at] < least)
            first = middle + 1;
        else
            end = middle;
    }
    return first;
}

static bool step_choice(struct kl_machine *machine, const struct kl_rule_state *from, uint8_t byte,
                        struct kl_rule_state *to)
{
    const struct choice_rule *rule = choice_of(machine);
    uint32_t first = from->words[FIRST], end = from->words[END], length = from->words[LENGTH];
    if (byte == 0)
        return false;
    first = find(rule, first, end, length, byte);
    end = find(rule, first, end, length, byte + 1u);
    if (first == end)
        return false;
    *to = (struct kl_rule_state){.words = {[FIRST] = first, [END] = end, [LENGTH] = length + 1}};
    return true;
}

/* The shortest string of the range is its first one. */
static bool choice_is_complete(struct kl_machine *machine, const struct kl_rule_state *state)
{
    return choice_of(machine)->strings[state->words[FIRST]][state->words[LENGTH]] == '\0';
}

static size_t choice_bytes(const struct kl_machine *machine)
{
    (void)machine;
    return sizeof(struct choice_machine);
}

static const struct kl_machine_kind choice_machine_kind = {.close = close_choice,
                                                           .begin = begin_choice,
                                                           .step = step_choice,
                                                           .is_complete = choice_is_complete,
                                                           .bytes = choice_bytes};

static enum kl_status open_choice(const struct kl_rule *rule, struct kl_machine **machine,
                                  struct kl_error *err)
{
    struct choice_machine *m = calloc(1, sizeof *m);
    *machine = NULL;
    if (m == NULL)
        return kl_fail_memory(err, "the machine of a choice", sizeof *m);
    m->machine.kind = &choice_machine_kind;
    m->rule = (const struct choice_rule *)rule;
    *machine = &m->machine;
    return KL_OK;
}

static void free_choice(struct kl_rule *rule)
{
    struct choice_rule *r = (struct choice_rule *)rule;
    free(r->bytes);
    free(r->strings);
    free(r);
}

static const struct kl_rule_kind choice_kind = {"choice", open_choice, free_choice};

static int compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static enum kl_status copy_choices(struct choice_rule *r, const char *const *choices, size_t n,
                                   struct kl_error *err)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        bytes += strlen(choices[i]) + 1;
        if (bytes > KL_CHOICE_MAX_BYTES)
            return kl_fail(err, KL_ERR_LIMIT,
                           "choice: its strings may have %zu bytes in all, they have more; use "
                           "fewer or shorter ones",
                           KL_CHOICE_MAX_BYTES);
    }
    r->bytes = malloc(bytes);
    r->strings = malloc(n * sizeof *r->strings);
    if (r->bytes == NULL || r->strings == NULL)
        return kl_fail_memory(err, "the strings of a choice", bytes + n * sizeof *r->strings);
    char *at = r->bytes;
    for (size_t i = 0; i < n; i++) {
        r->strings[i] = at;
        at = stpcpy(at, choices[i]) + 1;
    }
    qsort(r->strings, n, sizeof *r->strings, compare);
    r->n = n;
    r->rule.n_states = bytes;
    r->rule.bytes = sizeof *r + bytes + n * sizeof *r->strings;
    return KL_OK;
}

enum kl_status kl_choice_rule(const char *const *choices, size_t n, struct kl_rule **rule,
                              struct kl_error *err)
{
    *rule = NULL;
    if (n == 0)
        return kl_fail(err, KL_ERR_INVALID, "choice: expected at least one string, found none");
    if (n > KL_CHOICE_MAX_STRINGS)
        return kl_fail(err, KL_ERR_LIMIT, "choice: expected at most %d strings, found %zu",
                       KL_CHOICE_MAX_STRINGS, n);
    struct choice_rule *r = calloc(1, sizeof *r);
    if (r == NULL)
        return kl_fail_memory(err, "a choice", sizeof *r);
    kl_rule_init(&r->rule, &choice_kind);
    enum kl_status status = copy_choices(r, choices, n, err);
    if (status != KL_OK) {
        free_choice(&r->rule);
        return status;
    }
    *rule = &r->rule;
    return KL_OK;
}
