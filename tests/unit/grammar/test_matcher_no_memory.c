/* src/grammar/token_trie.c, matcher.c and what they use: every allocation fails once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "failing_memory.h"
#include "grammar/matcher.h"
#include "grammar_tokens.h"
#include "toy_rules.h"

static void tries_without_memory(void **state)
{
    (void)state;
    struct kl_tokenizer *made = made_tokenizer();
    long n = 0;
    for (bool reached = true; reached; n++) {
        struct kl_token_trie *trie;
        struct kl_error err = {0};
        fail_at(n, false);
        enum kl_status status = kl_token_trie_open(made, &trie, &err);
        reached = fail_no_more() > n;
        assert_int_equal(status, reached ? KL_ERR_MEMORY : KL_OK);
        assert_int_equal(trie == NULL, reached);
        assert_int_equal(err.status, status);
        kl_token_trie_close(trie);
    }
    assert_true(n > 8);
    kl_tokenizer_close(made);
}

/* Masks need no memory: where there is none they are not kept, and right all the same. */
static void masks_without_memory(void **state)
{
    (void)state;
    struct kl_tokenizer *tokenizer = model_tokenizer("KINGLET_TEST_TINY_MODEL");
    if (tokenizer == NULL)
        fail_msg("KINGLET_TEST_TINY_MODEL must name the tiny model (./test.sh sets it)");
    struct kl_token_trie *trie = trie_of(tokenizer);
    size_t n_words = kl_token_trie_vocab(trie) / 64 + 1, n_opened = 0, expected = 0;
    uint64_t *masks = calloc(2 * n_words, sizeof *masks);
    struct toy_list list = {.most = UINT32_MAX}; /* not told to be free: a large walk */
    kl_rule_init(&list.rule, &toy_list_kind);
    bool reached = true;
    for (long n = -1; reached; n++) { /* -1: none fails */
        struct kl_matcher *matcher;
        struct kl_rule_state now;
        struct kl_error err = {0};
        size_t n_allowed;
        fail_at(n, false);
        enum kl_status status = kl_matcher_open(&list.rule, trie, &matcher, &err);
        if (status == KL_OK) {
            kl_matcher_begin(matcher, &now);
            assert_int_equal(kl_matcher_accept_bytes(matcher, &now, "[\"", 2), 2);
            for (size_t i = 0; i < 3; i++) {
                uint64_t *mask = n < 0 ? masks : masks + n_words;
                assert_int_equal(kl_matcher_allowed(matcher, &now, mask, &n_allowed, &err), KL_OK);
                expected = n < 0 ? n_allowed : expected;
                assert_int_equal(n_allowed, expected);
                if (n >= 0)
                    assert_memory_equal(masks, mask, n_words * sizeof *mask);
            }
            n_opened++;
        } else {
            assert_int_equal(status, KL_ERR_MEMORY);
            assert_null(matcher);
        }
        reached = n < 0 || fail_no_more() > n;
        kl_matcher_close(matcher);
        assert_int_equal(list.rule.owners, 1);
    }
    assert_true(n_opened >= 5); /* without failure twice; without the cache, its entry, the memo */
    free(masks);
    kl_token_trie_close(trie);
    kl_tokenizer_close(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tries_without_memory),
        cmocka_unit_test(masks_without_memory),
    };
    kl_log_set_level(KL_LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
