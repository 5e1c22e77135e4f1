#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "service/answer_store.h"

#define MOST   ((size_t)64 << 10)
#define RECORD (sizeof(struct kl_answer_record))

static struct kl_answer_store *open_store(size_t max_bytes)
{
    struct kl_answer_store *store;
    struct kl_error err;
    assert_int_equal(kl_answer_store_open(max_bytes, &store, &err), KL_OK);
    return store;
}

/* A text of n bytes; valid until the next call. */
static const char *text_of(size_t n)
{
    static char text[MOST];
    assert_true(n < sizeof text);
    memset(text, 'x', n);
    text[n] = '\0';
    return text;
}

static struct kl_answer_store_stats stats_of(struct kl_answer_store *store)
{
    struct kl_answer_store_stats stats;
    kl_answer_store_read(store, &stats);
    assert_true(stats.bytes <= stats.max_bytes);
    return stats;
}

/* Begins a record with items of n bytes; the caller owns a share. */
static struct kl_answer_record *begin(struct kl_answer_store *store, uint64_t scope,
                                      struct kl_answer_record *previous, size_t n)
{
    struct kl_answer_record *record;
    struct kl_error err;
    assert_int_equal(kl_answer_record_new(store, scope, previous, "{}", text_of(n), &record, &err),
                     KL_OK);
    return record;
}

/* Keeps a whole answer with items of n bytes; its ID, valid until the next call. */
static const char *keep(struct kl_answer_store *store, uint64_t scope,
                        struct kl_answer_record *previous, size_t n)
{
    static char id[KL_ANSWER_ID_SIZE];
    struct kl_error err;
    struct kl_answer_record *record = begin(store, scope, previous, n);
    assert_int_equal(kl_answer_record_keep(record, "answer", "document", &err), KL_OK);
    strcpy(id, record->id);
    kl_answer_record_release(record);
    return id;
}

static bool has(struct kl_answer_store *store, uint64_t scope, const char *id)
{
    struct kl_answer_record *record = kl_answer_store_find(store, scope, id);
    kl_answer_record_release(record);
    return record != NULL;
}

static void test_by_id(void **state)
{
    (void)state;
    struct kl_answer_store *store = open_store(MOST);
    struct kl_error err;
    struct kl_answer_record *record = begin(store, 1, NULL, 3);
    char id[KL_ANSWER_ID_SIZE];
    strcpy(id, record->id);
    assert_int_equal(strspn(id, "0123456789abcdef"), KL_ANSWER_ID_SIZE - 1);
    assert_false(has(store, 1, id)); /* it has no answer yet */
    assert_int_equal(kl_answer_record_keep(record, "[1]", "{\"a\":1}", &err), KL_OK);
    kl_answer_record_release(record);

    record = kl_answer_store_find(store, 1, id);
    assert_non_null(record);
    assert_string_equal(record->items.data, "xxx,[1]");
    assert_int_equal(record->n_input, 3);
    assert_string_equal(record->document.data, "{\"a\":1}");
    assert_null(record->fields.data);
    assert_int_equal(stats_of(store).bytes, RECORD + strlen("xxx,[1]{\"a\":1}"));
    assert_false(has(store, 2, id)); /* of another key */
    assert_false(kl_answer_store_delete(store, 2, id));
    assert_false(has(store, 1, "0123"));

    assert_true(kl_answer_store_delete(store, 1, id));
    assert_false(has(store, 1, id));
    assert_false(kl_answer_store_delete(store, 1, id));
    assert_string_equal(record->document.data, "{\"a\":1}"); /* as long as it is used */
    kl_answer_record_release(record);
    assert_int_equal(stats_of(store).bytes, 0);
    assert_int_equal(stats_of(store).n_records, 0);
    kl_answer_store_close(store);
}

static void test_two_ids_differ(void **state)
{
    (void)state;
    struct kl_answer_store *store = open_store(MOST);
    char first[KL_ANSWER_ID_SIZE];
    strcpy(first, keep(store, 0, NULL, 1));
    assert_string_not_equal(first, keep(store, 0, NULL, 1));
    kl_answer_store_close(store);
}

/* The one that was not used for the longest time goes first. */
static void test_bounded_by_bytes(void **state)
{
    (void)state;
    struct kl_answer_store *store = open_store(MOST);
    char ids[40][KL_ANSWER_ID_SIZE];
    for (size_t i = 0; i < 40; i++) {
        strcpy(ids[i], keep(store, 0, NULL, 4096));
        assert_true(has(store, 0, ids[0]));
    }
    struct kl_answer_store_stats stats = stats_of(store);
    assert_int_equal(stats.n_kept, MOST / (RECORD + 4096 + strlen(",answerdocument")));
    assert_int_equal(stats.n_removed, 40 - stats.n_kept);
    for (size_t i = 1; i < 40; i++)
        assert_int_equal(has(store, 0, ids[i]), i > 40 - stats.n_kept);
    kl_answer_store_close(store);
}

static void test_too_large(void **state)
{
    (void)state;
    struct kl_answer_store *store = open_store(MOST);
    struct kl_answer_record *record = NULL;
    struct kl_error err;
    size_t most = kl_answer_store_most_bytes(store) - RECORD;
    assert_int_equal(kl_answer_record_new(store, 0, NULL, "", text_of(most + 1), &record, &err),
                     KL_ERR_LIMIT);
    assert_int_equal(kl_answer_record_new(store, 0, NULL, "", text_of(most), &record, &err), KL_OK);
    assert_int_equal(kl_answer_record_keep(record, "a", "b", &err), KL_ERR_LIMIT);
    assert_false(has(store, 0, record->id));
    assert_int_equal(stats_of(store).bytes, RECORD + most);
    kl_answer_record_release(record);
    kl_answer_store_close(store);
}

/* Records of requests that run are not removed. */
static void test_no_room(void **state)
{
    (void)state;
    struct kl_answer_store *store = open_store(MOST);
    struct kl_answer_record *running[16], *record;
    struct kl_error err;
    size_t n = 0, size = 8000;
    while (stats_of(store).bytes + RECORD + size + 2 <= MOST)
        running[n++] = begin(store, 0, NULL, size);
    assert_int_equal(kl_answer_record_new(store, 0, NULL, "{}", text_of(size), &record, &err),
                     KL_ERR_BUSY);
    assert_int_equal(kl_answer_record_keep(running[0], text_of(size), "", &err), KL_ERR_BUSY);
    assert_int_equal(stats_of(store).n_records, n);
    kl_answer_record_release(running[--n]);
    assert_int_equal(kl_answer_record_new(store, 0, NULL, "{}", text_of(size), &record, &err),
                     KL_OK);
    kl_answer_record_release(record);
    while (n > 0)
        kl_answer_record_release(running[--n]);
    assert_int_equal(stats_of(store).bytes, 0);
    kl_answer_store_close(store);
}

/* A key that keeps much pushes out its own answers, not those of others. */
static void test_shared_fairly(void **state)
{
    (void)state;
    struct kl_answer_store *store = open_store(MOST);
    char little[KL_ANSWER_ID_SIZE];
    strcpy(little, keep(store, 1, NULL, 4096));
    for (size_t i = 0; i < 100; i++)
        keep(store, 2, NULL, 2048);
    assert_true(stats_of(store).n_removed > 0);
    assert_true(has(store, 1, little));
    kl_answer_store_close(store);
}

/* Continues a conversation by a turn; id becomes that of the new one. */
static void add_turn(struct kl_answer_store *store, char *id, size_t n)
{
    struct kl_answer_record *previous = kl_answer_store_find(store, 0, id);
    assert_non_null(previous);
    strcpy(id, keep(store, 0, previous, n));
    kl_answer_record_release(previous);
}

static void test_conversation(void **state)
{
    (void)state;
    struct kl_answer_store *store = open_store(MOST);
    char first[KL_ANSWER_ID_SIZE], id[KL_ANSWER_ID_SIZE];
    strcpy(first, keep(store, 0, NULL, 1));
    strcpy(id, first);
    add_turn(store, id, 2);
    add_turn(store, id, 0);
    /* the beginning is forgotten, but the conversation is whole */
    assert_true(kl_answer_store_delete(store, 0, first));
    assert_int_equal(stats_of(store).n_kept, 2);
    assert_int_equal(stats_of(store).n_records, 3);
    struct kl_answer_record *last = kl_answer_store_find(store, 0, id);
    assert_non_null(last);
    struct kl_buffer items;
    enum kl_status status;
    kl_buffer_init(&items, MOST);
    assert_int_equal(kl_answer_record_items(last, MOST, &items, &status), 0);
    assert_int_equal(status, KL_OK);
    assert_string_equal(items.data, "x,answer,xx,answer,answer");
    kl_buffer_clear(&items);
    assert_int_equal(kl_answer_record_items(last, strlen("xx,answer,answer,"), &items, &status), 1);
    assert_string_equal(items.data, "xx,answer,answer");
    kl_buffer_release(&items);
    kl_answer_record_release(last);
    assert_true(kl_answer_store_delete(store, 0, id));
    assert_int_equal(stats_of(store).n_records, 2); /* the turn before, and its beginning */
    kl_answer_store_close(store);
}

/* A conversation loses its last turns first, and only after all that were not used since. */
static void test_old_conversation_goes_first(void **state)
{
    (void)state;
    struct kl_answer_store *store = open_store(MOST);
    char old[4][KL_ANSWER_ID_SIZE], used[4][KL_ANSWER_ID_SIZE];
    strcpy(old[0], keep(store, 0, NULL, 4096));
    strcpy(used[0], keep(store, 0, NULL, 4096));
    for (size_t i = 1; i < 4; i++) {
        strcpy(used[i], used[i - 1]);
        add_turn(store, used[i], 4096);
    }
    for (size_t i = 1; i < 4; i++) {
        strcpy(old[i], old[i - 1]);
        add_turn(store, old[i], 4096);
    }
    assert_true(has(store, 0, used[3])); /* with it, all of its conversation */
    for (size_t n_removed = 1; n_removed <= 4; n_removed++) {
        while (stats_of(store).n_removed < n_removed)
            keep(store, 0, NULL, 4096);
        for (size_t i = 0; i < 4 - n_removed; i++) {
            /* looking would be using it: so it is looked at last */
            if (n_removed == 4)
                assert_true(has(store, 0, old[i]));
        }
        assert_false(has(store, 0, old[4 - n_removed]));
    }
    for (size_t i = 0; i < 4; i++)
        assert_true(has(store, 0, used[i]));
    kl_answer_store_close(store);
}

static void test_bounded_by_records(void **state)
{
    (void)state;
    struct kl_answer_store *store = open_store((size_t)KL_ANSWER_STORE_RECORDS * 4096);
    char first[KL_ANSWER_ID_SIZE];
    strcpy(first, keep(store, 0, NULL, 1));
    for (size_t i = 0; i < KL_ANSWER_STORE_RECORDS; i++)
        keep(store, 0, NULL, 1);
    assert_int_equal(stats_of(store).n_records, KL_ANSWER_STORE_RECORDS);
    assert_false(has(store, 0, first));
    kl_answer_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_id),
        cmocka_unit_test(test_two_ids_differ),
        cmocka_unit_test(test_bounded_by_bytes),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_shared_fairly),
        cmocka_unit_test(test_conversation),
        cmocka_unit_test(test_old_conversation_goes_first),
        cmocka_unit_test(test_bounded_by_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
