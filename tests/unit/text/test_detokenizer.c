/* src/text/detokenizer.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "text/detokenizer.h"
#include "tiny_vocab.h"

#define REPLACED "\xEF\xBF\xBD"

static struct kl_tokenizer *tokenizer;

/* Ids: the bytes, 256 the first two bytes of 你 (E4 BD A0), 257 control, 258 user-defined, 259
 * unused. */
static int prepare(void **state)
{
    (void)state;
    struct tiny_vocab v;
    tiny_init(&v);
    tiny_merge(&v, "ä ½");
    tiny_token(&v, "<|im_end|>", 3);
    tiny_token(&v, "<tool_call>", 4);
    tiny_token(&v, "[PAD259]", 5);
    tokenizer = tiny_open(&v);
    return 0;
}

static int finish(void **state)
{
    (void)state;
    kl_tokenizer_close(tokenizer);
    return 0;
}

/* The text shown after each id, each followed by "|", and then the text that the end adds. */
static void assert_shown(const int32_t *ids, size_t n, const char *expected)
{
    struct kl_detokenizer d;
    struct kl_buffer out;
    kl_buffer_init(&out, 1000);
    kl_detokenizer_init(&d, tokenizer);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(kl_detokenizer_push(&d, ids[i], &out), KL_OK);
        assert_int_equal(kl_buffer_append_string(&out, "|"), KL_OK);
    }
    assert_int_equal(kl_detokenizer_finish(&d, &out), KL_OK);
    assert_string_equal(out.data, expected);
    kl_buffer_release(&out);
}

#define SHOWN(expected, ...)                                                                       \
    assert_shown((const int32_t[]){__VA_ARGS__},                                                   \
                 sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t), expected)

static void holds_back_what_may_become_a_character(void **state)
{
    (void)state;
    SHOWN("a|b|", 'a', 'b');
    SHOWN("|你|x|", 256, 0xA0, 'x');
    SHOWN("|||😀|", 0xF0, 0x9F, 0x98, 0x80);
}

static void replaces_what_can_not(void **state)
{
    (void)state;
    SHOWN(REPLACED "|", 0x80);
    SHOWN("|" REPLACED "x|", 256, 'x');
    SHOWN("|" REPLACED "|你|", 256, 256, 0xA0);
    SHOWN("||" REPLACED, 0xF0, 0x9F);
    SHOWN("|" REPLACED REPLACED "|", 0xED, 0xA0); /* a surrogate */
}

static void control_tokens_are_not_shown(void **state)
{
    (void)state;
    SHOWN("a||<tool_call>|b|", 'a', 257, 258, 'b');
    SHOWN("||你|", 256, 257, 0xA0);
    SHOWN("a||", 'a', 259);
}

static void ids_outside_are_refused(void **state)
{
    (void)state;
    struct kl_detokenizer d;
    struct kl_buffer out;
    kl_buffer_init(&out, 1000);
    kl_detokenizer_init(&d, tokenizer);
    assert_int_equal(kl_detokenizer_push(&d, 260, &out), KL_ERR_INVALID);
    assert_int_equal(kl_detokenizer_push(&d, -1, &out), KL_ERR_INVALID);
    assert_int_equal(out.len, 0);
    kl_buffer_release(&out);
}

/* text[0..len) repaired by the rule of base/utf8.h, all at once. */
static void repair(const char *text, size_t len, struct kl_buffer *out)
{
    for (size_t at = 0; at < len;) {
        uint32_t c;
        bool valid;
        char bytes[4];
        at += kl_utf8_decode(text + at, len - at, &c, &valid);
        assert_int_equal(kl_buffer_append(out, bytes, kl_utf8_encode(c, bytes)), KL_OK);
    }
}

static void pieces_join_to_the_whole(void **state)
{
    (void)state;
    /* bytes that begin, continue and break sequences, more often than chance has them */
    static const unsigned char pool[] = {0xE4, 0xBD, 0xA0, 0xF0, 0x9F, 0x98, 0x80,
                                         0xC3, 0xA9, 0xED, 0xA0, 0x80, 0xFF, 0xC0,
                                         0xF4, 0x90, 'a',  'b',  0xE0, 0x80};
    uint32_t random = 1;
    for (int round = 0; round < 20000; round++) {
        struct kl_detokenizer d;
        struct kl_buffer whole, pieces, raw;
        kl_buffer_init(&whole, 1000);
        kl_buffer_init(&pieces, 1000);
        kl_buffer_init(&raw, 1000);
        kl_detokenizer_init(&d, tokenizer);
        for (int i = 0; i < 12; i++) {
            random = random * 1664525u + 1013904223u;
            int32_t id = random >> 28 == 0 ? 256 : pool[(random >> 16) % sizeof pool];
            size_t len;
            const char *piece = kl_tokenizer_piece(tokenizer, id, &len);
            assert_int_equal(kl_buffer_append(&raw, piece, len), KL_OK);
            assert_int_equal(kl_detokenizer_push(&d, id, &pieces), KL_OK);
            assert_true(kl_utf8_valid(pieces.data != NULL ? pieces.data : "", pieces.len));
        }
        assert_int_equal(kl_detokenizer_finish(&d, &pieces), KL_OK);
        repair(raw.data, raw.len, &whole);
        assert_string_equal(pieces.data, whole.data);
        kl_buffer_release(&whole);
        kl_buffer_release(&pieces);
        kl_buffer_release(&raw);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_back_what_may_become_a_character),
        cmocka_unit_test(replaces_what_can_not),
        cmocka_unit_test(control_tokens_are_not_shown),
        cmocka_unit_test(ids_outside_are_refused),
        cmocka_unit_test(pieces_join_to_the_whole),
    };
    return cmocka_run_group_tests(tests, prepare, finish);
}
