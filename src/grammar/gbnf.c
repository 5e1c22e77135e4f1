#include "grammar/gbnf.h"

#include <stdlib.h>

#include "grammar/gbnf_grammar.h"
#include "grammar/gbnf_machine.h"
#include "grammar/gbnf_program.h"

struct gbnf_rule {
    struct kl_rule rule;
    struct kl_gbnf_program program;
};

static enum kl_status open_machine(const struct kl_rule *rule, struct kl_machine **machine,
                                   struct kl_error *err)
{
    return kl_gbnf_machine_open(&((const struct gbnf_rule *)rule)->program, machine, err);
}

static void free_rule(struct kl_rule *rule)
{
    kl_gbnf_program_free(&((struct gbnf_rule *)rule)->program);
    free(rule);
}

static const struct kl_rule_kind kind = {"grammar", open_machine, free_rule};

enum kl_status kl_gbnf_compile(const char *text, size_t len, struct kl_rule **rule,
                               struct kl_error *err)
{
    struct gbnf_rule *r = calloc(1, sizeof *r);
    *rule = NULL;
    if (r == NULL)
        return kl_fail_memory(err, "a grammar", sizeof *r);
    kl_rule_init(&r->rule, &kind);

    struct kl_gbnf_grammar grammar;
    enum kl_status status = kl_gbnf_parse(text, len, &grammar, err);
    if (status == KL_OK)
        status = kl_gbnf_program_make(&grammar, &r->program, err);
    kl_gbnf_grammar_free(&grammar);

    /* A grammar that is too ambiguous at its first byte is refused now. */
    struct kl_machine *machine;
    if (status == KL_OK)
        status = kl_gbnf_machine_open(&r->program, &machine, err);
    if (status != KL_OK) {
        free_rule(&r->rule);
        return status;
    }
    machine->kind->close(machine);
    r->rule.n_states = r->program.n_code;
    r->rule.bytes = sizeof *r + kl_gbnf_program_bytes(&r->program);
    *rule = &r->rule;
    return KL_OK;
}
