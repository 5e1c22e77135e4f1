#include <stdlib.h>

#include "grammar/gbnf_program.h"

/* Finds the cycles of a program between two bytes (Tarjan's strongly connected components, with a
 * stack of its own). A cycle with a call is left recursion; others are empty repetitions, which the
 * machine visits once. Components are numbered from the callees up, which gives the ranks. */
struct search {
    struct kl_gbnf_program *program;
    struct node {
        uint32_t order, low; /* order of the visit, 0: not visited; the lowest one reached */
        uint32_t component;  /* 0: not known yet */
        uint32_t edge;       /* the next edge to follow */
    } * nodes;               /* [code] */
    uint32_t *path, *open;   /* [code] */
    uint32_t n_path, n_open, order, component;
};

/* The instruction that edge `edge` leads to; KL_GBNF_NONE: no more edges. */
static uint32_t target(const struct search *s, uint32_t at, uint32_t edge)
{
    const struct kl_gbnf_instruction *i = &s->program->code[at];
    switch ((enum kl_gbnf_op)i->op) {
    case KL_GBNF_JUMP:
        return edge == 0 ? i->argument : KL_GBNF_NONE;
    case KL_GBNF_SPLIT:
        return edge == 0 ? i->argument : edge == 1 ? at + 1 : KL_GBNF_NONE;
    case KL_GBNF_CALL: {
        const struct kl_gbnf_routine *routine = &s->program->routines[i->argument];
        if (edge == 0)
            return routine->start;
        return edge == 1 && routine->empty ? at + 1 : KL_GBNF_NONE;
    }
    case KL_GBNF_END:
    case KL_GBNF_BYTE:
    case KL_GBNF_IN:
    case KL_GBNF_RETURN:
        break;
    }
    return KL_GBNF_NONE;
}

static void enter(struct search *s, uint32_t at)
{
    s->nodes[at].order = s->nodes[at].low = ++s->order;
    s->path[s->n_path++] = at;
    s->open[s->n_open++] = at;
}

static void visit(struct search *s, uint32_t from)
{
    enter(s, from);
    while (s->n_path > 0) {
        uint32_t at = s->path[s->n_path - 1];
        struct node *node = &s->nodes[at];
        uint32_t to = target(s, at, node->edge++);
        if (to != KL_GBNF_NONE) {
            if (s->nodes[to].order == 0)
                enter(s, to);
            else if (s->nodes[to].component == 0 && s->nodes[to].order < node->low)
                node->low = s->nodes[to].order;
            continue;
        }
        s->n_path--;
        if (s->n_path > 0 && node->low < s->nodes[s->path[s->n_path - 1]].low)
            s->nodes[s->path[s->n_path - 1]].low = node->low;
        if (node->low != node->order)
            continue;
        s->component++;
        do
            s->nodes[s->open[--s->n_open]].component = s->component;
        while (s->open[s->n_open] != at);
    }
}

enum kl_status kl_gbnf_rank(struct kl_gbnf_program *program, uint32_t *routine,
                            struct kl_error *err)
{
    struct search s = {.program = program};
    s.nodes = calloc(program->n_code, sizeof *s.nodes);
    s.path = malloc(program->n_code * sizeof *s.path);
    s.open = malloc(program->n_code * sizeof *s.open);
    enum kl_status status = KL_OK;
    if (s.nodes == NULL || s.path == NULL || s.open == NULL) {
        status = kl_fail_memory(err, "a grammar", program->n_code * sizeof *s.nodes);
        goto done;
    }
    for (uint32_t i = 0; i < program->n_code; i++)
        if (s.nodes[i].order == 0)
            visit(&s, i);
    for (uint32_t i = 0; i < program->n_routines; i++)
        program->routines[i].rank = s.nodes[program->routines[i].start].component;
    for (uint32_t i = 0; i < program->n_code && status == KL_OK; i++) {
        if (program->code[i].op != KL_GBNF_CALL)
            continue;
        *routine = program->code[i].argument;
        if (s.nodes[program->routines[*routine].start].component == s.nodes[i].component)
            status = KL_ERR_UNSUPPORTED;
    }
done:
    free(s.nodes);
    free(s.path);
    free(s.open);
    return status;
}
