/* src/model/plan.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../base/fake_root.h"
#include "model/plan.h"

#define MIB ((uint64_t)1 << 20)

static struct kl_plan with(uint64_t budget, uint64_t others)
{
    struct kl_plan plan = {.budget = budget};
    kl_plan_add(&plan, "weights", others, NULL);
    return plan;
}

/* 4 conversations of 1024 tokens, 1 KiB a token: a MiB each */
static const struct kl_plan_kv kv = {
    .conversation = 1024, .parallel = 4, .page_tokens = 32, .token_bytes = 1024};

static void without_a_budget(void **state)
{
    (void)state;
    struct kl_plan plan = with(0, 100 * MIB);
    struct kl_error err;
    assert_int_equal(kl_plan_kv(&plan, &kv, &err), KL_OK);
    assert_int_equal(plan.kv_tokens, 4096);
    assert_true(kl_plan_total(&plan) == 104 * MIB);
}

/* Room for the prefix cache comes in addition to the conversations, and is reduced first. */
static void room_to_keep(void **state)
{
    (void)state;
    struct kl_plan_kv keeps = kv;
    keeps.kept = 512;
    struct kl_plan plan = with(0, 100 * MIB);
    struct kl_error err;
    assert_int_equal(kl_plan_kv(&plan, &keeps, &err), KL_OK);
    assert_int_equal(plan.kv_tokens, 4096 + 512);
    plan = with(101 * MIB, 100 * MIB);
    assert_int_equal(kl_plan_kv(&plan, &keeps, &err), KL_OK);
    assert_int_equal(plan.kv_tokens, 1024);
}

static void the_cache_gets_what_is_left(void **state)
{
    (void)state;
    static const struct {
        uint64_t budget;
        size_t tokens;
    } cases[] = {
        {200 * MIB, 4096},
        {104 * MIB, 4096},
        {104 * MIB - 1, 4096 - 32}, /* whole pages */
        {102 * MIB + 40 * 1024, 2048 + 32},
        {101 * MIB, 1024},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kl_plan plan = with(cases[i].budget, 100 * MIB);
        struct kl_error err;
        assert_int_equal(kl_plan_kv(&plan, &kv, &err), KL_OK);
        assert_int_equal(plan.kv_tokens, cases[i].tokens);
        assert_true(kl_plan_total(&plan) <= cases[i].budget);
    }
}

static void one_conversation_must_fit(void **state)
{
    (void)state;
    struct kl_plan plan = with(101 * MIB - 1, 100 * MIB);
    struct kl_error err;
    assert_int_equal(kl_plan_kv(&plan, &kv, &err), KL_ERR_MEMORY);
    assert_non_null(strstr(err.text, "a conversation of 992 tokens, not 1024"));
    assert_non_null(strstr(err.text, "lower --ctx-size to 992, or raise --memory to 101M"));
    assert_int_equal(plan.n_lines, 2); /* the plan is shown as it would have to be */
    assert_true(kl_plan_total(&plan) == 101 * MIB);
}

static void everything_else_must_fit(void **state)
{
    (void)state;
    struct kl_plan plan = with(50 * MIB, 100 * MIB);
    struct kl_error err;
    plan.lines[0].lowered_by = "--queue";
    assert_int_equal(kl_plan_kv(&plan, &kv, &err), KL_ERR_MEMORY);
    assert_non_null(strstr(err.text, "the memory budget of 52.4 MB is too small: 104.9 MB"));
    assert_non_null(strstr(err.text, "Raise --memory to 101M, or lower --ctx-size"));
}

/* Options are not named where none would help. */
static void only_a_smaller_model_fits(void **state)
{
    (void)state;
    struct kl_plan plan = with(50 * MIB, 100 * MIB);
    struct kl_error err;
    assert_int_equal(kl_plan_check(&plan, &err), KL_ERR_MEMORY);
    assert_non_null(strstr(err.text, "the weights and the program alone take 104.9 MB"));
    assert_non_null(strstr(err.text, "smaller model ('kinglet pull --list'), or raise --memory"));
    assert_int_equal(kl_plan_kv(&plan, &kv, &err), KL_ERR_MEMORY);
    assert_non_null(strstr(err.text, "no option lowers 104.9 MB of what is needed"));
    assert_non_null(strstr(err.text, "Raise --memory to 101M, or take a smaller file"));
    assert_null(strstr(err.text, "--queue"));
    plan = with(100 * MIB, 100 * MIB);
    assert_int_equal(kl_plan_check(&plan, &err), KL_OK);
    plan = with(0, 100 * MIB);
    assert_int_equal(kl_plan_check(&plan, &err), KL_OK);
}

/* The limit of the control group is the budget where none is asked for, or more than that. */
static void whose_budget(void **state)
{
    (void)state;
    struct kl_plan plan = {0};
    kl_plan_set_budget(&plan, 0, fake_root);
    assert_true(plan.budget == 0 && !plan.of_group);
    kl_plan_set_budget(&plan, 600 * MIB, fake_root);
    assert_true(plan.budget == 600 * MIB && !plan.of_group);
    fake_file("proc/self/cgroup", "0::/kinglet.service\n");
    fake_file("sys/fs/cgroup/kinglet.service/memory.max", "536870912\n");
    kl_plan_set_budget(&plan, 0, fake_root);
    assert_true(plan.budget == 512 * MIB && plan.of_group);
    kl_plan_set_budget(&plan, 500 * MIB, fake_root);
    assert_true(plan.budget == 500 * MIB && !plan.of_group);
    kl_plan_set_budget(&plan, 600 * MIB, fake_root); /* more than the kernel allows */
    assert_true(plan.budget == 512 * MIB && plan.of_group);
    fake_file("sys/fs/cgroup/kinglet.service/memory.max", "max\n");
    kl_plan_set_budget(&plan, 0, fake_root);
    assert_true(plan.budget == 0 && !plan.of_group);
}

static void a_groups_limit_is_named(void **state)
{
    (void)state;
    struct kl_plan plan = with(101 * MIB - 1, 100 * MIB);
    struct kl_error err;
    struct kl_buffer text;
    plan.of_group = true;
    assert_int_equal(kl_plan_kv(&plan, &kv, &err), KL_ERR_MEMORY);
    assert_non_null(strstr(err.text, "the control group's limit (memory.max) of 105.9 MB leaves"));
    assert_non_null(strstr(err.text, "lower --ctx-size to 992, or raise it to 101M"));
    kl_buffer_init(&text, 1000);
    assert_int_equal(kl_plan_text(&plan, &text), KL_OK);
    assert_non_null(strstr(text.data, ", of 105.9 MB that the control group may have\n"));
    kl_buffer_release(&text);
    plan = with(50 * MIB, 100 * MIB);
    plan.of_group = true;
    assert_int_equal(kl_plan_kv(&plan, &kv, &err), KL_ERR_MEMORY);
    assert_non_null(strstr(err.text, "(memory.max) of 52.4 MB is too small"));
    assert_non_null(strstr(err.text, "Raise it to 101M"));
}

static void as_text(void **state)
{
    (void)state;
    struct kl_plan plan = with(150000000, 100000000);
    struct kl_error err;
    struct kl_buffer text;
    assert_int_equal(kl_plan_kv(&plan, &kv, &err), KL_OK);
    kl_buffer_init(&text, 1000);
    assert_int_equal(kl_plan_text(&plan, &text), KL_OK);
    assert_string_equal(text.data, "   100.0 MB  weights\n"
                                   "     4.2 MB  KV cache (--ctx-size, --parallel)\n"
                                   "   104.2 MB  in all, of 150.0 MB\n");
    kl_buffer_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_budget),
        cmocka_unit_test(room_to_keep),
        cmocka_unit_test(the_cache_gets_what_is_left),
        cmocka_unit_test(one_conversation_must_fit),
        cmocka_unit_test(everything_else_must_fit),
        cmocka_unit_test(only_a_smaller_model_fits),
        cmocka_unit_test_setup_teardown(whose_budget, fake_root_make, fake_root_remove),
        cmocka_unit_test(a_groups_limit_is_named),
        cmocka_unit_test(as_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
