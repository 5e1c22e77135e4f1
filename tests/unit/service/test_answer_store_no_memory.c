/* src/service/answer_store.c: every allocation fails once, and the figures stay right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "failing_memory.h"
#include "service/answer_store.h"

#define MOST ((size_t)64 << 10)

static struct kl_answer_store_stats stats_of(struct kl_answer_store *store)
{
    struct kl_answer_store_stats stats;
    kl_answer_store_read(store, &stats);
    return stats;
}

/* A turn of a conversation; which of its steps fail does not matter here. Whether all went well. */
static bool converse(struct kl_answer_store *store)
{
    struct kl_answer_record *first = NULL, *second = NULL, *found = NULL;
    struct kl_buffer items;
    struct kl_error err;
    enum kl_status status, of_items = KL_OK;
    kl_buffer_init(&items, MOST);
    status = kl_answer_record_new(store, 1, NULL, "{}", "[1]", &first, &err);
    if (status == KL_OK)
        status = kl_answer_record_keep(first, "[2]", "{}", &err);
    if (status == KL_OK)
        status = kl_answer_record_new(store, 1, first, "{}", "[3]", &second, &err);
    if (status == KL_OK)
        status = kl_answer_record_keep(second, "[4]", "{}", &err);
    if (status == KL_OK) {
        found = kl_answer_store_find(store, 1, second->id);
        assert_ptr_equal(found, second);
        kl_answer_record_items(found, MOST, &items, &of_items);
        assert_true(of_items != KL_OK || strcmp(items.data, "[1],[2],[3],[4]") == 0);
    }
    assert_true(status == KL_OK || status == KL_ERR_MEMORY);
    assert_true(of_items == KL_OK || of_items == KL_ERR_MEMORY);
    kl_answer_record_release(found);
    kl_answer_record_release(second);
    kl_answer_record_release(first);
    kl_buffer_release(&items);
    return status == KL_OK && of_items == KL_OK;
}

static void test_every_allocation(void **state)
{
    (void)state;
    struct kl_answer_store *store;
    struct kl_error err;
    size_t n_failed = 0;
    bool complete = false;
    atomic_store(&n_allocations, 0);
    atomic_store(&failing, 0);
    assert_int_equal(kl_answer_store_open(MOST, &store, &err), KL_ERR_MEMORY);
    for (long number = 0; !complete; number++) {
        atomic_store(&failing, -1);
        assert_int_equal(kl_answer_store_open(MOST, &store, &err), KL_OK);
        atomic_store(&n_allocations, 0);
        atomic_store(&failing, number);
        complete = converse(store);
        n_failed += !complete;
        atomic_store(&failing, -1);
        struct kl_answer_store_stats stats = stats_of(store);
        assert_int_equal(stats.n_records, stats.n_kept); /* the others were released */
        assert_true((stats.bytes > 0) == (stats.n_records > 0));
        assert_true(converse(store));
        assert_int_equal(stats_of(store).n_kept, stats.n_kept + 2);
        kl_answer_store_close(store);
    }
    assert_true(n_failed >= 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_allocation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
