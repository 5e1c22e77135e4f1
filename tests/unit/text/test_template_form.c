/* src/text/template_form.c: what is written differently and is the same, and what is not. Against
 * Jinja2, with whole templates: tests/fidelity/test_template_variants.py */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "text/template_form.h"

static enum kl_status form_of(const char *text, size_t len, struct kl_buffer *form)
{
    /* a copy of exactly its bytes, so that a sanitizer sees a read beyond them */
    char *copy = malloc(len + !len);
    assert_non_null(copy);
    memcpy(copy, text, len);
    kl_buffer_init(form, KL_TEMPLATE_MAX_FORM);
    enum kl_status status = kl_template_form(copy, len, form);
    free(copy);
    return status;
}

static void assert_form(const char *text, const char *expected)
{
    struct kl_buffer form;
    assert_int_equal(form_of(text, strlen(text), &form), KL_OK);
    assert_string_equal(form.len > 0 ? form.data : "", expected);
    kl_buffer_release(&form);
}

static void assert_refused(const char *text)
{
    struct kl_buffer form;
    if (form_of(text, strlen(text), &form) != KL_ERR_UNSUPPORTED)
        fail_msg("taken: %s", text);
    kl_buffer_release(&form);
}

static void text_and_strings_are_one(void **state)
{
    (void)state;
    const char *form = "T4:<a>\n\nE m . role\nT1:b\n";
    assert_form("{{ '<a>\\n' + m['role'] + 'b' }}", form);
    assert_form("{{'<a>'}}{{ \"\\n\" }}{{m.role}}{#- c -#}  b", form);
    assert_form("<a>\n{{ m[ \"role\" ] }}{{ 'b' }}\n", form);
    assert_form("<a>\r\n{{- '\n' -}}\n  {{ m.role -}} \n b", form);
    assert_form("{{ '' }}", "");
    assert_form("", "");
    assert_form("{{ '\\'\\\"\\\\' }}", "T3:'\"\\\n");
}

static void only_text_is_taken_apart(void **state)
{
    (void)state;
    assert_form("{{ a + (b + 'c') }}", "E a\nE ( b + '1:c )\n");
    assert_form("{{ a + b | trim }}", "E a\nE b | trim\n");
    assert_form("{{ a + 1 }}", "E a + 1\n");
    assert_form("{{ a + b if c else d }}", "E a + b if c else d\n");
    assert_form("{{ a + b == c }}", "E a + b == c\n");
    assert_form("{{ + a }}", "E + a\n");
    assert_form("{{ a ~ b }}", "E a ~ b\n");
}

static void attributes(void **state)
{
    (void)state;
    assert_form("{{ a['b']['c d'][0]['e'] }}", "E a . b [ '3:c d ] [ 0 ] . e\n");
    assert_form("{% if x in ['a'] %}", "S if x in [ '1:a ]\n");
    assert_form("{% set x = ['a'] %}", "S set x = [ '1:a ]\n");
    assert_form("{{ f()['a'] }}", "E f ( ) . a\n");
    assert_form("{{ a[''] }}", "E a [ '0: ]\n");
}

static void constants(void **state)
{
    (void)state;
    assert_form("{% if True == None %}", "S if true == none\n");
    assert_form("{% if a is True or b is not None %}", "S if a is True or b is not None\n");
}

static void whitespace_control(void **state)
{
    (void)state;
    /* lstrip_blocks and trim_blocks */
    assert_form("a\n  {% if x %}\n b", "T2:a\n\nS if x\nT2: b\n");
    assert_form("a  {% if x %} \n", "T3:a  \nS if x\nT1: \n");
    assert_form("  {% if x %}\n\nb", "S if x\nT2:\nb\n");
    assert_form("  {{ x }}\nb", "T2:  \nE x\nT2:\nb\n");
    assert_form("{{ x }}  {% if y %}", "E x\nT2:  \nS if y\n");
    assert_form("{# c #}\n  {% if y %}", "S if y\n");
    /* by hand */
    assert_form("a \n {%- if x -%} \n b", "T1:a\nS if x\nT1:b\n");
    assert_form("a\n  {%+ if x +%}\nb", "T4:a\n  \nS if x\nT2:\nb\n");
}

static void what_is_not_read_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{{",          "{{ a",         "{{ a }",        "{% if",       "{#",
        "{# #",        "{{ }}",        "{%%}",          "{{ ) }}",     "{{ ( }}",
        "{{ 'a }}",    "{{ '\\",       "{{ '\\x41' }}", "{{ a ? b }}", "{{ \xC3\xA4 }}",
        "{% raw %}{{", "{{ {'a': 1 }}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_refused(texts[i]);
}

static void limits(void **state)
{
    (void)state;
    static const char *const units[] = {"{{a}}", "{%a%}", "{{''}}",      "x{{a}}", "{#",
                                        "{",     " ",     "\n",          "{{(",    "{{a.",
                                        "{{''+", "'",     "{{[''][''] ", "{%-\n"};
    const size_t size = KL_TEMPLATE_MAX_BYTES;
    char *text = malloc(size + 1);
    assert_non_null(text);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t len = strlen(units[i]);
        for (size_t at = 0; at < size; at++)
            text[at] = units[i][at % len];
        struct kl_buffer form;
        enum kl_status status = form_of(text, size - size % len, &form);
        assert_true(status == KL_OK || status == KL_ERR_UNSUPPORTED); /* the form has room */
        kl_buffer_release(&form);
    }
    memset(text, 'x', size + 1);
    struct kl_buffer form;
    assert_int_equal(form_of(text, size, &form), KL_OK);
    kl_buffer_release(&form);
    assert_int_equal(form_of(text, size + 1, &form), KL_ERR_UNSUPPORTED);
    kl_buffer_release(&form);
    free(text);
}

/* Pieces of templates in random order, and every prefix of one: nothing is read that is not there.
 */
static void hostile(void **state)
{
    (void)state;
    static const char *const pieces[] = {"{{", "}}", "{%", "%}", "{#", "#}", "-",  "+",   "'",
                                         "\"", "\\", "\n", "(",  ")",  "[",  "]",  "{",   "}",
                                         ".",  "|",  "a",  "is", "1",  " ",  "\r", "\xFF"};
    uint64_t random = 42;
    for (size_t round = 0; round < 20000; round++) {
        char text[128];
        size_t len = 0;
        for (size_t n = round % 24; n > 0; n--) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            const char *piece = pieces[(random >> 33) % (sizeof pieces / sizeof *pieces)];
            memcpy(text + len, piece, strlen(piece));
            len += strlen(piece);
        }
        struct kl_buffer form;
        enum kl_status status = form_of(text, len, &form);
        assert_true(status == KL_OK || status == KL_ERR_UNSUPPORTED);
        kl_buffer_release(&form);
    }
    const char whole[] =
        "{#- c -#}\n {%- if a['b'] is not none -%} {{- \"x\\n\" + y -}} {%- endif +%}";
    for (size_t len = 0; len < sizeof whole; len++) {
        struct kl_buffer form;
        form_of(whole, len, &form);
        kl_buffer_release(&form);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_and_strings_are_one),
        cmocka_unit_test(only_text_is_taken_apart),
        cmocka_unit_test(attributes),
        cmocka_unit_test(constants),
        cmocka_unit_test(whitespace_control),
        cmocka_unit_test(what_is_not_read_is_refused),
        cmocka_unit_test(limits),
        cmocka_unit_test(hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
