/* src/grammar/gbnf.c, regex_rule.c, triggers.c with matcher.c: masks along random answers, against
 * a slow reference, which tries each token's bytes with a machine of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "grammar/calls_rule.h"
#include "grammar/gbnf.h"
#include "grammar/matcher.h"
#include "grammar/regex_rule.h"
#include "grammar_tokens.h"

static uint32_t random_state = 1;

static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 1664525 + 1013904223;
    return (uint32_t)((uint64_t)random_state * n >> 32);
}

static bool has(const uint64_t *mask, size_t id)
{
    return mask[id / 64] >> id % 64 & 1;
}

/* Moves a state over the bytes of a token. */
static bool move(struct kl_machine *machine, const struct kl_tokenizer *tokenizer, int32_t id,
                 struct kl_rule_state *state)
{
    size_t len, i = 0;
    const char *bytes = kl_tokenizer_piece(tokenizer, id, &len);
    while (i < len && machine->kind->step(machine, state, (uint8_t)bytes[i], state))
        i++;
    return i == len;
}

static void check_mask(const struct kl_tokenizer *tokenizer, struct kl_machine *machine,
                       const struct kl_rule_state *slow, const uint64_t *mask, size_t n_vocab)
{
    const struct kl_machine_kind *kind = machine->kind;
    for (size_t id = 0; id < n_vocab; id++) {
        size_t len, mark = kind->mark == NULL ? 0 : kind->mark(machine);
        struct kl_rule_state now = *slow;
        const char *bytes = kl_tokenizer_piece(tokenizer, (int32_t)id, &len);
        bool expected = len > 0 && !kl_tokenizer_is_control(tokenizer, (int32_t)id) &&
                        move(machine, tokenizer, (int32_t)id, &now);
        if (kl_tokenizer_is_end(tokenizer, (int32_t)id))
            expected = kind->is_complete(machine, slow);
        if (kind->release != NULL)
            kind->release(machine, mark);
        if (has(mask, id) != expected)
            fail_msg("token %zu '%.*s' should be %s", id, (int)len, bytes,
                     expected ? "allowed" : "refused");
    }
}

static void follow(struct kl_rule *rule, const struct kl_tokenizer *tokenizer,
                   const struct kl_token_trie *trie, int answers)
{
    size_t n_vocab = kl_token_trie_vocab(trie), n_allowed;
    uint64_t *mask = malloc((n_vocab / 64 + 1) * sizeof *mask);
    struct kl_matcher *matcher;
    struct kl_machine *machine;
    struct kl_error err = {0};
    assert_int_equal(kl_matcher_open(rule, trie, &matcher, &err), KL_OK);
    assert_int_equal(rule->kind->open(rule, &machine, &err), KL_OK);
    for (int answer = 0; answer < answers; answer++) {
        struct kl_rule_state state, slow;
        kl_matcher_begin(matcher, &state);
        machine->kind->begin(machine, &slow);
        for (int n = 0; n < 25; n++) {
            if (kl_matcher_allowed(matcher, &state, mask, &n_allowed, &err) != KL_OK)
                fail_msg("%s", err.text);
            check_mask(tokenizer, machine, &slow, mask, n_vocab);
            assert_true(n_allowed > 0); /* never stuck */
            size_t id = random_below((uint32_t)n_vocab);
            while (!has(mask, id))
                id = (id + 1) % n_vocab;
            if (kl_tokenizer_is_end(tokenizer, (int32_t)id))
                break;
            assert_true(kl_matcher_accept(matcher, &state, (int32_t)id));
            assert_true(move(machine, tokenizer, (int32_t)id, &slow));
        }
    }
    machine->kind->close(machine);
    kl_matcher_close(matcher);
    kl_rule_disown(rule);
    free(mask);
}

static struct kl_rule *grammar(const char *text)
{
    struct kl_rule *rule = NULL;
    assert_int_equal(kl_gbnf_compile(text, strlen(text), &rule, NULL), KL_OK);
    return rule;
}

static const char json[] =
    "root ::= \"{\" ws (pair (\",\" ws pair)*)? \"}\" ws\n"
    "pair ::= string \":\" ws value\n"
    "value ::= (root | list | string | number | \"true\" | \"null\") ws\n"
    "list ::= \"[\" ws (value (\",\" ws value)*)? \"]\"\n"
    "string ::= \"\\\"\" ([^\"\\\\\\x00-\\x1F] | \"\\\\\" [\"\\\\/nu])* \"\\\"\"\n"
    "number ::= \"-\"? [0-9]+ (\".\" [0-9]+)?\n"
    "ws ::= [ \\n]{0,3}\n";

/* Calls of a tool with any strings as arguments, one of which is excluded. */
static struct kl_rule *with_calls(bool is_demanded, bool is_excluded)
{
    static const char object[] =
        "root ::= \"{\\\"name\\\": \\\"a\\\", \\\"arguments\\\": {\" pair (\", \" pair)* \"}}\"\n"
        "pair ::= \"\\\"\" [^\"\\\\\\n]* \"\\\": \" ([0-9]+ | \"true\")\n";
    static const char *const names[] = {"\"a\""};
    static const char *const excluded[] = {"{\"name\": \"a\", \"arguments\": {\"\": 1}}"};
    struct kl_calls calls = {.call = grammar(object),
                             .names = names,
                             .n_names = 1,
                             .excluded = excluded,
                             .n_excluded = is_excluded,
                             .is_demanded = is_demanded};
    struct kl_rule *rule = NULL;
    assert_int_equal(kl_calls_rule(&calls, &rule, NULL), KL_OK);
    kl_rule_disown(calls.call);
    return rule;
}

static void follow_all(const struct kl_tokenizer *tokenizer, int answers)
{
    struct kl_token_trie *trie = trie_of(tokenizer);
    struct kl_rule *choice = NULL;
    const char *words[] = {"a", "aa", "aab\"", "é", "no one", "[\"a\"]"};
    assert_int_equal(kl_choice_rule(words, 6, &choice, NULL), KL_OK);
    follow(choice, tokenizer, trie, answers);
    follow(grammar(json), tokenizer, trie, answers);
    follow(grammar("root ::= \"a\" root [a\"] | \"a\" root \"aa\" | .{0,4} ([^\\n]* \"\\n\"){2}"),
           tokenizer, trie, answers);
    for (int i = 0; i < 3; i++)
        follow(with_calls(i > 0, i > 1), tokenizer, trie, answers);
    kl_token_trie_close(trie);
}

static void masks_of_a_made_vocabulary(void **state)
{
    (void)state;
    struct kl_tokenizer *tokenizer = made_tokenizer();
    follow_all(tokenizer, 40);
    kl_tokenizer_close(tokenizer);
}

static void masks_of_the_tiny_model(void **state)
{
    (void)state;
    struct kl_tokenizer *tokenizer = model_tokenizer("KINGLET_TEST_TINY_MODEL");
    if (tokenizer == NULL)
        fail_msg("KINGLET_TEST_TINY_MODEL must name the tiny model (./test.sh sets it)");
    follow_all(tokenizer, 20);
    kl_tokenizer_close(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masks_of_a_made_vocabulary),
        cmocka_unit_test(masks_of_the_tiny_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
