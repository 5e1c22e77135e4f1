#include "grammar/gbnf_program.h"

#include <stdlib.h>

#include "grammar/gbnf.h"
#include "grammar/gbnf_classes.h"
#include "grammar/gbnf_reader.h"

/* ---- what parts can be ---- */

/* Which of two properties of parts is settled. */
enum property { ENDS, EMPTY };

struct settling {
    struct kl_gbnf_grammar *g;
    enum property property;
    uint32_t *missing; /* [parts] of a sequence: children without the property */
    uint32_t *todo;    /* parts that have the property, and whose parents were not told */
    size_t n_todo;
};

static bool *property_of(struct settling *s, uint32_t part)
{
    struct kl_gbnf_part *p = &s->g->parts[part];
    return s->property == ENDS ? &p->ends : &p->empty;
}

static void has_property(struct settling *s, uint32_t part)
{
    bool *property = property_of(s, part);
    if (!*property) {
        *property = true;
        s->todo[s->n_todo++] = part;
    }
}

/* Whether a part has the property whatever its children and references are; counts children. */
static bool has_it_alone(struct settling *s, uint32_t part)
{
    const struct kl_gbnf_part *p = &s->g->parts[part];
    switch ((enum kl_gbnf_kind)p->kind) {
    case KL_GBNF_TEXT:
        return s->property == ENDS || p->second == 0;
    case KL_GBNF_CLASS:
        return s->property == ENDS && p->first != KL_CLASS_NONE;
    case KL_GBNF_SEQUENCE:
        s->missing[part] = 0;
        for (uint32_t c = p->child; c != KL_GBNF_NONE; c = s->g->parts[c].next)
            s->missing[part]++;
        return s->missing[part] == 0;
    case KL_GBNF_REPETITION:
        return p->first == 0;
    case KL_GBNF_REFERENCE:
    case KL_GBNF_CHOICE:
        break;
    }
    return false;
}

/* Sets the property of all parts that have it: from the leaves to their parents, and from the body
 * of a rule to the references. Each part is visited once. */
static enum kl_status settle(struct kl_gbnf_grammar *g, enum property property,
                             struct kl_error *err)
{
    struct settling s = {.g = g, .property = property};
    s.missing = calloc(g->n_parts, sizeof *s.missing);
    s.todo = malloc(g->n_parts * sizeof *s.todo);
    if (s.missing == NULL || s.todo == NULL) {
        free(s.missing);
        free(s.todo);
        return kl_fail_memory(err, "a grammar", g->n_parts * sizeof *s.todo);
    }
    for (uint32_t part = 0; part < g->n_parts; part++)
        if (has_it_alone(&s, part))
            has_property(&s, part);
    while (s.n_todo > 0) {
        uint32_t part = s.todo[--s.n_todo], parent = g->parts[part].parent;
        if (parent == KL_GBNF_NONE) {
            uint32_t r = g->rules[g->parts[part].rule].references;
            for (; r != KL_GBNF_NONE; r = g->parts[r].second)
                has_property(&s, r);
        } else if (g->parts[parent].kind != KL_GBNF_SEQUENCE || --s.missing[parent] == 0) {
            has_property(&s, parent);
        }
    }
    free(s.missing);
    free(s.todo);
    return KL_OK;
}

/* ---- instructions ---- */

struct maker {
    struct kl_gbnf_grammar *g;
    struct kl_gbnf_program *program;
    uint32_t part; /* that is being made, for errors */
    struct kl_error *err;
};

/* The rule's name for messages. */
static int name_of(const struct kl_gbnf_grammar *g, uint32_t part, const char **name)
{
    const struct kl_gbnf_rule *rule = &g->rules[g->parts[part].rule];
    *name = g->text + rule->name;
    return (int)(rule->name_len < 100 ? rule->name_len : 100);
}

static enum kl_status emit(struct maker *m, enum kl_gbnf_op op, uint32_t argument)
{
    struct kl_gbnf_program *program = m->program;
    if (program->n_code == KL_GBNF_MAX_POSITIONS) {
        const char *name;
        int len = name_of(m->g, m->part, &name);
        return kl_fail(
            m->err, KL_ERR_LIMIT,
            "grammar: with its repetitions written out it has more than %d positions, at "
            "the rule '%.*s'; repeat fewer times, or without a limit",
            KL_GBNF_MAX_POSITIONS, len, name);
    }
    if (program->n_code == program->code_room) {
        size_t room = program->code_room == 0 ? 256 : 2 * program->code_room;
        struct kl_gbnf_instruction *code = realloc(program->code, room * sizeof *code);
        if (code == NULL)
            return kl_fail_memory(m->err, "a grammar", room * sizeof *code);
        program->code = code;
        program->code_room = room;
    }
    program->code[program->n_code++] =
        (struct kl_gbnf_instruction){.op = (uint8_t)op, .argument = argument};
    return KL_OK;
}

static uint32_t here(const struct maker *m)
{
    return (uint32_t)m->program->n_code;
}

/* Gives a part a routine, which is made later. */
static enum kl_status need_routine(struct maker *m, uint32_t part)
{
    struct kl_gbnf_program *program = m->program;
    struct kl_gbnf_part *p = &m->g->parts[part];
    if (p->routine != KL_GBNF_NONE)
        return KL_OK;
    if (program->n_routines == program->routine_room) {
        size_t room = program->routine_room == 0 ? 64 : 2 * program->routine_room;
        struct kl_gbnf_routine *routines = realloc(program->routines, room * sizeof *routines);
        if (routines == NULL)
            return kl_fail_memory(m->err, "a grammar", room * sizeof *routines);
        program->routines = routines;
        program->routine_room = room;
    }
    p->routine = (uint32_t)program->n_routines++;
    program->routines[p->routine] = (struct kl_gbnf_routine){.part = part, .empty = p->empty};
    return KL_OK;
}

static enum kl_status emit_call(struct maker *m, uint32_t part)
{
    enum kl_status status = need_routine(m, part);
    return status == KL_OK ? emit(m, KL_GBNF_CALL, m->g->parts[part].routine) : status;
}

static enum kl_status emit_part(struct maker *m, uint32_t part);

/* Alternatives that cannot be completed are left out. */
static enum kl_status emit_choice(struct maker *m, uint32_t part)
{
    const struct kl_gbnf_part *parts = m->g->parts;
    uint32_t jump = KL_GBNF_NONE; /* the latest one to the end, whose argument is the one before */
    for (uint32_t c = parts[part].child, next; c != KL_GBNF_NONE; c = next) {
        next = parts[c].next;
        while (next != KL_GBNF_NONE && !parts[next].ends)
            next = parts[next].next;
        if (!parts[c].ends)
            continue;
        uint32_t split = here(m);
        enum kl_status status = next == KL_GBNF_NONE ? KL_OK : emit(m, KL_GBNF_SPLIT, 0);
        if (status == KL_OK)
            status = emit_part(m, c);
        if (status == KL_OK && next != KL_GBNF_NONE) {
            status = emit(m, KL_GBNF_JUMP, jump);
            jump = here(m) - 1;
            m->program->code[split].argument = here(m);
        }
        if (status != KL_OK)
            return status;
    }
    while (jump != KL_GBNF_NONE) {
        struct kl_gbnf_instruction *i = &m->program->code[jump];
        jump = i->argument;
        i->argument = here(m);
    }
    return KL_OK;
}

/* Emits an item once, or a call of it if it is long and used often. */
static enum kl_status emit_item(struct maker *m, uint32_t part, bool once)
{
    const struct kl_gbnf_part *p = &m->g->parts[part];
    bool is_short = p->kind == KL_GBNF_CLASS || p->kind == KL_GBNF_REFERENCE ||
                    (p->kind == KL_GBNF_TEXT && p->second <= 1);
    return once || is_short ? emit_part(m, part) : emit_call(m, part);
}

static enum kl_status emit_repetition(struct maker *m, uint32_t part)
{
    const struct kl_gbnf_part *p = &m->g->parts[part];
    uint32_t child = p->child, least = p->first, most = p->second;
    bool is_nothing = m->g->parts[child].kind == KL_GBNF_TEXT && m->g->parts[child].second == 0;
    if (!m->g->parts[child].ends || most == 0 || is_nothing)
        return KL_OK;
    bool endless = most == KL_GBNF_NONE;
    bool once = endless ? least <= 1 : most == 1;
    enum kl_status status = KL_OK;
    for (uint32_t i = 0; i + endless < least && status == KL_OK; i++)
        status = emit_item(m, child, once);
    uint32_t first = here(m); /* SPLITs whose arguments are the end */
    if (endless) {
        if (least == 0 && status == KL_OK)
            status = emit(m, KL_GBNF_SPLIT, 0);
        uint32_t loop = here(m);
        if (status == KL_OK)
            status = emit_item(m, child, once);
        if (status == KL_OK)
            status = emit(m, KL_GBNF_SPLIT, loop);
        if (least == 0 && status == KL_OK)
            m->program->code[first].argument = here(m);
        return status;
    }
    uint32_t split = KL_GBNF_NONE; /* the latest one, whose argument is the one before */
    for (uint32_t i = least; i < most && status == KL_OK; i++) {
        status = emit(m, KL_GBNF_SPLIT, split);
        split = here(m) - 1;
        if (status == KL_OK)
            status = emit_item(m, child, once);
    }
    while (status == KL_OK && split != KL_GBNF_NONE) {
        struct kl_gbnf_instruction *i = &m->program->code[split];
        split = i->argument;
        i->argument = here(m);
    }
    return status;
}

/* Depth: KL_GBNF_MAX_DEPTH times (KL_GBNF_MAX_OPERATORS + 2). */
static enum kl_status emit_part(struct maker *m, uint32_t part)
{
    const struct kl_gbnf_part *p = &m->g->parts[part];
    enum kl_status status = KL_OK;
    m->part = part;
    switch ((enum kl_gbnf_kind)p->kind) {
    case KL_GBNF_TEXT:
        for (uint32_t i = 0; i < p->second && status == KL_OK; i++)
            status = emit(m, KL_GBNF_BYTE, (unsigned char)m->g->bytes.data[p->first + i]);
        return status;
    case KL_GBNF_CLASS:
        return emit(m, KL_GBNF_IN, p->first);
    case KL_GBNF_REFERENCE:
        return emit_call(m, m->g->rules[p->first].body);
    case KL_GBNF_SEQUENCE:
        for (uint32_t c = p->child; c != KL_GBNF_NONE && status == KL_OK; c = m->g->parts[c].next)
            status = emit_part(m, c);
        return status;
    case KL_GBNF_CHOICE:
        return emit_choice(m, part);
    case KL_GBNF_REPETITION:
        return emit_repetition(m, part);
    }
    return status;
}

/* Calls that only RETURN follows. */
static void find_last_calls(struct kl_gbnf_program *program)
{
    for (size_t i = 0; i < program->n_code; i++) {
        size_t next = i + 1;
        if (program->code[i].op != KL_GBNF_CALL)
            continue;
        while (program->code[next].op == KL_GBNF_JUMP)
            next = program->code[next].argument;
        program->code[i].last = program->code[next].op == KL_GBNF_RETURN;
    }
}

static enum kl_status make(struct maker *m)
{
    struct kl_gbnf_grammar *g = m->g;
    struct kl_gbnf_program *program = m->program;
    enum kl_status status = settle(g, ENDS, m->err);
    if (status == KL_OK)
        status = settle(g, EMPTY, m->err);
    if (status != KL_OK)
        return status;
    uint32_t root = g->rules[g->root].body;
    if (!g->parts[root].ends)
        return kl_gbnf_fail_at(g->text, g->rules[g->root].name, KL_ERR_INVALID, m->err,
                               "no finite text completes the rule 'root', since each of its "
                               "alternatives needs itself again, or a class without characters; "
                               "add an alternative that ends");
    m->part = root;
    status = emit(m, KL_GBNF_END, 0);
    if (status == KL_OK)
        status = need_routine(m, root);
    for (uint32_t i = 0; i < program->n_routines && status == KL_OK; i++) {
        program->routines[i].start = here(m);
        status = emit_part(m, program->routines[i].part);
        if (status == KL_OK)
            status = emit(m, KL_GBNF_RETURN, 0);
    }
    if (status != KL_OK)
        return status;
    find_last_calls(program);

    uint32_t recursive;
    status = kl_gbnf_rank(program, &recursive, m->err);
    if (status == KL_ERR_UNSUPPORTED) {
        const char *name;
        uint32_t part = program->routines[recursive].part;
        int len = name_of(g, part, &name);
        return kl_gbnf_fail_at(g->text, g->rules[g->parts[part].rule].name, status, m->err,
                               "the rule '%.*s' is left recursive: it begins with itself, perhaps "
                               "by way of others; write it as a repetition, first (next)*",
                               len, name);
    }
    return status;
}

enum kl_status kl_gbnf_program_make(struct kl_gbnf_grammar *g, struct kl_gbnf_program *program,
                                    struct kl_error *err)
{
    *program = (struct kl_gbnf_program){.classes = g->classes};
    kl_word_store_init(&g->classes, KL_GBNF_MAX_CLASS_BYTES);
    struct maker m = {.g = g, .program = program, .err = err};
    return make(&m);
}

void kl_gbnf_program_free(struct kl_gbnf_program *program)
{
    free(program->code);
    free(program->routines);
    kl_word_store_free(&program->classes);
}

size_t kl_gbnf_program_bytes(const struct kl_gbnf_program *program)
{
    return program->code_room * sizeof *program->code +
           program->routine_room * sizeof *program->routines +
           kl_word_store_bytes(&program->classes);
}
