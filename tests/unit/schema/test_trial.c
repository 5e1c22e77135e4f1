#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../grammar/grammar_tokens.h"
#include "grammar/matcher.h"
#include "schema/trial.h"
#include "schema/trial_report.h"
#include "schema/trial_set.h"

static struct kl_tokenizer *tokenizer;
static struct kl_token_trie *trie;
static struct kl_trial_set set;
static struct kl_trial trial;
static struct kl_error err;
static int liar; /* the answer of this call of kl_matcher_accept, from 1 on, is reversed */

bool __wrap_kl_matcher_accept(struct kl_matcher *matcher, struct kl_rule_state *state,
                              int32_t token);
bool __real_kl_matcher_accept(struct kl_matcher *matcher, struct kl_rule_state *state,
                              int32_t token);

bool __wrap_kl_matcher_accept(struct kl_matcher *matcher, struct kl_rule_state *state,
                              int32_t token)
{
    bool accepted = __real_kl_matcher_accept(matcher, state, token);
    return --liar == 0 ? !accepted : accepted;
}

static int open_tokens(void **state)
{
    (void)state;
    tokenizer = made_tokenizer();
    return kl_token_trie_open(tokenizer, &trie, &err) == KL_OK ? 0 : 1;
}

static int close_tokens(void **state)
{
    (void)state;
    kl_token_trie_close(trie);
    kl_tokenizer_close(tokenizer);
    return 0;
}

static int begin(void **state)
{
    (void)state;
    liar = 0;
    return 0;
}

static int end(void **state)
{
    (void)state;
    kl_trial_release(&trial);
    kl_trial_set_release(&set);
    return 0;
}

/* The tests of a document. */
static enum kl_status run(const char *document)
{
    const struct kl_trial_tools tools = {tokenizer, trie, KL_SCHEMA_JUDGE};
    kl_trial_release(&trial);
    kl_trial_set_release(&set);
    assert_int_equal(kl_trial_read_tests(document, strlen(document), &set, &err), KL_OK);
    return kl_trial_run(&tools, set.schema, set.texts, set.n, &trial, &err);
}

static const char strings[] = "{\"schema\":{\"items\":{\"type\":\"string\",\"maxLength\":3}},"
                              "\"tests\":[{\"valid\":true,\"data\":[\"aa\",\"b\"]},{\"valid\":"
                              "false,\"data\":[\"aa\",\"abab\"]},"
                              "{\"valid\":false,\"data\":[1]},{\"valid\":true,\"data\":7}]}";

static void test_each_text_is_judged_and_each_mask_timed(void **state)
{
    (void)state;
    assert_int_equal(run(strings), KL_OK);
    assert_int_equal(trial.error.status, KL_OK);
    assert_int_equal(trial.n_instances, 4);
    const struct kl_trial_instance *i = trial.instances;
    assert_true(i[0].accepted && !i[1].accepted && !i[2].accepted && i[3].accepted);
    assert_int_equal(i[1].stopped_at, strlen("[\"aa\", \"aba"));
    assert_int_equal(i[2].stopped_at, 1);
    assert_int_equal(i[0].tokens, strlen("[\"aa\", \"b\"]")); /* it has no merges */
    assert_int_equal(i[3].tokens, 1);
    assert_true(trial.n_masks >= i[0].tokens + 1 + 2 + 2 + 2);
    assert_true(trial.compile_us > 0 && trial.states > 0);
}

static void test_a_mask_that_disagrees_with_the_rule_is_an_error(void **state)
{
    (void)state;
    size_t n = 0;
    assert_int_equal(run(strings), KL_OK);
    n = trial.n_masks;
    for (size_t i = 1; i <= n; i++) {
        liar = (int)i;
        assert_int_equal(run(strings), KL_ERR_FORMAT);
        assert_non_null(strstr(err.text, "a bug: token "));
    }
    liar = (int)n + 1;
    assert_int_equal(run(strings), KL_OK);
}

static void test_a_refused_schema_is_a_result(void **state)
{
    (void)state;
    assert_int_equal(run("{\"schema\":{\"properties\":{\"a\":{\"type\":\"strung\"}}},"
                         "\"tests\":[{\"valid\":true,\"data\":1}]}"),
                     KL_OK);
    assert_int_equal(trial.error.status, KL_ERR_INVALID);
    assert_string_equal(trial.refusal.keyword, "type");
    assert_string_equal(trial.refusal.path, "#/properties/a");
    assert_int_equal(trial.n_instances, 0);
    struct kl_printer out;
    kl_printer_init(&out, 10000);
    trial.compile_us = 1.5;
    kl_trial_write_json(&trial, "x\"y", &out);
    assert_non_null(strstr(out.text.data, "{\"file\":\"x\\\"y\",\"compile_us\":1.5,\"states\":0,"
                                          "\"error\":{\"path\":\"#/properties/a\",\"keyword\":"
                                          "\"type\",\"text\":\""));
    assert_non_null(strstr(out.text.data, "\"},\"instances\":[],\"masks\":0,\"mask_us_mean\":0,"
                                          "\"mask_us_p99\":0}\n"));
    kl_printer_release(&out);
}

static void test_a_text_in_another_form_than_the_vocabulary_is_cut(void **state)
{
    (void)state;
    /* the tokenizer's normaliser makes one character of e and U+0301 */
    assert_int_equal(run("{\"schema\":{\"const\":\"e\\u0301\"},\"tests\":["
                         "{\"valid\":true,\"data\":\"e\\u0301\"},"
                         "{\"valid\":false,\"data\":\"\\u00e9\"}]}"),
                     KL_OK);
    assert_true(trial.instances[0].accepted);
    assert_false(trial.instances[1].accepted);
    assert_int_equal(trial.instances[1].stopped_at, 1);
}

static void test_results_are_counted(void **state)
{
    (void)state;
    struct kl_trial_summary summary = {0};
    struct kl_printer out;
    assert_int_equal(run(strings), KL_OK);
    assert_int_equal(kl_trial_summary_add(&summary, &trial, set.valid, &err), KL_OK);
    set.valid[0] = false;
    set.valid[1] = true;
    assert_int_equal(kl_trial_summary_add(&summary, &trial, set.valid, &err), KL_OK);
    for (int i = 0; i < 300; i++) { /* more than are told apart */
        kl_fail(&trial.error, KL_ERR_UNSUPPORTED, "no");
        snprintf(trial.refusal.keyword, sizeof trial.refusal.keyword, "k%d", i < 2 ? 0 : i);
        assert_int_equal(kl_trial_summary_add(&summary, &trial, NULL, &err), KL_OK);
    }
    assert_int_equal(summary.files, 302);
    assert_int_equal(summary.right, 1);
    assert_int_equal(summary.refused, 300);
    assert_int_equal(summary.n_refusals, KL_TRIAL_MAX_REFUSALS);
    assert_int_equal(summary.refusals[0].n, 2);
    assert_int_equal(summary.refusals[KL_TRIAL_MAX_REFUSALS - 1].n,
                     300 - 1 - (KL_TRIAL_MAX_REFUSALS - 1));
    assert_int_equal(summary.valid_refused, 1);
    assert_int_equal(summary.invalid_accepted, 1);
    assert_int_equal(summary.valid, 4);
    assert_int_equal(summary.compile.n, 2);
    assert_int_equal(summary.masks.n, 2 * trial.n_masks);
    kl_printer_init(&out, 100000);
    kl_trial_summary_write(&summary, &out);
    assert_int_equal(out.status, KL_OK);
    kl_printer_release(&out);
    kl_trial_summary_release(&summary);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_each_text_is_judged_and_each_mask_timed, begin, end),
        cmocka_unit_test_setup_teardown(test_a_mask_that_disagrees_with_the_rule_is_an_error, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_a_refused_schema_is_a_result, begin, end),
        cmocka_unit_test_setup_teardown(test_a_text_in_another_form_than_the_vocabulary_is_cut,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_results_are_counted, begin, end),
    };
    return cmocka_run_group_tests(tests, open_tokens, close_tokens);
}
