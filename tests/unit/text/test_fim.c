/* src/text/fim.c: each family's tokens for filling in are found by their names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "text/fim.h"
#include "tiny_vocab.h"

static struct kl_tokenizer *open_with(const char *const *names, size_t n)
{
    static struct tiny_vocab v;
    tiny_init(&v);
    for (size_t i = 0; i < n; i++)
        tiny_token(&v, names[i], 3);
    v.eos = tiny_token(&v, "<|endoftext|>", 3);
    return tiny_open(&v);
}

static void assert_found(const struct kl_tokenizer *t, enum kl_fim_token token, const char *name)
{
    assert_int_equal(kl_fim_find(t, token),
                     name != NULL ? kl_tokenizer_find(t, name, strlen(name)) : -1);
}

static void names_of_families(void **state)
{
    (void)state;
    static const char *const qwen[] = {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>",
                                       "<|repo_name|>", "<|file_sep|>"},
                             *const star[] = {"<fim_prefix>", "<fim_suffix>", "<fim_middle>"};
    struct kl_tokenizer *t = open_with(qwen, 5);
    for (int token = 0; token < 5; token++)
        assert_found(t, token, qwen[token]);
    kl_tokenizer_close(t);
    t = open_with(star, 3);
    for (int token = 0; token < 5; token++)
        assert_found(t, token, token < 3 ? star[token] : NULL);
    kl_tokenizer_close(t);
    t = open_with(NULL, 0);
    for (int token = 0; token < 5; token++)
        assert_found(t, token, NULL);
    kl_tokenizer_close(t);
}

/* Behind one of these, a text of another kind would begin. */
static void they_end_answers_and_are_not_shown(void **state)
{
    (void)state;
    static const char *const names[] = {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>",
                                        "<|fim_pad|>",    "<|repo_name|>",  "<|file_sep|>"};
    struct kl_tokenizer *t = open_with(names, 6);
    for (size_t i = 0; i < 6; i++) {
        int32_t id = kl_tokenizer_find(t, names[i], strlen(names[i]));
        assert_true(id >= 0);
        assert_true(kl_tokenizer_is_end(t, id));
        assert_true(kl_tokenizer_is_control(t, id));
    }
    kl_tokenizer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_families),
        cmocka_unit_test(they_end_answers_and_are_not_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
