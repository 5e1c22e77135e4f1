#include "schema/schema_machine.h"

#include <stdlib.h>
#include <string.h>

/* Memory of one answer for frames and states, and for plans: a long answer needs some 100 bytes for
 * each container, member and item. */
#define MAX_STORE_BYTES ((size_t)16 << 20)
#define MAX_PLAN_BYTES  ((size_t)32 << 20)

static struct kl_schema_machine *of(struct kl_machine *machine)
{
    return (struct kl_schema_machine *)machine;
}

static bool is_space(uint8_t byte)
{
    return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t';
}

static bool is_object(const struct kl_schema_machine *m, uint32_t frame)
{
    return (kl_frame(m, frame)[F_FLAGS] & KL_FRAME_OBJECT) != 0;
}

/* ---- values ---------------------------------------------------------------------------------- */

static const char *const literals[] = {
    [KL_VALUE_NULL] = "null", [KL_VALUE_FALSE] = "false", [KL_VALUE_TRUE] = "true"};

static int kind_of(uint8_t byte)
{
    switch (byte) {
    case 'n':
        return KL_VALUE_NULL;
    case 'f':
        return KL_VALUE_FALSE;
    case 't':
        return KL_VALUE_TRUE;
    case '"':
        return KL_VALUE_STRING;
    case '[':
        return KL_VALUE_ARRAY;
    case '{':
        return KL_VALUE_OBJECT;
    default:
        return byte == '-' || (byte >= '0' && byte <= '9') ? KL_VALUE_NUMBER : -1;
    }
}

/* The first byte of a value. */
static bool begin_value(struct kl_schema_machine *m, uint32_t frame, const struct kl_link *link,
                        uint8_t byte, struct kl_rule_state *to)
{
    int kind = kind_of(byte);
    if (kind < 0 || (link->plan->some_dead[kind] &&
                     kl_value_dies(m, frame, link, link->plan->dead_kinds[kind])))
        return false;
    *to = (struct kl_rule_state){.words = {[S_FRAME] = frame, [S_LINK] = link->id}};
    switch (kind) {
    case KL_VALUE_NUMBER: {
        struct kl_rule_state before = *to; /* in phase KL_PHASE_VALUE */
        return kl_number_step(m, &before, byte, to);
    }
    case KL_VALUE_STRING:
        to->words[S_PHASE] = KL_PHASE_STRING;
        return kl_string_begin(m, to);
    case KL_VALUE_ARRAY:
    case KL_VALUE_OBJECT:
        if (kl_value_avoids_depth(m, frame, link))
            return false;
        to->words[S_FRAME] = kl_frame_open(m, frame, link, kind == KL_VALUE_OBJECT);
        to->words[S_LINK] = 0;
        to->words[S_PHASE] = kind == KL_VALUE_OBJECT ? KL_PHASE_OBJECT : KL_PHASE_ARRAY;
        return to->words[S_FRAME] != 0;
    default:
        to->words[S_PHASE] = KL_PHASE_LITERAL;
        to->words[S_ATOMS] = (uint32_t)kind << 8 | 1;
        return true;
    }
}

static bool step_literal(struct kl_schema_machine *m, const struct kl_rule_state *from,
                         uint8_t byte, struct kl_rule_state *to)
{
    uint32_t kind = from->words[S_ATOMS] >> 8, at = from->words[S_ATOMS] & 0xFF;
    const struct kl_link *link = kl_machine_link(m, from->words[S_LINK]);
    const struct kl_plan *plan = link->plan;
    if (literals[kind][at] != (char)byte)
        return false;
    if (literals[kind][at + 1] != '\0') {
        *to = *from;
        to->words[S_ATOMS]++;
        return true;
    }
    uint8_t type = kl_value_kind_types((enum kl_value_kind)kind);
    for (uint32_t i = 0; i < plan->n_nodes; i++)
        m->bad[i] = (plan->nodes[i].node->types & type) == 0;
    return kl_value_end(m, from->words[S_FRAME], link, kl_hash_mix(4, kind), to);
}

/* ---- containers ------------------------------------------------------------------------------ */

/* The opening quote of a name. */
static bool begin_name(struct kl_schema_machine *m, uint32_t frame, uint8_t byte,
                       struct kl_rule_state *to)
{
    const struct kl_name_gate *gate = byte == '"' ? kl_name_gate(m, frame) : NULL;
    if (gate == NULL || !gate->any)
        return false;
    *to = (struct kl_rule_state){
        .words = {[S_FRAME] = frame, [S_PHASE] = KL_PHASE_STRING | KL_IN_KEY}};
    return kl_string_begin(m, to);
}

static bool step_comma(struct kl_schema_machine *m, uint32_t frame, struct kl_rule_state *to)
{
    const struct kl_link *link;
    *to = (struct kl_rule_state){.words = {[S_FRAME] = frame}};
    if (is_object(m, frame)) {
        const struct kl_name_gate *gate = kl_name_gate(m, frame);
        to->words[S_PHASE] = m->answers ? KL_PHASE_KEY_SPACE : KL_PHASE_KEY;
        return gate != NULL && gate->any;
    }
    to->words[S_PHASE] = m->answers ? KL_PHASE_VALUE_SPACE : KL_PHASE_VALUE;
    if (!kl_item_begins(m, &to->words[S_FRAME], &link))
        return false;
    to->words[S_LINK] = link->id;
    return true;
}

static bool step_after(struct kl_schema_machine *m, const struct kl_rule_state *from, uint8_t byte,
                       struct kl_rule_state *to)
{
    uint32_t frame = from->words[S_FRAME];
    if (frame == 0)
        return false;
    if (byte == ',')
        return step_comma(m, frame, to);
    return byte == (is_object(m, frame) ? '}' : ']') && kl_frame_close(m, frame, to);
}

static bool step_array(struct kl_schema_machine *m, const struct kl_rule_state *from, uint8_t byte,
                       struct kl_rule_state *to)
{
    const struct kl_link *link;
    uint32_t frame = from->words[S_FRAME];
    if (byte == ']')
        return kl_frame_close(m, frame, to);
    return kl_item_begins(m, &frame, &link) && begin_value(m, frame, link, byte, to);
}

static bool move_to(const struct kl_rule_state *from, uint32_t phase, struct kl_rule_state *to)
{
    *to = *from;
    to->words[S_PHASE] = phase;
    return true;
}

/* Whether white space may stand between the parts of a document, in the judge's reading. */
static bool may_have_space(uint32_t phase)
{
    return phase <= KL_PHASE_ARRAY;
}

static bool is_number(uint32_t phase)
{
    return phase >= KL_PHASE_MINUS && phase <= KL_PHASE_EXPONENT;
}

static bool step_between(struct kl_schema_machine *m, const struct kl_rule_state *from,
                         uint8_t byte, struct kl_rule_state *to)
{
    uint32_t frame = from->words[S_FRAME];
    switch ((enum kl_phase)from->words[S_PHASE]) {
    case KL_PHASE_VALUE:
        return begin_value(m, frame, kl_machine_link(m, from->words[S_LINK]), byte, to);
    case KL_PHASE_VALUE_SPACE:
        return byte == ' ' && move_to(from, KL_PHASE_VALUE, to);
    case KL_PHASE_KEY_SPACE:
        return byte == ' ' && move_to(from, KL_PHASE_KEY, to);
    case KL_PHASE_OBJECT:
        if (byte == '}')
            return kl_frame_close(m, frame, to);
        return begin_name(m, frame, byte, to);
    case KL_PHASE_KEY:
        return begin_name(m, frame, byte, to);
    case KL_PHASE_COLON:
        return byte == ':' && move_to(from, m->answers ? KL_PHASE_VALUE_SPACE : KL_PHASE_VALUE, to);
    case KL_PHASE_ARRAY:
        return step_array(m, from, byte, to);
    default:
        return step_after(m, from, byte, to);
    }
}

static bool step(struct kl_machine *machine, const struct kl_rule_state *from, uint8_t byte,
                 struct kl_rule_state *to)
{
    struct kl_schema_machine *m = of(machine);
    struct kl_rule_state before = *from;
    uint32_t phase = before.words[S_PHASE] & KL_PHASE_BITS;
    if (machine->failure.status != KL_OK)
        return false;
    if (phase >= KL_PHASE_STRING)
        return kl_string_step(m, &before, byte, to);
    if (phase == KL_PHASE_LITERAL)
        return step_literal(m, &before, byte, to);
    if (is_number(phase)) {
        if (kl_number_step(m, &before, byte, to))
            return true;
        if (machine->failure.status != KL_OK || !kl_number_end(m, &before, to))
            return false;
        before = *to;
        phase = before.words[S_PHASE];
    }
    if (is_space(byte) && !m->answers && may_have_space(phase))
        return move_to(&before, phase, to);
    return step_between(m, &before, byte, to);
}

/* ---- the machine ----------------------------------------------------------------------------- */

static void begin(struct kl_machine *machine, struct kl_rule_state *state)
{
    (void)machine; /* the link of the document has the number 0 */
    *state = (struct kl_rule_state){.words = {[S_PHASE] = KL_PHASE_VALUE}};
}

static bool is_complete(struct kl_machine *machine, const struct kl_rule_state *state)
{
    struct kl_schema_machine *m = of(machine);
    struct kl_rule_state after = *state;
    if (state->words[S_FRAME] != 0 || machine->failure.status != KL_OK)
        return false;
    if (is_number(state->words[S_PHASE]) && !kl_number_end(m, state, &after))
        return false;
    return after.words[S_PHASE] == KL_PHASE_AFTER;
}

static bool free_string(struct kl_machine *machine, const struct kl_rule_state *state,
                        struct kl_free_string *string)
{
    return machine->failure.status == KL_OK && kl_string_is_free(of(machine), state, string);
}

static size_t mark(struct kl_machine *machine)
{
    return kl_word_store_mark(&of(machine)->store);
}

static void release(struct kl_machine *machine, size_t to)
{
    struct kl_schema_machine *m = of(machine);
    kl_word_store_release(&m->store, to);
    if (m->gate.frame >= to)
        m->gate.frame = 0;
    m->work_left = KL_REGEX_MASK_WORK;
}

static size_t machine_bytes(const struct kl_machine *machine)
{
    const struct kl_schema_machine *m = (const struct kl_schema_machine *)machine;
    size_t bytes = sizeof *m + m->plans.bytes + kl_word_store_bytes(&m->store) +
                   kl_word_store_bytes(&m->plans.sets) + kl_word_store_bytes(&m->plans.members) +
                   (m->gate.used.room + m->gate.begun.room) * sizeof *m->gate.used.slots;
    for (size_t i = 0; i < m->graph->n_regexes; i++)
        if (m->runs[i] != NULL)
            bytes += kl_regex_run_bytes(m->runs[i]) + m->least[i].n * sizeof *m->least[i].least +
                     m->counts[i].n * sizeof *m->counts[i].known;
    return bytes;
}

static void close_machine(struct kl_machine *machine)
{
    struct kl_schema_machine *m = of(machine);
    for (size_t i = 0; m->runs != NULL && i < m->graph->n_regexes; i++)
        kl_regex_run_close(m->runs[i]);
    for (size_t i = 0; m->least != NULL && i < m->graph->n_regexes; i++)
        kl_regex_least_release(&m->least[i]);
    for (size_t i = 0; m->counts != NULL && i < m->graph->n_regexes; i++)
        kl_regex_count_release(&m->counts[i]);
    free(m->runs);
    free(m->least);
    free(m->counts);
    kl_hash_index_release(&m->gate.used);
    kl_hash_index_release(&m->gate.begun);
    kl_plans_release(&m->plans);
    kl_word_store_free(&m->store);
    free(m->gate.before);
    free(m->gate.patterns);
    free(m->bad);
    free(m->next);
    free(m->own);
    free(m->frame);
    free(m->tuple);
    free(m->matched);
    free(m->number);
    free(m);
}

static bool plain(struct kl_machine *machine, const struct kl_rule_state *state,
                  struct kl_rule_state *plain_state)
{
    return kl_string_plain(of(machine), state, plain_state);
}

static bool closes(struct kl_machine *machine, const struct kl_rule_state *state)
{
    return machine->failure.status == KL_OK && kl_string_closes(of(machine), state);
}

static const struct kl_machine_kind machine_kind = {.close = close_machine,
                                                    .begin = begin,
                                                    .step = step,
                                                    .is_complete = is_complete,
                                                    .free_string = free_string,
                                                    .plain = plain,
                                                    .closes = closes,
                                                    .mark = mark,
                                                    .release = release,
                                                    .bytes = machine_bytes};

enum kl_status kl_schema_machine_open(const struct kl_rule *rule, struct kl_machine **machine,
                                      struct kl_error *err)
{
    const struct kl_schema_rule *r = (const struct kl_schema_rule *)rule;
    struct kl_schema_machine *m = calloc(1, sizeof *m);
    *machine = NULL;
    if (m == NULL)
        return kl_fail_memory(err, "a machine of a schema", sizeof *m);
    m->base.kind = &machine_kind;
    m->graph = &r->graph;
    m->answers = r->reading == KL_SCHEMA_ANSWER;
    m->work_left = KL_REGEX_MASK_WORK;
    kl_word_store_init(&m->store, MAX_STORE_BYTES);
    m->runs = calloc(r->graph.n_regexes + 1, sizeof(struct kl_regex_run *));
    m->least = calloc(r->graph.n_regexes + 1, sizeof *m->least);
    m->counts = calloc(r->graph.n_regexes + 1, sizeof *m->counts);
    enum kl_status status = m->runs == NULL || m->least == NULL || m->counts == NULL
                                ? kl_fail_memory(err, "a machine of a schema", r->graph.n_regexes)
                                : kl_plans_open(&m->plans, m->graph, MAX_PLAN_BYTES, err);
    if (status == KL_OK) {
        const struct kl_link *root = kl_link_root(&m->plans);
        if (root == NULL || !kl_machine_reserve(m, root->plan)) {
            kl_schema_machine_fail(m);
            *err = m->base.failure;
            status = err->status;
        }
    }
    if (status != KL_OK) {
        close_machine(&m->base);
        return status;
    }
    *machine = &m->base;
    return KL_OK;
}
