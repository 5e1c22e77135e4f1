/* src/text/pretokenizer.c. All of Unicode against the reference: tests/fidelity/test_tokenizer.py
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "text/pretokenizer.h"

static struct kl_char_classes classes;

static const struct kl_pretokenizer *rule(const char *name)
{
    const struct kl_pretokenizer *found = NULL;
    struct kl_error err;
    assert_int_equal(kl_pretokenizer_find(name, strlen(name), &found, &err), KL_OK);
    return found;
}

/* The pieces of text with "|" between them. */
static void assert_pieces_of(const char *name, const char *text, const char *expected)
{
    const struct kl_pretokenizer *pretokenizer = rule(name);
    char found[256] = "";
    size_t len = strlen(text);
    for (size_t at = 0; at < len;) {
        size_t n = pretokenizer->piece(&classes, text + at, len - at);
        assert_in_range(n, 1, len - at);
        if (at > 0)
            strcat(found, "|");
        strncat(found, text + at, n);
        at += n;
    }
    assert_string_equal(found, expected);
}

static void assert_pieces(const char *text, const char *expected)
{
    assert_pieces_of("qwen2", text, expected);
}

static void words_take_one_sign_before_them(void **state)
{
    (void)state;
    assert_pieces("Hello world", "Hello| world");
    assert_pieces("(foo) [bar", "(foo|)| [|bar");
    assert_pieces("\tx\xC2\xA0y", "\tx|\xC2\xA0y");
    assert_pieces("你好,世界!", "你好|,世界|!");
    assert_pieces("\nx", "\n|x");
    assert_pieces("naïve", "naïve");
}

static void contractions_are_cut_off(void **state)
{
    (void)state;
    assert_pieces("it's don't we'LL I'Ve 'rE'm'd", "it|'s| don|'t| we|'LL| I|'Ve| '|rE|'m|'d");
    assert_pieces("'ſx'", "'ſ|x|'");
    assert_pieces("'tis 'lo 'vx", "'t|is| '|lo| '|vx");
    assert_pieces("'l", "'l");
    assert_pieces("'", "'");
    assert_pieces("'v", "'v");
}

static void digits_stand_alone(void **state)
{
    (void)state;
    assert_pieces("2024 a1b", "2|0|2|4| a|1|b");
    assert_pieces(" 7", " |7");
    assert_pieces("½Ⅷ٣", "½|Ⅷ|٣");
}

static void signs_keep_together_with_a_space_and_line_ends(void **state)
{
    (void)state;
    assert_pieces("a += b;\n\nc", "a| +=| b|;\n\n|c");
    assert_pieces("x  !!\r\ny", "x| | !!\r\n|y");
    assert_pieces("\t!!", "\t|!!");
    assert_pieces("👍🏽!", "👍🏽!");
}

static void white_space_leaves_its_last_to_what_follows(void **state)
{
    (void)state;
    assert_pieces("a   b", "a|  | b");
    assert_pieces("a   5", "a|  | |5");
    assert_pieces("a   ", "a|   ");
    assert_pieces("a \n \n  b", "a| \n \n| | b");
    assert_pieces("\n\n", "\n\n");
    assert_pieces(" \n  ", " \n|  ");
    assert_pieces("\xE3\x80\x80\xE3\x80\x80x", "\xE3\x80\x80|\xE3\x80\x80x");
    assert_pieces("\xC2\x85\xC2\x85", "\xC2\x85\xC2\x85");
}

static int prepare(void **state)
{
    (void)state;
    return kl_char_classes_init(&classes, NULL) == KL_OK ? 0 : -1;
}

static int finish(void **state)
{
    (void)state;
    kl_char_classes_release(&classes);
    return 0;
}

static void smollm_cuts_as_gpt2_between_numbers(void **state)
{
    (void)state;
    assert_pieces_of("smollm", "Hello world (foo) [bar", "Hello| world| (|foo|)| [|bar");
    assert_pieces_of("smollm", "it's don't we'LL", "it|'s| don|'t| we|'|LL");
    assert_pieces_of("smollm", "'r'l've're'll", "'|r|'|l|'ve|'re|'ll");
    assert_pieces_of("smollm", "a 7 b12", "a| |7| b|1|2");
    assert_pieces_of("smollm", "a  7", "a|  |7");
    assert_pieces_of("smollm", "a  b \n\nc", "a| | b| \n|\n|c");
    assert_pieces_of("smollm", "a,\n b  ", "a|,|\n| b|  ");
    assert_pieces_of("smollm", "x\u3000\u3000y", "x|\u3000|\u3000|y");
}

static void llama3_takes_three_numbers_at_most(void **state)
{
    (void)state;
    assert_pieces_of("llama-bpe", "1234567", "123|456|7");
    assert_pieces_of("llama-bpe", "a12b ½²①𝟘 1", "a|12|b| |½²①|𝟘| |1");
    assert_pieces_of("llama-bpe", "it's  we'LL\n\nx", "it|'s| | we|'LL|\n\n|x");
    assert_ptr_equal(rule("llama3")->piece, rule("llama-bpe")->piece);
    assert_ptr_equal(rule("llama-v3")->piece, rule("llama-bpe")->piece);
    assert_false(rule("llama-bpe")->nfc);
    assert_ptr_equal(rule("deepseek-r1-qwen")->piece, rule("qwen2")->piece);
    assert_true(rule("deepseek-r1-qwen")->nfc);
}

static void other_rules_are_refused_by_name(void **state)
{
    (void)state;
    const struct kl_pretokenizer *found = NULL;
    struct kl_error err = {0};
    assert_int_equal(kl_pretokenizer_find("qwen35", 6, &found, &err), KL_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "\"qwen35\""));
    assert_non_null(strstr(err.text, "qwen2, deepseek-r1-qwen, llama-bpe"));
    assert_int_equal(kl_pretokenizer_find("qwen", 4, &found, &err), KL_ERR_UNSUPPORTED);
    assert_null(found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_take_one_sign_before_them),
        cmocka_unit_test(contractions_are_cut_off),
        cmocka_unit_test(digits_stand_alone),
        cmocka_unit_test(smollm_cuts_as_gpt2_between_numbers),
        cmocka_unit_test(llama3_takes_three_numbers_at_most),
        cmocka_unit_test(other_rules_are_refused_by_name),
        cmocka_unit_test(signs_keep_together_with_a_space_and_line_ends),
        cmocka_unit_test(white_space_leaves_its_last_to_what_follows),
    };
    return cmocka_run_group_tests(tests, prepare, finish);
}
