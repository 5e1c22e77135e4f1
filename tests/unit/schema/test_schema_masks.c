/*
 * src/schema with src/grammar/matcher.c: the masks of schemas at random, along texts at random,
 * against a slow reference, which tries each token's bytes with a machine of its own; and answers
 * that never get stuck and are valid.
 *
 * usage: test_schema_masks [MODEL.gguf]    just the masks of this vocabulary
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../grammar/grammar_tokens.h"
#include "grammar/matcher.h"
#include "random_schema.h"
#include "schema/schema.h"
#include "json/json_numbers.h"

enum { LONGEST_TEXT = 8192 };

/* One reading of a schema, with all that follows a text. */
struct walker {
    const char *schema, *reading;
    const struct kl_tokenizer *tokenizer;
    size_t n_vocab, stride; /* each stride-th token is tried, in each 16th state all */
    struct kl_matcher *matcher;
    struct kl_machine *machine; /* of the reference */
    struct kl_rule_state state, slow;
    uint64_t *mask;
    char text[LONGEST_TEXT];
    size_t len;
};

static struct {
    size_t states, answers, stuck, refused;
} seen;

static bool has(const uint64_t *mask, size_t id)
{
    return mask[id / 64] >> id % 64 & 1;
}

/* Moves a state over bytes; how many of them. */
static size_t move(struct kl_machine *machine, struct kl_rule_state *state, const char *bytes,
                   size_t n)
{
    size_t i = 0;
    while (i < n && machine->kind->step(machine, state, (uint8_t)bytes[i], state))
        i++;
    return i;
}

static bool slow_allows(struct walker *w, int32_t id)
{
    size_t len;
    const char *bytes = kl_tokenizer_piece(w->tokenizer, id, &len);
    struct kl_rule_state now = w->slow;
    if (kl_tokenizer_is_end(w->tokenizer, id))
        return w->machine->kind->is_complete(w->machine, &w->slow);
    if (len == 0 || kl_tokenizer_is_control(w->tokenizer, id))
        return false;
    size_t mark = w->machine->kind->mark(w->machine);
    bool allowed = move(w->machine, &now, bytes, len) == len;
    w->machine->kind->release(w->machine, mark);
    return allowed;
}

/* Sets the mask; its number of tokens. */
static size_t check_mask(struct walker *w)
{
    size_t n_allowed, n = 0;
    struct kl_error err = {0};
    if (kl_matcher_allowed(w->matcher, &w->state, w->mask, &n_allowed, &err) != KL_OK)
        fail_msg("%s: %s behind %.*s", w->schema, err.text, (int)w->len, w->text);
    for (size_t i = 0; i <= w->n_vocab / 64; i++)
        n += (size_t)__builtin_popcountll(w->mask[i]);
    size_t stride = seen.states % 16 == 0 ? 1 : w->stride;
    for (size_t id = stride == 1 ? 0 : draw((unsigned)stride); id < w->n_vocab; id += stride) {
        size_t len;
        const char *bytes = kl_tokenizer_piece(w->tokenizer, (int32_t)id, &len);
        bool expected = slow_allows(w, (int32_t)id);
        if (has(w->mask, id) != expected)
            fail_msg("%s, %s: token %zu '%.*s' should be %s behind %.*s", w->schema, w->reading, id,
                     (int)len, bytes, expected ? "allowed" : "refused", (int)w->len, w->text);
    }
    if (w->machine->failure.status != KL_OK)
        fail_msg("%s: %s", w->schema, w->machine->failure.text);
    if (n != n_allowed)
        fail_msg("%s: %zu tokens, not %zu, behind %.*s", w->schema, n_allowed, n, (int)w->len,
                 w->text);
    seen.states++;
    return n;
}

/* The bytes that must follow are those that are the only ones, up to a whole text. */
static void check_forced(struct walker *w)
{
    char bytes[24];
    size_t n = kl_matcher_forced(w->matcher, &w->state, bytes, sizeof bytes), i = 0;
    const struct kl_machine_kind *kind = w->machine->kind;
    struct kl_rule_state now = w->slow, to;
    size_t mark = kind->mark(w->machine);
    for (; i < sizeof bytes && !kind->is_complete(w->machine, &now); i++) {
        int only = -1, found = 0;
        for (int byte = 0; byte < 256; byte++) {
            if (kind->step(w->machine, &now, (uint8_t)byte, &to)) {
                only = byte;
                found++;
            }
        }
        if (found != 1)
            break;
        if (i < n && (uint8_t)bytes[i] != only)
            fail_msg("%s: byte %d is forced, not %d, behind %.*s", w->schema, only,
                     (uint8_t)bytes[i], (int)w->len, w->text);
        assert_true(kind->step(w->machine, &now, (uint8_t)only, &now));
    }
    kind->release(w->machine, mark);
    if (i != n)
        fail_msg("%s: %zu bytes are forced, not %zu, behind %.*s", w->schema, i, n, (int)w->len,
                 w->text);
}

static bool is_closing(const struct walker *w, int32_t id)
{
    size_t len;
    const char *bytes = kl_tokenizer_piece(w->tokenizer, id, &len);
    return kl_tokenizer_is_end(w->tokenizer, id) ||
           (len > 0 && strchr("\"}]", bytes[len - 1]) != NULL);
}

/* An allowed token, one that closes something if that is wanted; n: the number of all. */
static int32_t draw_token(const struct walker *w, size_t n, bool closes)
{
    size_t id = 0, first = draw((unsigned)w->n_vocab);
    for (size_t i = 0; closes && i < w->n_vocab; i++) {
        id = (first + i) % w->n_vocab;
        if (has(w->mask, id) && is_closing(w, (int32_t)id))
            return (int32_t)id;
    }
    size_t left = draw((unsigned)n) + 1;
    for (id = 0; left > 0; id++)
        left -= has(w->mask, id);
    return (int32_t)id - 1;
}

/* Writes a text; true: it ends. Masks are checked up to this number of tokens. */
static bool write_text(struct walker *w, size_t checked, bool may_be_stuck)
{
    kl_matcher_begin(w->matcher, &w->state);
    w->machine->kind->begin(w->machine, &w->slow);
    w->len = 0;
    for (size_t i = 0; i < 200; i++) {
        size_t n = 0;
        struct kl_error err = {0};
        if (i < checked) {
            n = check_mask(w);
            check_forced(w);
        } else if (kl_matcher_allowed(w->matcher, &w->state, w->mask, &n, &err) != KL_OK) {
            fail_msg("%s: %s", w->schema, err.text);
        }
        seen.stuck += n == 0;
        if (n == 0 && !may_be_stuck)
            fail_msg("%s: stuck behind %.*s", w->schema, (int)w->len, w->text);
        if (n == 0)
            return false;
        int32_t id = draw_token(w, n, i > 20 || draw(3) == 0);
        if (kl_tokenizer_is_end(w->tokenizer, id))
            return true;
        size_t len;
        const char *bytes = kl_tokenizer_piece(w->tokenizer, id, &len);
        if (w->len + len > sizeof w->text)
            return false;
        memcpy(w->text + w->len, bytes, len);
        w->len += len;
        assert_true(kl_matcher_accept(w->matcher, &w->state, id));
        assert_int_equal(move(w->machine, &w->slow, bytes, len), len);
    }
    return false;
}

/* The text of an answer is judged valid. */
static void judge(struct kl_rule *rule, const struct walker *w)
{
    struct kl_machine *machine;
    struct kl_rule_state state;
    struct kl_error err = {0};
    assert_int_equal(rule->kind->open(rule, &machine, &err), KL_OK);
    machine->kind->begin(machine, &state);
    size_t n = move(machine, &state, w->text, w->len);
    if (n < w->len || !machine->kind->is_complete(machine, &state))
        fail_msg("%s: judged not valid at byte %zu: %.*s", w->schema, n, (int)w->len, w->text);
    machine->kind->close(machine);
    seen.answers++;
}

/* Texts of one reading; judging: that reading of the schema, NULL for the texts of it. */
static void follow(const struct schema_text *schema, struct kl_rule *rule, struct kl_rule *judging,
                   const struct kl_tokenizer *tokenizer, const struct kl_token_trie *trie,
                   size_t stride, size_t texts)
{
    struct kl_error err = {0};
    struct walker w = {.schema = schema->bytes, .tokenizer = tokenizer, .stride = stride};
    w.reading = judging == NULL ? "judged" : "answers";
    w.n_vocab = kl_token_trie_vocab(trie);
    w.mask = malloc((w.n_vocab / 64 + 1) * sizeof *w.mask);
    assert_int_equal(kl_matcher_open(rule, trie, &w.matcher, &err), KL_OK);
    assert_int_equal(rule->kind->open(rule, &w.machine, &err), KL_OK);
    for (size_t i = 0; i < texts; i++)
        if (write_text(&w, i < 2 ? 12 : 0, judging == NULL) && judging != NULL)
            judge(judging, &w);
    w.machine->kind->close(w.machine);
    kl_matcher_close(w.matcher);
    free(w.mask);
}

static void follow_schemas(const struct kl_tokenizer *tokenizer, size_t stride, unsigned schemas)
{
    struct kl_token_trie *trie = trie_of(tokenizer);
    for (unsigned i = 0; i < schemas; i++) {
        struct schema_text schema = {.len = 0};
        struct kl_rule *judging = NULL, *answers = NULL;
        struct kl_error err = {0};
        add_schema(&schema, i % 4);
        json_t *json = kl_json_read(schema.bytes, schema.len, NULL);
        if (json == NULL)
            fail_msg("not JSON: %s", schema.bytes);
        if (kl_schema_compile(json, KL_SCHEMA_JUDGE, &judging, NULL, &err) != KL_OK)
            fail_msg("%s: %s", schema.bytes, err.text);
        follow(&schema, judging, NULL, tokenizer, trie, stride, 3);
        if (kl_schema_compile(json, KL_SCHEMA_ANSWER, &answers, NULL, &err) == KL_OK)
            follow(&schema, answers, judging, tokenizer, trie, stride, 8);
        else
            seen.refused++;
        kl_rule_disown(judging);
        kl_rule_disown(answers);
        json_decref(json);
    }
    kl_token_trie_close(trie);
}

/* How many schemas: SCHEMA_MASKS, for a longer search. */
static unsigned n_schemas(unsigned usual)
{
    const char *wanted = getenv("SCHEMA_MASKS"), *seed = getenv("SCHEMA_MASKS_SEED");
    if (seed != NULL)
        random_seed = strtoull(seed, NULL, 10);
    return wanted == NULL ? usual : (unsigned)strtoul(wanted, NULL, 10);
}

static void test_masks_of_a_made_vocabulary(void **state)
{
    (void)state;
    struct kl_tokenizer *tokenizer = made_tokenizer();
    follow_schemas(tokenizer, 1, n_schemas(150));
    kl_tokenizer_close(tokenizer);
    if (getenv("SCHEMA_MASKS") == NULL)
        assert_true(seen.states > 2000 && seen.answers > 200);
}

static void test_masks_of_the_tiny_model(void **state)
{
    (void)state;
    struct kl_tokenizer *tokenizer = model_tokenizer("KINGLET_TEST_TINY_MODEL");
    if (tokenizer == NULL)
        fail_msg("KINGLET_TEST_TINY_MODEL must name the tiny model (./test.sh sets it)");
    follow_schemas(tokenizer, 1, n_schemas(60));
    kl_tokenizer_close(tokenizer);
    print_message("%zu masks, %zu answers, %zu texts without an end, %zu schemas refused\n",
                  seen.states, seen.answers, seen.stuck, seen.refused);
}

static void test_masks_of_a_model(void **state)
{
    struct kl_error err = {0};
    struct kl_gguf *gguf = NULL;
    struct kl_tokenizer *tokenizer = NULL;
    if (kl_gguf_open(*state, &gguf, &err) != KL_OK ||
        kl_tokenizer_open(gguf, &tokenizer, &err) != KL_OK)
        fail_msg("%s", err.text);
    kl_gguf_close(gguf);
    follow_schemas(tokenizer, 32, n_schemas(90));
    kl_tokenizer_close(tokenizer);
    print_message("%zu masks of a model\n", seen.states);
    assert_true(getenv("SCHEMA_MASKS") != NULL || seen.states >= 2000);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest of_a_model[] = {
        cmocka_unit_test_prestate(test_masks_of_a_model, argv[argc - 1]),
    };
    if (argc == 2)
        return cmocka_run_group_tests(of_a_model, NULL, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_masks_of_a_made_vocabulary),
        cmocka_unit_test(test_masks_of_the_tiny_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
