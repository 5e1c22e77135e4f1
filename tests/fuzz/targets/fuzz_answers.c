/*
 * A JSON schema in both readings. The first bytes choose what an answer writes; it never gets
 * stuck, and the other reading accepts what it writes.
 */
#include <stdbool.h>

#include "fuzz.h"
#include "schema/schema.h"
#include "json/json_limits.h"
#include "json/json_numbers.h"

enum { N_CHOICES = 64, MAX_TEXT = 400 };

static bool judge(struct kl_rule *rule, const char *text, size_t len)
{
    struct kl_machine *machine;
    struct kl_rule_state state;
    PROMISE(rule->kind->open(rule, &machine, NULL) == KL_OK);
    machine->kind->begin(machine, &state);
    bool alive = true;
    for (size_t i = 0; i < len && alive; i++)
        alive = machine->kind->step(machine, &state, (uint8_t)text[i], &state);
    alive = alive && machine->kind->is_complete(machine, &state);
    bool has_failed = machine->failure.status != KL_OK;
    machine->kind->close(machine);
    return alive || has_failed;
}

/* Writes an answer: at each place, the choice is among the bytes that may follow. Returns its
 * length; 0: it is not complete. */
static size_t write_answer(struct kl_rule *rule, const uint8_t *choices, char *text)
{
    struct kl_machine *machine;
    struct kl_rule_state state, to;
    size_t len = 0;
    PROMISE(rule->kind->open(rule, &machine, NULL) == KL_OK);
    machine->kind->begin(machine, &state);
    bool ends = false;
    for (; len < MAX_TEXT && !ends; len++) {
        uint8_t bytes[256];
        size_t n = 0, mark = machine->kind->mark(machine);
        for (int byte = 0; byte < 256; byte++)
            if (machine->kind->step(machine, &state, (uint8_t)byte, &to))
                bytes[n++] = (uint8_t)byte;
        machine->kind->release(machine, mark);
        bool is_complete = machine->kind->is_complete(machine, &state);
        PROMISE(n > 0 || is_complete || machine->failure.status != KL_OK);
        ends = n == 0 || (is_complete && choices[len % N_CHOICES] % 4 == 0);
        if (ends)
            break;
        text[len] = (char)bytes[choices[len % N_CHOICES] % n];
        PROMISE(machine->kind->step(machine, &state, (uint8_t)text[len], &state));
    }
    ends = ends && machine->failure.status == KL_OK;
    machine->kind->close(machine);
    return ends ? len : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kl_rule *judging = NULL, *answering = NULL;
    struct kl_schema_refusal refusal;
    struct kl_error err = {0};
    if (size < N_CHOICES ||
        kl_json_check_limits((const char *)data + N_CHOICES, size - N_CHOICES, KL_JSON_MAX_DEPTH,
                             KL_JSON_MAX_NODES, NULL) != KL_OK)
        return 0;
    json_t *schema = kl_json_read((const char *)data + N_CHOICES, size - N_CHOICES, NULL);
    if (schema == NULL)
        return 0;
    enum kl_status status = kl_schema_compile(schema, KL_SCHEMA_JUDGE, &judging, &refusal, &err);
    PROMISE((status == KL_OK) == (judging != NULL));
    PROMISE(status == KL_OK || err.text[0] != '\0');
    if (status == KL_OK &&
        kl_schema_compile(schema, KL_SCHEMA_ANSWER, &answering, &refusal, &err) == KL_OK) {
        char text[MAX_TEXT];
        size_t len = write_answer(answering, data, text);
        PROMISE(len == 0 || judge(judging, text, len));
    }
    kl_rule_disown(judging);
    kl_rule_disown(answering);
    json_decref(schema);
    return 0;
}
