/* src/service/raw_prompt.c: parts become the tokens of their prompts, in steps of any size; what
 * is not of this model is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../text/tiny_vocab.h"
#include "service/raw_prompt.h"

enum { ENDLESS = SIZE_MAX / 2 };

static struct kl_tokenizer *open_tokenizer(bool with_fim)
{
    static struct tiny_vocab v;
    tiny_init(&v);
    tiny_merge(&v, "h e");
    tiny_token(&v, "<|im_end|>", 3);
    if (with_fim) {
        tiny_token(&v, "<fim_prefix>", 3);
        tiny_token(&v, "<fim_suffix>", 3);
        tiny_token(&v, "<fim_middle>", 3);
    }
    return tiny_open(&v);
}

/* Encodes all prompts with this much effort a step. */
static enum kl_status encode(struct kl_raw_encoding *e, size_t effort, struct kl_api_error *error)
{
    enum kl_status status = KL_OK;
    bool done = false;
    while (status == KL_OK && !done) {
        size_t left = effort;
        status = kl_raw_encoding_step(e, &left, &done, error);
    }
    return status;
}

static int32_t id_of(const struct kl_tokenizer *t, const char *text)
{
    return kl_tokenizer_find(t, text, strlen(text));
}

static void parts_become_tokens(void **state)
{
    (void)state;
    struct kl_tokenizer *t = open_tokenizer(true);
    const int32_t ids[] = {3, 1, 2};
    for (size_t effort = 1; effort < 40; effort += 6) {
        struct kl_raw_input input = {.may_be_empty = true};
        struct kl_raw_encoding e;
        struct kl_api_error error;
        kl_raw_input_begin(&input);
        kl_raw_input_fim(&input, KL_FIM_PREFIX);
        kl_raw_input_text(&input, "hehe", 4, false);
        kl_raw_input_ids(&input, ids, 1);
        kl_raw_input_ids(&input, ids + 1, 2);
        assert_int_equal(input.n_parts, 3); /* ids that follow each other are one part */
        kl_raw_input_begin(&input);         /* an empty prompt */
        kl_raw_input_begin(&input);
        kl_raw_input_text(&input, "<|im_end|>", 10, false);
        kl_raw_input_text(&input, "<|im_end|>", 10, true);
        assert_int_equal(kl_raw_encoding_begin(&e, &input, t, ENDLESS, ENDLESS, &error), KL_OK);
        assert_int_equal(encode(&e, effort, &error), KL_OK);
        assert_int_equal(e.n_prompts, 3);
        const int32_t first[] = {id_of(t, "<fim_prefix>"), id_of(t, "he"), id_of(t, "he"), 3, 1, 2};
        assert_int_equal(e.prompts[0].len, 6);
        assert_memory_equal(e.prompts[0].ids, first, sizeof first);
        assert_int_equal(e.prompts[1].len, 0);
        assert_int_equal(e.prompts[2].len, 11); /* ten characters, and the token */
        assert_int_equal(e.prompts[2].ids[10], id_of(t, "<|im_end|>"));
        kl_raw_encoding_release(&e);
        kl_raw_input_release(&input);
    }
    kl_tokenizer_close(t);
}

/* A file that wants BOS before texts: token 256. */
static void texts_begin_as_the_file_says(void **state)
{
    (void)state;
    const int32_t other = 7;
    struct tiny_vocab v;
    tiny_init(&v);
    v.bos = tiny_token(&v, "<|bos|>", 3);
    v.add_bos = 1;
    v.eos = tiny_token(&v, "<|im_end|>", 3);
    struct kl_tokenizer *t = tiny_open(&v);
    assert_int_equal(kl_tokenizer_text_begin(t), 256);
    /* a text, one that is taken as it is, ids, a text that has it, and an empty one */
    for (size_t i = 0; i < 5; i++) {
        struct kl_raw_input input = {.adds_bos = i != 1};
        struct kl_raw_encoding e;
        struct kl_api_error error;
        kl_raw_input_begin(&input);
        if (i == 2)
            kl_raw_input_ids(&input, &other, 1);
        else if (i < 4)
            kl_raw_input_text(&input, i == 3 ? "<|bos|>x" : "x", i == 3 ? 8 : 1, true);
        assert_int_equal(kl_raw_encoding_begin(&e, &input, t, ENDLESS, ENDLESS, &error), KL_OK);
        assert_int_equal(encode(&e, 1000, &error), KL_OK);
        static const size_t lens[] = {2, 1, 1, 2, 1};
        static const int32_t begins[] = {256, 'x', 7, 256, 256};
        assert_int_equal(e.prompts[0].len, lens[i]);
        assert_int_equal(e.prompts[0].ids[0], begins[i]);
        kl_raw_encoding_release(&e);
        kl_raw_input_release(&input);
    }
    kl_tokenizer_close(t);
}

static void assert_refused(struct kl_raw_input *input, const struct kl_tokenizer *t, size_t limit,
                           const char *code, const char *text)
{
    struct kl_raw_encoding e;
    struct kl_api_error error;
    assert_int_equal(kl_raw_encoding_begin(&e, input, t, limit, limit, &error), KL_OK);
    assert_int_not_equal(encode(&e, 1000, &error), KL_OK);
    assert_int_equal(error.status, 400);
    assert_string_equal(error.code, code);
    assert_string_equal(error.param, "prompt");
    assert_non_null(strstr(error.text, text));
    kl_raw_encoding_release(&e);
    kl_raw_input_release(input);
}

static void foreign_parts_are_refused(void **state)
{
    (void)state;
    struct kl_tokenizer *t = open_tokenizer(false);
    const int32_t past[] = {(int32_t)kl_tokenizer_size(t)}, negative[] = {-1};
    struct kl_raw_input input = {0};
    kl_raw_input_begin(&input);
    kl_raw_input_ids(&input, past, 1);
    assert_refused(&input, t, ENDLESS, "invalid_value", "is no token of this model");
    kl_raw_input_begin(&input);
    kl_raw_input_ids(&input, negative, 1);
    assert_refused(&input, t, ENDLESS, "invalid_value", "-1 is no token");
    kl_raw_input_begin(&input);
    kl_raw_input_fim(&input, KL_FIM_MIDDLE);
    assert_refused(&input, t, ENDLESS, "unsupported", "cannot fill in");
    kl_tokenizer_close(t);
}

static void a_prompt_beyond_the_limit_is_refused(void **state)
{
    (void)state;
    struct kl_tokenizer *t = open_tokenizer(false);
    const int32_t ids[] = {1, 2, 3};
    struct kl_raw_input input = {0};
    kl_raw_input_begin(&input);
    kl_raw_input_text(&input, "abcdefgh", 8, false);
    assert_refused(&input, t, 7, "context_length_exceeded", "holds 7");
    kl_raw_input_begin(&input);
    kl_raw_input_text(&input, "abcdef", 6, false);
    kl_raw_input_ids(&input, ids, 3);
    assert_refused(&input, t, 8, "context_length_exceeded", "holds 8");
    kl_tokenizer_close(t);
}

static void an_empty_prompt_begins_a_text(void **state)
{
    (void)state;
    for (int with_token = 0; with_token < 2; with_token++) {
        static struct tiny_vocab v;
        tiny_init(&v);
        v.eos = tiny_token(&v, with_token ? "<|endoftext|>" : "<|im_end|>", 3);
        struct kl_tokenizer *t = tiny_open(&v);
        struct kl_raw_input input = {0};
        struct kl_raw_encoding e;
        struct kl_api_error error;
        kl_raw_input_begin(&input);
        kl_raw_input_text(&input, "", 0, true);
        assert_int_equal(kl_raw_encoding_begin(&e, &input, t, 10, 10, &error), KL_OK);
        if (with_token) {
            assert_int_equal(encode(&e, 1000, &error), KL_OK);
            assert_int_equal(e.prompts[0].len, 1);
            assert_int_equal(e.prompts[0].ids[0], id_of(t, "<|endoftext|>"));
        } else {
            assert_int_not_equal(encode(&e, 1000, &error), KL_OK);
            assert_non_null(strstr(error.text, "prompt is empty"));
        }
        kl_raw_encoding_release(&e);
        kl_raw_input_release(&input);
        kl_tokenizer_close(t);
    }
}

/* The text of a prompt's tokens. */
static const char *text_of(const struct kl_tokenizer *t, const struct kl_tokens *tokens)
{
    static char text[512];
    size_t n = 0, len;
    for (size_t i = 0; i < tokens->len; i++) {
        const char *piece = kl_tokenizer_piece(t, tokens->ids[i], &len);
        assert_true(n + len < sizeof text);
        memcpy(text + n, piece, len);
        n += len;
    }
    text[n] = '\0';
    return text;
}

static void assert_gap(const struct kl_tokenizer *t, const struct kl_raw_gap *gap, size_t room,
                       const char *expected)
{
    for (size_t effort = 1; effort < 100; effort += 33) {
        struct kl_raw_input input = {0};
        struct kl_raw_encoding e;
        struct kl_api_error error;
        assert_int_equal(kl_raw_input_gap(&input, gap), KL_OK);
        assert_int_equal(kl_raw_encoding_begin(&e, &input, t, room + 100, room, &error), KL_OK);
        assert_int_equal(encode(&e, effort, &error), KL_OK);
        assert_string_equal(text_of(t, &e.prompts[0]), expected);
        assert_true(e.prompts[0].len <= room);
        kl_raw_encoding_release(&e);
        kl_raw_input_release(&input);
    }
}

/* Every character is a token here. */
static void what_is_around_a_gap_is_cut_to_the_room(void **state)
{
    (void)state;
    struct kl_tokenizer *t = open_tokenizer(true);
    struct kl_raw_gap gap = {.prefix = "0123456789",
                             .prefix_len = 10,
                             .line = "xy",
                             .line_len = 2,
                             .suffix = "abcdefgh",
                             .suffix_len = 8};
    assert_gap(t, &gap, 23, "<fim_prefix>0123456789xy<fim_suffix>abcdefgh<fim_middle>");
    assert_gap(t, &gap, 22, "<fim_prefix>0123456789xy<fim_suffix>abcdefg<fim_middle>");
    assert_gap(t, &gap, 13, "<fim_prefix>456789xy<fim_suffix>ab<fim_middle>");
    gap.prefix_len = 2; /* the suffix gets what the prefix leaves */
    assert_gap(t, &gap, 13, "<fim_prefix>01xy<fim_suffix>abcdef<fim_middle>");
    gap.prefix_len = 10;
    gap.suffix_len = 1; /* and the other way round */
    assert_gap(t, &gap, 13, "<fim_prefix>3456789xy<fim_suffix>a<fim_middle>");
    assert_gap(t, &gap, 5, "<fim_prefix>xy<fim_suffix><fim_middle>");
    kl_tokenizer_close(t);
}

static void files_go_before_a_gap_and_are_cut_first(void **state)
{
    (void)state;
    struct kl_tokenizer *t = open_tokenizer(true);
    const struct kl_raw_file files[] = {{"f1", "AB", 2, 2}, {"f2", "CD", 2, 2}};
    const struct kl_raw_gap gap = {.prefix = "12",
                                   .prefix_len = 2,
                                   .line = NULL,
                                   .suffix = "ab",
                                   .suffix_len = 2,
                                   .files = files,
                                   .n_files = 2};
    /* this vocabulary has no token before the name of a file */
    assert_gap(t, &gap, 100,
               "myproject\n\n\n--- f1\nAB\n\n--- f2\nCD\n\n--- filename\n"
               "<fim_prefix>12<fim_suffix>ab<fim_middle>");
    assert_gap(t, &gap, 23, "D\n\n--- filename\n<fim_prefix>12<fim_suffix>ab<fim_middle>");
    assert_gap(t, &gap, 7, "<fim_prefix>12<fim_suffix>ab<fim_middle>");
    kl_tokenizer_close(t);
}

static void a_gap_without_room_is_refused(void **state)
{
    (void)state;
    struct kl_tokenizer *t = open_tokenizer(true);
    struct kl_raw_input input = {0};
    const struct kl_raw_gap gap = {
        .prefix = "1", .prefix_len = 1, .line = "xyz", .line_len = 3, .suffix = ""};
    kl_raw_input_gap(&input, &gap);
    assert_refused(&input, t, 5, "context_length_exceeded", "holds 5");
    kl_tokenizer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_become_tokens),
        cmocka_unit_test(texts_begin_as_the_file_says),
        cmocka_unit_test(foreign_parts_are_refused),
        cmocka_unit_test(a_prompt_beyond_the_limit_is_refused),
        cmocka_unit_test(an_empty_prompt_begins_a_text),
        cmocka_unit_test(what_is_around_a_gap_is_cut_to_the_room),
        cmocka_unit_test(files_go_before_a_gap_and_are_cut_first),
        cmocka_unit_test(a_gap_without_room_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
