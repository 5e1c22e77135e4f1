#include "grammar/regex_rule.h"

#include <stdlib.h>

#include "grammar/regex.h"

struct regex_rule {
    struct kl_rule rule;
    struct kl_regex *regex;
};

/* The first word of a state is that of the automaton. */
struct regex_machine {
    struct kl_machine machine;
    struct kl_regex_run *run;
};

static struct kl_regex_run *run_of(struct kl_machine *machine)
{
    return ((struct regex_machine *)machine)->run;
}

/* Copies a failure of the automaton. */
static void check(struct kl_machine *machine)
{
    enum kl_status status = kl_regex_run_failure(run_of(machine));
    if (status == KL_OK || machine->failure.status != KL_OK)
        return;
    kl_fail(&machine->failure, status, "%s",
            status == KL_ERR_LIMIT ? "the regular expression has too many states in this answer"
                                   : "out of memory while following a regular expression");
}

static void regex_begin(struct kl_machine *machine, struct kl_rule_state *state)
{
    *state = (struct kl_rule_state){{kl_regex_run_start(run_of(machine))}};
    check(machine);
}

static bool regex_step(struct kl_machine *machine, const struct kl_rule_state *from, uint8_t byte,
                       struct kl_rule_state *to)
{
    uint32_t next = kl_regex_run_step(run_of(machine), from->words[0], byte);
    if (next == KL_REGEX_DEAD) {
        check(machine);
        return false;
    }
    *to = (struct kl_rule_state){{next}};
    return true;
}

static bool regex_is_complete(struct kl_machine *machine, const struct kl_rule_state *state)
{
    return kl_regex_run_accepts(run_of(machine), state->words[0]);
}

static size_t regex_bytes(const struct kl_machine *machine)
{
    const struct regex_machine *m = (const struct regex_machine *)machine;
    return sizeof *m + kl_regex_run_bytes(m->run);
}

static void regex_close(struct kl_machine *machine)
{
    kl_regex_run_close(run_of(machine));
    free(machine);
}

static const struct kl_machine_kind machine_kind = {.close = regex_close,
                                                    .begin = regex_begin,
                                                    .step = regex_step,
                                                    .is_complete = regex_is_complete,
                                                    .bytes = regex_bytes};

static enum kl_status regex_open(const struct kl_rule *rule, struct kl_machine **machine,
                                 struct kl_error *err)
{
    struct regex_machine *m = calloc(1, sizeof *m);
    if (m == NULL)
        return kl_fail_memory(err, "a machine", sizeof *m);
    m->machine.kind = &machine_kind;
    enum kl_status status =
        kl_regex_run_open(((const struct regex_rule *)rule)->regex, &m->run, err);
    if (status == KL_OK)
        *machine = &m->machine;
    else
        free(m);
    return status;
}

static void regex_free(struct kl_rule *rule)
{
    kl_regex_free(((struct regex_rule *)rule)->regex);
    free(rule);
}

static const struct kl_rule_kind rule_kind = {"regex", regex_open, regex_free};

static enum kl_status check_matches(struct regex_rule *r, struct kl_error *err)
{
    struct kl_regex_run *run;
    enum kl_status status = kl_regex_run_open(r->regex, &run, err);
    if (status != KL_OK)
        return status;
    bool matches = kl_regex_run_start(run) != KL_REGEX_DEAD;
    kl_regex_run_close(run);
    return matches ? KL_OK : kl_fail(err, KL_ERR_INVALID, "no text matches the regular expression");
}

enum kl_status kl_regex_rule(const char *pattern, size_t len, struct kl_rule **rule,
                             struct kl_error *err)
{
    struct regex_rule *r = calloc(1, sizeof *r);
    if (r == NULL)
        return kl_fail_memory(err, "a rule", sizeof *r);
    kl_rule_init(&r->rule, &rule_kind);
    enum kl_status status = kl_regex_compile(pattern, len, KL_REGEX_WHOLE, &r->regex, err);
    if (status == KL_OK)
        status = check_matches(r, err);
    if (status != KL_OK) {
        regex_free(&r->rule);
        return status;
    }
    r->rule.n_states = kl_regex_positions(r->regex);
    r->rule.bytes = sizeof *r + kl_regex_bytes(r->regex);
    *rule = &r->rule;
    return KL_OK;
}
