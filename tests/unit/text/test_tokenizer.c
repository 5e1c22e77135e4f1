/* src/text/tokenizer.c and vocab.c: what is refused, added tokens, spans. Ids against the
 * reference: tests/fidelity/test_tokenizer.py */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tiny_vocab.h"

static struct kl_span span(const char *text, bool special)
{
    return (struct kl_span){.text = text, .len = strlen(text), .special = special};
}

/* The ids of the spans, written one after the other with blanks between. */
static void assert_ids(const struct kl_tokenizer *t, const struct kl_span *spans, size_t n,
                       const char *expected)
{
    struct kl_tokens ids = {0};
    struct kl_error err = {0};
    char found[512] = "";
    if (kl_tokenizer_encode(t, spans, n, &ids, &err) != KL_OK)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < ids.len; i++)
        snprintf(found + strlen(found), sizeof found - strlen(found), i == 0 ? "%d" : " %d",
                 ids.ids[i]);
    assert_string_equal(found, expected);
    kl_tokens_release(&ids);
}

static void assert_text_ids(const struct kl_tokenizer *t, const char *text, bool special,
                            const char *expected)
{
    struct kl_span one = span(text, special);
    assert_ids(t, &one, 1, expected);
}

/* Opening fails with this status and a text in which `part` stands. */
static void assert_refused(const struct tiny_vocab *v, enum kl_status status, const char *part)
{
    struct kl_gguf *gguf = tiny_gguf(v);
    struct kl_tokenizer *t = NULL;
    struct kl_error err = {0};
    assert_int_equal(kl_tokenizer_open(gguf, &t, &err), status);
    assert_null(t);
    if (strstr(err.text, part) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", part, err.text);
    kl_gguf_close(gguf);
}

/* Ids: 256 "he", 257 "ll", 258 "hell", 259 "Ġhe" (with a space), 260 to 262 added, 263 unused. */
static void usual(struct tiny_vocab *v)
{
    tiny_init(v);
    tiny_merge(v, "h e");
    tiny_merge(v, "l l");
    tiny_merge(v, "he ll");
    tiny_merge(v, "Ġ he");
    tiny_token(v, "<|im_end|>", 3);
    tiny_token(v, "<|im_end|>2", 3);
    tiny_token(v, "<tool_call>", 4);
    tiny_token(v, "[PAD263]", 5);
}

static void refuses_other_tokenizers(void **state)
{
    (void)state;
    struct tiny_vocab v;
    usual(&v);
    v.model = "llama";
    assert_refused(&v, KL_ERR_UNSUPPORTED, "tokenizer.ggml.model is \"llama\"");
    v.model = "gpt2";
    v.pre = "qwen35";
    assert_refused(&v, KL_ERR_UNSUPPORTED, "tokenizer.ggml.pre is \"qwen35\"");
}

static void refuses_bad_tokens(void **state)
{
    (void)state;
    struct tiny_vocab v;
    usual(&v);
    v.tokens[256] = "a b";
    assert_refused(&v, KL_ERR_FORMAT, "tokenizer.ggml.tokens[256] has a character");
    v.tokens[256] = "\xFF";
    assert_refused(&v, KL_ERR_FORMAT, "tokenizer.ggml.tokens[256] has a character");
    v.tokens[256] = "\xC5\x84"; /* U+0144, one past the alphabet */
    assert_refused(&v, KL_ERR_FORMAT, "tokenizer.ggml.tokens[256] has a character");
    v.tokens[256] = "";
    assert_refused(&v, KL_ERR_FORMAT, "tokenizer.ggml.tokens[256] is empty");
    v.tokens[256] = "ll";
    assert_refused(&v, KL_ERR_FORMAT, "tokenizer.ggml.tokens[257] is the same token as [256]");

    usual(&v);
    v.tokens[261] = "\xFF";
    assert_refused(&v, KL_ERR_FORMAT, "tokenizer.ggml.tokens[261] is not valid UTF-8");
    v.tokens[261] = v.tokens[260];
    assert_refused(&v, KL_ERR_FORMAT, "tokenizer.ggml.tokens[261] is the same token as [260]");

    usual(&v);
    v.tokens[7] = "zz";
    assert_refused(&v, KL_ERR_FORMAT, "no token for the byte 0x07");
    usual(&v);
    v.n_tokens = 0;
    v.n_types = 0;
    assert_refused(&v, KL_ERR_FORMAT, "has 0 tokens");
}

static void refuses_long_tokens(void **state)
{
    (void)state;
    struct tiny_vocab v;
    char text[1026];
    memset(text, 'x', sizeof text);
    text[1025] = '\0';
    usual(&v);
    v.tokens[261] = text;
    assert_refused(&v, KL_ERR_FORMAT, "tokenizer.ggml.tokens[261] has 1025 bytes; at most 1024");
    text[1024] = '\0';
    kl_tokenizer_close(tiny_open(&v));
}

static void refuses_bad_types(void **state)
{
    (void)state;
    static const int32_t bad[] = {0, 2, 6, -1, 7};
    struct tiny_vocab v;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        usual(&v);
        v.types[258] = bad[i];
        assert_refused(&v, KL_ERR_FORMAT, "tokenizer.ggml.token_type[258] is ");
    }
    usual(&v);
    v.n_types--;
    assert_refused(&v, KL_ERR_FORMAT, "tokenizer.ggml.token_type has 263 entries");
}

static void refuses_bad_merges(void **state)
{
    (void)state;
    static const struct {
        const char *merge;
        const char *text;
    } bad[] = {
        {"", "is not two tokens"},
        {"he", "is not two tokens"},
        {"a b", "its result is not a token"},
        {"zz e", "its first half is not a token"},
        {"e zz", "its second half is not a token"},
        {" he", "its first half is not a token"},
        {"he ", "its second half is not a token"},
        {"he l l", "has a character that is not one of the 256"},
        {"\xFF e", "has a character that is not one of the 256"},
        {"h e", "is there twice, as [0] too"},
        {"< |im_end|>", "its second half is not a token"},
        {"hel l", "its first half is not a token"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct tiny_vocab v;
        usual(&v);
        v.merges[2] = bad[i].merge;
        assert_refused(&v, KL_ERR_FORMAT, bad[i].text);
        assert_refused(&v, KL_ERR_FORMAT, "tokenizer.ggml.merges[2]");
    }
}

/* Otherwise a user could write it. */
static void refuses_a_merge_that_makes_a_control_token(void **state)
{
    (void)state;
    struct tiny_vocab v;
    usual(&v);
    tiny_token(&v, "<h", 3);
    v.merges[v.n_merges++] = "< h";
    assert_refused(&v, KL_ERR_FORMAT, "tokenizer.ggml.merges[4]: its result is not a token");
}

static void refuses_ids_outside(void **state)
{
    (void)state;
    struct tiny_vocab v;
    usual(&v);
    tiny_init(&v); /* without <|im_end|>, which would end answers all the same */
    v.eos = (int64_t)v.n_tokens;
    assert_refused(&v, KL_ERR_FORMAT, "tokenizer.ggml.eos_token_id");
}

/* As converters make it that lose the types: <|im_end|> is an ordinary token, <|endoftext|> the end
 * of the text. */
static void control_tokens_are_known_by_name(void **state)
{
    (void)state;
    static const int32_t types[] = {1, 4, 5, 3};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct tiny_vocab v;
        tiny_init(&v);
        int32_t start = tiny_token(&v, "<|im_start|>", types[i]);
        int32_t end = tiny_token(&v, "<|im_end|>", types[i]);
        int32_t other = tiny_token(&v, "<|my_end|>", 1);
        v.eos = tiny_token(&v, "<|endoftext|>", 3);
        struct kl_tokenizer *t = tiny_open(&v);
        assert_true(kl_tokenizer_is_control(t, start) && kl_tokenizer_is_control(t, end));
        assert_true(kl_tokenizer_is_end(t, end) && kl_tokenizer_is_end(t, (int32_t)v.eos));
        assert_false(kl_tokenizer_is_end(t, start));
        assert_false(kl_tokenizer_is_control(t, other) || kl_tokenizer_is_end(t, other));

        /* found in the scaffold, and nowhere else */
        struct kl_tokens ids = {0};
        struct kl_span spans[] = {span("<|im_end|>", true), span("<|im_end|>", false)};
        assert_int_equal(kl_tokenizer_encode(t, spans, 2, &ids, NULL), KL_OK);
        assert_int_equal(ids.ids[0], end);
        assert_int_equal(ids.len, 1 + strlen("<|im_end|>"));
        kl_tokens_release(&ids);
        kl_tokenizer_close(t);
    }
}

static void ends_are_read_from_the_file(void **state)
{
    (void)state;
    struct tiny_vocab v;
    usual(&v);
    v.eos = 256;
    v.eot = 257;
    v.eom = 258;
    struct kl_tokenizer *t = tiny_open(&v);
    for (int32_t id = 255; id < 262; id++)
        assert_int_equal(kl_tokenizer_is_end(t, id), id >= 256 && id <= 258 ? true : id == 260);
    kl_tokenizer_close(t);
    v.eot = 100000; /* none: the others end answers */
    t = tiny_open(&v);
    assert_true(kl_tokenizer_is_end(t, 256) && !kl_tokenizer_is_end(t, 257));
    kl_tokenizer_close(t);
}

static void merges_pieces(void **state)
{
    (void)state;
    struct tiny_vocab v;
    usual(&v);
    struct kl_tokenizer *t = tiny_open(&v);
    assert_text_ids(t, "", false, "");
    assert_text_ids(t, "hell", false, "258");
    assert_text_ids(t, "hell", false, "258"); /* now known to be what merges make */
    assert_text_ids(t, "hello he", false, "258 111 259");
    assert_text_ids(t, "\xC3\xA9", false, "195 169");
    assert_text_ids(t, "e\xCC\x81", false, "195 169"); /* NFC */
    assert_text_ids(t, "\xFF", false, "239 191 189");  /* U+FFFD */
    kl_tokenizer_close(t);
}

/* "abc" is in the vocabulary, but merges never get there: (b c) comes first. */
static void takes_no_token_that_merges_do_not_make(void **state)
{
    (void)state;
    struct tiny_vocab v;
    tiny_init(&v);
    tiny_merge(&v, "b c");
    tiny_merge(&v, "a b");
    tiny_merge(&v, "ab c");
    struct kl_tokenizer *t = tiny_open(&v);
    assert_int_equal(kl_tokenizer_find(t, "abc", 3), 258);
    assert_text_ids(t, "abc", false, "97 256");
    assert_text_ids(t, "abc", false, "97 256");
    assert_text_ids(t, "ab", false, "257");
    kl_tokenizer_close(t);
}

static void llama3_takes_tokens_that_merges_do_not_make(void **state)
{
    (void)state;
    struct tiny_vocab v;
    tiny_init(&v);
    v.pre = "llama-bpe";
    tiny_merge(&v, "b c");
    tiny_merge(&v, "a b");
    tiny_merge(&v, "ab c");
    tiny_token(&v, "twelveandmore", 1); /* longer than a word of words.h */
    tiny_token(&v, "longerthanwhatissoughtelsewhereever", 1);
    struct kl_tokenizer *t = tiny_open(&v);
    assert_text_ids(t, "abc", false, "258");
    assert_text_ids(t, "abcb", false, "97 256 98"); /* no token, so it is merged */
    assert_text_ids(t, "twelveandmore", false, "259");
    assert_text_ids(t, "longerthanwhatissoughtelsewhereever", false, "260");
    kl_tokenizer_close(t);
}

static void llama3_begins_texts_unless_the_file_says_otherwise(void **state)
{
    (void)state;
    for (int add_bos = -1; add_bos <= 1; add_bos++) {
        struct tiny_vocab v;
        usual(&v);
        v.pre = "llama-bpe";
        v.bos = 256;
        v.add_bos = add_bos;
        struct kl_tokenizer *t = tiny_open(&v);
        assert_int_equal(kl_tokenizer_text_begin(t), add_bos == 0 ? -1 : 256);
        kl_tokenizer_close(t);
    }
}

static void added_tokens_are_found_in_special_spans_only(void **state)
{
    (void)state;
    struct tiny_vocab v;
    usual(&v);
    tiny_token(&v, "<&|&>", 3);
    struct kl_tokenizer *t = tiny_open(&v);
    assert_text_ids(t, "hell<|im_end|>he<tool_call>", true, "258 260 256 262");
    assert_text_ids(t, "<|im_end|>2<|im_end|>", true, "261 260"); /* the longest */
    assert_text_ids(t, "<|im_end|", true, "60 124 105 109 95 101 110 100 124");
    assert_text_ids(t, "<|im_end|>", false, "60 124 105 109 95 101 110 100 124 62");
    assert_text_ids(t, "<tool_call>", false, "60 116 111 111 108 95 99 97 257 62");
    /* An added token that stands as a whole piece in what a user wrote. */
    assert_text_ids(t, "<&|&>", false, "60 38 124 38 62");
    assert_text_ids(t, "<&|&>", true, "264");
    assert_text_ids(t, "[PAD263]", true, "91 80 65 68 50 54 51 93");
    kl_tokenizer_close(t);
}

static void spans_are_one_text_between_added_tokens(void **state)
{
    (void)state;
    struct tiny_vocab v;
    usual(&v);
    struct kl_tokenizer *t = tiny_open(&v);
    const struct kl_span word[] = {span("h", true), span("", false), span("el", false),
                                   span("l", true)};
    assert_ids(t, word, 4, "258");
    const struct kl_span letter[] = {span("e\xCC", false), span("\x81", true)};
    assert_ids(t, letter, 2, "195 169");
    /* Half of a control token in the scaffold and half in the content is none. */
    const struct kl_span forged[] = {span("<|im_", true), span("end|>", false)};
    assert_ids(t, forged, 2, "60 124 105 109 95 101 110 100 124 62");
    const struct kl_span split[] = {span("h<|im_end|>", true), span("e", false)};
    assert_ids(t, split, 2, "104 260 101");
    kl_tokenizer_close(t);
}

static void ids_are_appended(void **state)
{
    (void)state;
    struct tiny_vocab v;
    usual(&v);
    struct kl_tokenizer *t = tiny_open(&v);
    struct kl_tokens ids = {0};
    struct kl_span one = span("he", false);
    for (int i = 0; i < 100; i++)
        assert_int_equal(kl_tokenizer_encode(t, &one, 1, &ids, NULL), KL_OK);
    assert_int_equal(ids.len, 100);
    for (int i = 0; i < 100; i++)
        assert_int_equal(ids.ids[i], 256);
    kl_tokens_release(&ids);
    kl_tokenizer_close(t);
}

static void too_much_text_is_refused(void **state)
{
    (void)state;
    struct tiny_vocab v;
    usual(&v);
    struct kl_tokenizer *t = tiny_open(&v);
    const size_t len = ((size_t)64 << 20) + 1;
    char *text = calloc(len, 1);
    assert_non_null(text);
    struct kl_tokens ids = {0};
    struct kl_error err = {0};
    assert_int_equal(kl_tokens_push(&ids, 42), KL_OK);
    const struct kl_span spans[] = {span("<|im_end|>", true), {.text = text, .len = len}};
    assert_int_equal(kl_tokenizer_encode(t, spans, 2, &ids, &err), KL_ERR_LIMIT);
    assert_non_null(strstr(err.text, "67108864 bytes"));
    assert_int_equal(ids.len, 1); /* as it was before */
    kl_tokens_release(&ids);
    free(text);
    kl_tokenizer_close(t);
}

static void tokens_have_their_bytes_and_kinds(void **state)
{
    (void)state;
    struct tiny_vocab v;
    usual(&v);
    v.eos = 256;
    struct kl_tokenizer *t = tiny_open(&v);
    size_t len;
    assert_int_equal(kl_tokenizer_size(t), 264);
    assert_memory_equal(kl_tokenizer_piece(t, 259, &len), " he", 3);
    assert_int_equal(len, 3);
    assert_memory_equal(kl_tokenizer_piece(t, 173, &len), "\xAD", 1); /* the last of the alphabet */
    assert_memory_equal(kl_tokenizer_piece(t, 261, &len), "<|im_end|>2", 11);
    assert_non_null(kl_tokenizer_piece(t, 263, &len));
    assert_int_equal(len, 0); /* unused: a row of the embedding table, no text */
    assert_null(kl_tokenizer_piece(t, 264, &len));
    assert_null(kl_tokenizer_piece(t, -1, &len));

    assert_int_equal(kl_tokenizer_find(t, " he", 3), 259);
    assert_int_equal(kl_tokenizer_find(t, "hel", 3), -1);
    assert_int_equal(kl_tokenizer_find(t, "", 0), -1);
    assert_int_equal(kl_tokenizer_find(t, "[PAD263]", 8), -1);

    static const struct {
        int32_t id;
        bool control, end;
    } kinds[] = {{256, false, true},  {257, false, false}, {260, true, true},  {261, true, false},
                 {262, false, false}, {263, false, false}, {-1, false, false}, {264, false, false}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        assert_int_equal(kl_tokenizer_is_control(t, kinds[i].id), kinds[i].control);
        assert_int_equal(kl_tokenizer_is_end(t, kinds[i].id), kinds[i].end);
    }
    kl_tokenizer_close(t);
}

static void tokens_can_be_added(void **state)
{
    (void)state;
    struct tiny_vocab v;
    usual(&v);
    struct kl_tokenizer *t = tiny_open(&v);
    struct kl_error err = {0};
    int32_t id;
    assert_int_equal(kl_tokenizer_add(t, "<x>", 3, true, &id, &err), KL_OK);
    assert_int_equal(id, 264);
    assert_int_equal(kl_tokenizer_add(t, "<x>y", 4, false, &id, &err), KL_OK);
    assert_int_equal(id, 265);
    assert_int_equal(kl_tokenizer_add(t, "<x>", 3, true, &id, &err), KL_OK);
    assert_int_equal(id, 264); /* there already */
    assert_int_equal(kl_tokenizer_add(t, "hell", 4, true, &id, &err), KL_OK);
    assert_int_equal(id, 258);
    assert_int_equal(kl_tokenizer_size(t), 266);
    assert_true(kl_tokenizer_is_control(t, 264));
    assert_false(kl_tokenizer_is_control(t, 265));
    assert_text_ids(t, "he<x>y<x>hell", true, "256 265 264 258");
    assert_text_ids(t, "<x>", false, "60 120 62");
    assert_int_equal(kl_tokenizer_add(t, "&&", 2, false, &id, &err), KL_OK);
    assert_text_ids(t, "&&", false, "38 38"); /* a whole piece of what a user wrote */
    assert_text_ids(t, "&&", true, "266");

    /* Many: tables grow, what was there stays. */
    for (int i = 0; i < 1000; i++) {
        char text[16];
        snprintf(text, sizeof text, "<%d>", i);
        assert_int_equal(kl_tokenizer_add(t, text, strlen(text), true, &id, &err), KL_OK);
        assert_int_equal(id, 267 + i);
    }
    assert_text_ids(t, "<0>hello<x>y<999>", true, "267 258 111 265 1266");
    assert_int_equal(kl_tokenizer_find(t, "<500>", 5), 767);
    kl_tokenizer_close(t);
}

static void bad_tokens_are_not_added(void **state)
{
    (void)state;
    struct tiny_vocab v;
    usual(&v);
    struct kl_tokenizer *t = tiny_open(&v);
    struct kl_error err = {0};
    char text[1025];
    int32_t id;
    memset(text, 'x', sizeof text);
    assert_int_equal(kl_tokenizer_add(t, "", 0, true, &id, &err), KL_ERR_INVALID);
    assert_int_equal(kl_tokenizer_add(t, text, 1025, true, &id, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, "1025 bytes"));
    assert_int_equal(kl_tokenizer_add(t, "\xFF", 1, true, &id, &err), KL_ERR_INVALID);
    assert_int_equal(kl_tokenizer_size(t), 264);
    assert_int_equal(kl_tokenizer_add(t, text, 1024, true, &id, &err), KL_OK);
    assert_int_equal(kl_tokenizer_size(t), 265);
    kl_tokenizer_close(t);
}

/* As Qwen3-Embedding wants its end of text; only where a file says so, with an id that is one. */
static void knows_tokens_around_texts(void **state)
{
    (void)state;
    static const struct {
        int add_bos, add_eos;
        int64_t bos, eos;
        int32_t begin, end;
    } cases[] = {{-1, -1, 256, 257, -1, -1}, {0, 0, 256, 257, -1, -1},   {1, 0, 256, 257, 256, -1},
                 {0, 1, 256, 257, -1, 257},  {1, 1, 256, 257, 256, 257}, {1, 1, -1, 257, -1, 257},
                 {1, 1, 99999, 257, -1, 257}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tiny_vocab v;
        usual(&v);
        v.add_bos = cases[i].add_bos;
        v.add_eos = cases[i].add_eos;
        v.bos = cases[i].bos;
        v.eos = cases[i].eos;
        struct kl_tokenizer *t = tiny_open(&v);
        assert_int_equal(kl_tokenizer_text_begin(t), cases[i].begin);
        assert_int_equal(kl_tokenizer_text_end(t), cases[i].end);
        kl_tokenizer_close(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_other_tokenizers),
        cmocka_unit_test(refuses_bad_tokens),
        cmocka_unit_test(refuses_long_tokens),
        cmocka_unit_test(refuses_bad_types),
        cmocka_unit_test(refuses_bad_merges),
        cmocka_unit_test(refuses_a_merge_that_makes_a_control_token),
        cmocka_unit_test(refuses_ids_outside),
        cmocka_unit_test(control_tokens_are_known_by_name),
        cmocka_unit_test(ends_are_read_from_the_file),
        cmocka_unit_test(merges_pieces),
        cmocka_unit_test(takes_no_token_that_merges_do_not_make),
        cmocka_unit_test(llama3_takes_tokens_that_merges_do_not_make),
        cmocka_unit_test(llama3_begins_texts_unless_the_file_says_otherwise),
        cmocka_unit_test(added_tokens_are_found_in_special_spans_only),
        cmocka_unit_test(spans_are_one_text_between_added_tokens),
        cmocka_unit_test(ids_are_appended),
        cmocka_unit_test(too_much_text_is_refused),
        cmocka_unit_test(tokens_have_their_bytes_and_kinds),
        cmocka_unit_test(tokens_can_be_added),
        cmocka_unit_test(bad_tokens_are_not_added),
        cmocka_unit_test(knows_tokens_around_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
