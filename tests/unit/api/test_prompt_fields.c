/* src/api/prompt_fields.c: the forms of a prompt become parts; all others are refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "api/prompt_fields.h"

/* Writes the parts of all prompts: a text in quotes, ids in brackets, a bar between prompts. */
static void write_parts(const struct kl_raw_input *raw, char *out, size_t size)
{
    size_t n = 0, prompt = 0;
    for (size_t i = 0; i <= raw->n_parts; i++) {
        for (; prompt < raw->n_prompts && raw->begins[prompt] == i; prompt++)
            n += (size_t)snprintf(out + n, size - n, "|");
        if (i == raw->n_parts)
            return;
        const struct kl_raw_part *part = &raw->parts[i];
        if (part->kind == KL_RAW_TEXT)
            n += (size_t)snprintf(out + n, size - n, "'%.*s'", (int)part->len, part->text);
        for (size_t k = 0; part->kind == KL_RAW_IDS && k < part->n_ids; k++)
            n += (size_t)snprintf(out + n, size - n, "%s%d%s", k == 0 ? "[" : ",",
                                  (int)raw->ids[part->ids_at + k], k + 1 == part->n_ids ? "]" : "");
    }
}

static void assert_parts(const char *prompt, const char *expected)
{
    char text[256], found[256] = "";
    struct kl_raw_input raw = {0};
    struct kl_api_error error;
    snprintf(text, sizeof text, "{\"prompt\": %s}", prompt);
    json_t *body = json_loads(text, 0, NULL);
    assert_non_null(body);
    assert_int_equal(kl_prompt_field(body, &raw, &error), KL_OK);
    write_parts(&raw, found, sizeof found);
    assert_string_equal(found, expected);
    kl_raw_input_release(&raw);
    json_decref(body);
}

static void forms(void **state)
{
    (void)state;
    assert_parts("\"a\"", "|'a'");
    assert_parts("\"\"", "|''");
    assert_parts("[1, 2, 3]", "|[1,2,3]");
    assert_parts("[1, \"a\", 2, 3]", "|[1]'a'[2,3]");
    assert_parts("[\"a\", \"b\"]", "|'a'|'b'");
    assert_parts("[[1], [2, 3], []]", "|[1]|[2,3]|");
    assert_parts("[\"a\", [1, \"b\"], {\"prompt_string\": \"c\"}]", "|'a'|[1]'b'|'c'");
    assert_parts("{\"prompt_string\": [4, \"d\"], \"multimodal_data\": null}", "|[4]'d'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
