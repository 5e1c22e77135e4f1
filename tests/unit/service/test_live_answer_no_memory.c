/* src/service/live_answer.c: every allocation fails once. Readers get all of the answer, are cut
 * off, or are refused; nothing is counted or kept for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "failing_memory.h"
#include "live_clients.h"

static const char whole[] = "(text)one event, two events, three events.";

/* Ends the answer, or its owner if it cannot be kept. */
static void complete(struct work *w)
{
    struct kl_api_error error;
    if (kl_live_check(w->live, &error) != KL_OK)
        work_stop(w, &error);
    else
        work_end(w);
}

/* An answer with two readers. Whether all went well. */
static bool converse(struct kl_live_answers *all)
{
    struct client first, second;
    struct work w;
    struct kl_api_error error;
    client_init(&first, 0, 1);
    if (work_begin(all, &first, ONE, &w, &error) != KL_OK) {
        assert_int_equal(error.status, 503);
        assert_int_equal(all->n, 0);
        return false;
    }
    work_write(&w, "one event, ");
    client_init(&second, 0, 2);
    bool is_second = kl_live_read(w.live, &second.exchange, 0, &error) == KL_OK;
    work_write(&w, "two events, ");
    work_write(&w, "three events");
    complete(&w);
    bool well = strcmp(first.got, whole) == 0;
    assert_true(well || strstr(first.got, "!") != NULL || strstr(first.got, "error.") != NULL);
    if (is_second)
        assert_true(strcmp(second.got, whole) == 0 || !well || strstr(second.got, "!") != NULL);
    client_leave(&first);
    client_leave(&second);
    return well && is_second && strcmp(second.got, whole) == 0;
}

static void test_every_allocation(void **state)
{
    (void)state;
    struct kl_answer_store *store;
    struct kl_error err;
    unsigned n_alone = 0;
    size_t n_failed = 0;
    bool is_complete = false;
    assert_int_equal(kl_answer_store_open((size_t)1 << 20, &store, &err), KL_OK);
    for (long number = 0; !is_complete; number++) {
        struct kl_live_answers all = {.store = store, .events = &work_events, .context = &n_alone};
        atomic_store(&n_allocations, 0);
        atomic_store(&failing, number);
        is_complete = converse(&all) && atomic_load(&n_allocations) <= number;
        atomic_store(&failing, -1);
        n_failed += !is_complete;
        kl_live_answers_free(&all);
        assert_true(converse(&all));
        kl_live_answers_free(&all);
        struct kl_answer_store_stats stats;
        kl_answer_store_read(store, &stats);
        assert_int_equal(all.bytes + stats.bytes, 0);
    }
    assert_true(n_failed >= 6);
    kl_answer_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_allocation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
