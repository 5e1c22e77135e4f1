/* src/grammar/matcher.c, token_walk.c, mask_cache.c: masks against a slow reference, which tries
 * each token's bytes; what is accepted, what is forced. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/log.h"
#include "grammar/matcher.h"
#include "grammar_tokens.h"
#include "toy_rules.h"

static uint64_t seed = 1;

static uint32_t random_below(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % n);
}

/* A matcher, and a machine of its own for the reference. */
struct fixture {
    const struct kl_tokenizer *tokenizer;
    struct kl_token_trie *trie;
    struct kl_matcher *matcher;
    struct kl_machine *machine;
    size_t n_words, n_vocab;
    uint64_t *mask, *expected;
};

static void open_fixture(struct fixture *f, const struct kl_tokenizer *tokenizer,
                         struct kl_rule *rule)
{
    struct kl_error err = {0};
    f->tokenizer = tokenizer;
    f->trie = trie_of(tokenizer);
    f->n_vocab = kl_token_trie_vocab(f->trie);
    f->n_words = f->n_vocab / 64 + 1;
    f->mask = malloc(f->n_words * sizeof *f->mask);
    f->expected = malloc(f->n_words * sizeof *f->mask);
    if (kl_matcher_open(rule, f->trie, &f->matcher, &err) != KL_OK ||
        rule->kind->open(rule, &f->machine, &err) != KL_OK)
        fail_msg("%s", err.text);
}

static void close_fixture(struct fixture *f)
{
    kl_matcher_close(f->matcher);
    f->machine->kind->close(f->machine);
    kl_token_trie_close(f->trie);
    free(f->mask);
    free(f->expected);
}

static bool has(const uint64_t *mask, size_t id)
{
    return mask[id / 64] >> id % 64 & 1;
}

static bool may_follow(struct fixture *f, const struct kl_rule_state *state, int32_t id)
{
    const struct kl_machine_kind *kind = f->machine->kind;
    struct kl_rule_state now = *state;
    size_t len, i = 0;
    const char *bytes = kl_tokenizer_piece(f->tokenizer, id, &len);
    if (kl_tokenizer_is_end(f->tokenizer, id))
        return kind->is_complete(f->machine, state);
    if (len == 0 || kl_tokenizer_is_control(f->tokenizer, id))
        return false;
    size_t mark = kind->mark != NULL ? kind->mark(f->machine) : 0;
    while (i < len && kind->step(f->machine, &now, (uint8_t)bytes[i], &now))
        i++;
    if (kind->release != NULL)
        kind->release(f->machine, mark);
    return i == len;
}

static void assert_mask(struct fixture *f, const struct kl_rule_state *state, const char *text)
{
    struct kl_error err = {0};
    size_t found = 0, n = 0;
    memset(f->mask, 0xAA, f->n_words * sizeof *f->mask); /* all of it is written */
    if (kl_matcher_allowed(f->matcher, state, f->mask, &found, &err) != KL_OK)
        fail_msg("%s", err.text);
    for (size_t id = 0; id < f->n_words * 64; id++) {
        bool expected = id < f->n_vocab && may_follow(f, state, (int32_t)id);
        n += expected;
        size_t len;
        const char *bytes = kl_tokenizer_piece(f->tokenizer, (int32_t)id, &len);
        if (has(f->mask, id) != expected)
            fail_msg("behind %s: token %zu '%.*s' should be %s", text, id, (int)len, bytes,
                     expected ? "allowed" : "refused");
    }
    assert_int_equal(found, n);
}

/* A token of the last mask, or -1. Often one with a quote, so that strings end. */
static int32_t random_allowed(const struct fixture *f)
{
    bool quote = random_below(4) == 0;
    uint32_t start = random_below((uint32_t)f->n_vocab);
    int32_t other = -1;
    for (size_t i = 0; i < f->n_vocab; i++) {
        int32_t id = (int32_t)((start + i) % f->n_vocab);
        size_t len;
        const char *bytes = kl_tokenizer_piece(f->tokenizer, id, &len);
        if (!has(f->mask, (size_t)id) || kl_tokenizer_is_end(f->tokenizer, id))
            continue;
        if (!quote || (len > 0 && memchr(bytes, random_below(8) ? '"' : '\\', len) != NULL))
            return id;
        other = id;
    }
    return other;
}

/* The state behind a token, by both machines; end tokens change nothing. */
static void take(struct fixture *f, struct kl_rule_state *state, struct kl_rule_state *slow,
                 int32_t id)
{
    size_t len;
    const char *bytes = kl_tokenizer_piece(f->tokenizer, id, &len);
    assert_true(kl_matcher_accept(f->matcher, state, id));
    for (size_t i = 0; i < len && !kl_tokenizer_is_end(f->tokenizer, id); i++)
        assert_true(f->machine->kind->step(f->machine, slow, (uint8_t)bytes[i], slow));
    assert_memory_equal(state, slow, sizeof *state);
}

/* Any token is accepted where the mask allows it, and changes nothing elsewhere. */
static void accept_any(struct fixture *f, const struct kl_rule_state *now)
{
    struct kl_rule_state state = *now, slow = *now;
    int32_t id = (int32_t)random_below((uint32_t)f->n_vocab + 2) - 1;
    if (id >= 0 && (size_t)id < f->n_vocab && has(f->mask, (size_t)id)) {
        take(f, &state, &slow, id);
    } else {
        assert_false(kl_matcher_accept(f->matcher, &state, id));
        assert_memory_equal(&state, now, sizeof state);
    }
}

/* Follows random answers through n states, and checks the mask of each. */
static void follow(struct fixture *f, size_t n, size_t max_tokens)
{
    while (n > 0) {
        struct kl_rule_state state, slow;
        char text[16384] = "";
        size_t used = 0, len;
        int32_t id = 0;
        kl_matcher_begin(f->matcher, &state);
        f->machine->kind->begin(f->machine, &slow);
        for (size_t i = 0; n > 0 && id >= 0 && i < max_tokens; i++, n--) {
            assert_mask(f, &state, text);
            accept_any(f, &state);
            id = random_allowed(f);
            if (id < 0)
                break;
            take(f, &state, &slow, id);
            const char *bytes = kl_tokenizer_piece(f->tokenizer, id, &len);
            if (used + len < sizeof text) {
                memcpy(text + used, bytes, len);
                text[used += len] = '\0';
            }
        }
    }
}

static const struct {
    uint32_t least, most;
    bool must_try, is_told;
} lists[] = {
    {0, UINT32_MAX, false, true}, {0, UINT32_MAX, true, true}, {0, 16, false, true},
    {5, 30, false, true},         {3, UINT32_MAX, true, true}, {2, 4, true, true},
    {1, 17, false, true},         {0, 0, false, true},         {0, UINT32_MAX, true, false},
};
#define N_LISTS (sizeof lists / sizeof *lists)

/* Fewer under sanitizers. */
static size_t brief(size_t n)
{
    return getenv("KINGLET_TEST_BRIEF") != NULL ? n / 4 + 1 : n;
}

static void follow_lists(const struct kl_tokenizer *tokenizer, size_t n_each)
{
    for (size_t i = 0; i < N_LISTS; i++) {
        struct toy_list list = {.least = lists[i].least,
                                .most = lists[i].most,
                                .must_try = lists[i].must_try,
                                .is_told = lists[i].is_told};
        struct fixture f;
        kl_rule_init(&list.rule, &toy_list_kind);
        open_fixture(&f, tokenizer, &list.rule);
        follow(&f, n_each, 40);
        close_fixture(&f);
    }
}

static void follow_words(const struct kl_tokenizer *tokenizer, size_t n_each)
{
    static const uint32_t most[] = {UINT32_MAX, 3, 40};
    for (size_t i = 0; i < 3; i++) {
        struct toy_word word = {.most = most[i]};
        struct fixture f;
        kl_rule_init(&word.rule, &toy_word_kind);
        open_fixture(&f, tokenizer, &word.rule);
        follow(&f, n_each, 20);
        close_fixture(&f);
    }
}

static void masks_are_those_of_each_token_tried(void **state)
{
    (void)state;
    struct kl_tokenizer *made = made_tokenizer();
    struct kl_tokenizer *tiny = model_tokenizer("KINGLET_TEST_TINY_MODEL");
    if (tiny == NULL)
        fail_msg("KINGLET_TEST_TINY_MODEL must name the tiny model (./test.sh sets it)");
    follow_lists(made, brief(400));
    follow_lists(tiny, brief(100));
    follow_words(made, brief(100));
    follow_words(tiny, brief(100));
    kl_tokenizer_close(made);
    kl_tokenizer_close(tiny);
}

/* Frames of a walk are forgotten, and others get their numbers. */
static void states_of_walks_are_forgotten(void **state)
{
    (void)state;
    struct kl_tokenizer *made = made_tokenizer();
    struct toy_list list = {.most = UINT32_MAX};
    struct kl_rule_state now;
    struct fixture f;
    kl_rule_init(&list.rule, &toy_list_kind);
    open_fixture(&f, made, &list.rule);
    kl_matcher_begin(f.matcher, &now);
    assert_int_equal(kl_matcher_accept_bytes(f.matcher, &now, "[\"", 2), 2);
    assert_mask(&f, &now, "[\"");
    assert_true(kl_matcher_accept(f.matcher, &now, kl_tokenizer_find(made, "a\", \"", 5)));
    struct kl_rule_state slow;
    f.machine->kind->begin(f.machine, &slow);
    for (const char *c = "[\"a\", \""; *c != '\0'; c++)
        assert_true(f.machine->kind->step(f.machine, &slow, (uint8_t)*c, &slow));
    assert_memory_equal(&now, &slow, sizeof now);
    assert_mask(&f, &now, "[\"a\", \"");
    close_fixture(&f);
    kl_tokenizer_close(made);
}

static const char *const texts[] = {"[\"a\"", "[\"aaa\"]", "[\"aaa\"]]", "x"};

static void open_texts(struct toy_set *set, struct fixture *f, struct kl_tokenizer *tokenizer)
{
    *set = (struct toy_set){.texts = texts, .n = sizeof texts / sizeof *texts};
    kl_rule_init(&set->rule, &toy_set_kind);
    open_fixture(f, tokenizer, &set->rule);
}

static void what_must_follow(void **state)
{
    (void)state;
    struct kl_tokenizer *made = made_tokenizer();
    struct toy_set set;
    struct fixture f;
    struct kl_rule_state now, other;
    char bytes[64];
    open_texts(&set, &f, made);
    kl_matcher_begin(f.matcher, &now);
    other = now;
    assert_mask(&f, &now, "");
    assert_int_equal(kl_matcher_forced(f.matcher, &now, bytes, sizeof bytes), 0);
    /* the rest is refused, and the state is that behind what was accepted */
    assert_int_equal(kl_matcher_accept_bytes(f.matcher, &now, "[?", 2), 1);
    assert_int_equal(kl_matcher_forced(f.matcher, &now, bytes, sizeof bytes), 2);
    assert_memory_equal(bytes, "\"a", 2);
    assert_int_equal(kl_matcher_forced(f.matcher, &now, bytes, 1), 1);
    assert_int_equal(kl_matcher_forced(f.matcher, &now, bytes, 0), 0);
    assert_int_equal(kl_matcher_accept_bytes(f.matcher, &now, "\"aa", 3), 3);
    assert_mask(&f, &now, "[\"aa");
    /* up to where the text may end */
    assert_int_equal(kl_matcher_forced(f.matcher, &now, bytes, sizeof bytes), 3);
    assert_memory_equal(bytes, "a\"]", 3);
    assert_false(kl_matcher_is_complete(f.matcher, &now));
    assert_false(kl_matcher_accept(f.matcher, &now, MADE_CONTROL + 1));
    assert_int_equal(kl_matcher_accept_bytes(f.matcher, &now, bytes, 3), 3);
    assert_true(kl_matcher_is_complete(f.matcher, &now));
    assert_mask(&f, &now, "[\"aaa\"]");
    assert_int_equal(kl_matcher_forced(f.matcher, &now, bytes, sizeof bytes), 0);
    other = now;
    assert_true(kl_matcher_accept(f.matcher, &now, MADE_CONTROL + 1)); /* end tokens */
    assert_true(kl_matcher_accept(f.matcher, &now, MADE_CONTROL + 2));
    assert_false(kl_matcher_accept(f.matcher, &now, MADE_CONTROL)); /* control, unused, none */
    assert_false(kl_matcher_accept(f.matcher, &now, MADE_CONTROL + 4));
    assert_false(kl_matcher_accept(f.matcher, &now, -1));
    assert_false(kl_matcher_accept(f.matcher, &now, 1 << 30));
    assert_memory_equal(&now, &other, sizeof now);
    assert_true(kl_matcher_accept(f.matcher, &now, ']'));
    assert_mask(&f, &now, "[\"aaa\"]]"); /* only the end */
    close_fixture(&f);
    kl_tokenizer_close(made);
}

static void masks_are_kept(void **state)
{
    (void)state;
    struct kl_tokenizer *made = made_tokenizer();
    struct kl_matcher_stats before, stats;
    struct kl_rule_state now;
    struct toy_set set;
    struct fixture f;
    open_texts(&set, &f, made);
    assert_int_equal(set.rule.owners, 2);
    kl_matcher_begin(f.matcher, &now);
    kl_matcher_stats(f.matcher, &before);
    assert_int_equal(before.masks, 0);
    for (size_t i = 0; i < 3; i++)
        assert_mask(&f, &now, "");
    kl_matcher_stats(f.matcher, &stats);
    assert_int_equal(stats.masks, 3);
    assert_int_equal(stats.masks_cached, 2);
    assert_true(stats.bytes > before.bytes);
    close_fixture(&f);
    assert_int_equal(set.rule.owners, 1);
    kl_tokenizer_close(made);
}

/* A machine that fails in the middle of a mask: its error comes out, now and ever after. */
static void failures_stick(void **state)
{
    (void)state;
    struct kl_tokenizer *made = made_tokenizer();
    struct kl_rule_state now;
    struct kl_error err = {0};
    struct toy_set set;
    struct fixture f;
    char bytes[8];
    size_t n;
    toy_set_steps = 200;
    open_texts(&set, &f, made);
    toy_set_steps = SIZE_MAX;
    kl_matcher_begin(f.matcher, &now);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(kl_matcher_allowed(f.matcher, &now, f.mask, &n, &err), KL_ERR_LIMIT);
        assert_string_equal(err.text, "the test's limit of steps");
    }
    assert_int_equal(kl_matcher_allowed(f.matcher, &now, f.mask, &n, NULL), KL_ERR_LIMIT);
    assert_false(kl_matcher_accept(f.matcher, &now, 'x'));
    assert_false(kl_matcher_is_complete(f.matcher, &now));
    assert_int_equal(kl_matcher_forced(f.matcher, &now, bytes, sizeof bytes), 0);
    close_fixture(&f);
    kl_tokenizer_close(made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masks_are_those_of_each_token_tried),
        cmocka_unit_test(states_of_walks_are_forgotten),
        cmocka_unit_test(what_must_follow),
        cmocka_unit_test(masks_are_kept),
        cmocka_unit_test(failures_stick),
    };
    kl_log_set_level(KL_LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
