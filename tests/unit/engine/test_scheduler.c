#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/scheduler.h"

static struct kl_slot prefill(uint64_t order, size_t remaining)
{
    return (struct kl_slot){.state = KL_SLOT_PREFILL, .order = order, .remaining = remaining};
}

static struct kl_slot decode(uint64_t order)
{
    return (struct kl_slot){.state = KL_SLOT_DECODE, .order = order, .remaining = 1};
}

static void test_nothing_to_do(void **state)
{
    (void)state;
    struct kl_slot slots[3] = {{0}};
    assert_int_equal(kl_schedule_rows(slots, 3, 64, 64), 0);
    slots[1] = decode(0);
    slots[1].paused = true;
    assert_int_equal(kl_schedule_rows(slots, 3, 64, 64), 0);
}

static void test_every_decode_row_is_taken(void **state)
{
    (void)state;
    struct kl_slot slots[] = {decode(3), prefill(1, 1000), decode(2), decode(0)};
    assert_int_equal(kl_schedule_rows(slots, 4, 8, 8), 3 + 8);
    assert_int_equal(slots[0].rows, 1);
    assert_int_equal(slots[1].rows, 8);
    assert_int_equal(slots[2].rows, 1);
    assert_int_equal(slots[3].rows, 1);
}

/* Forced tokens are shared like a prompt, next to the row that each decoding request has. */
static void test_known_tokens_of_an_answer(void **state)
{
    (void)state;
    struct kl_slot slots[] = {decode(2), decode(1), prefill(3, 100), decode(0)};
    slots[0].remaining = 5;
    slots[3].remaining = 100;
    assert_int_equal(kl_schedule_rows(slots, 4, 64, 24), 3 + 24);
    assert_int_equal(slots[0].rows, 5);
    assert_int_equal(slots[1].rows, 1);
    assert_int_equal(slots[2].rows, 10);
    assert_int_equal(slots[3].rows, 11);
    slots[2] = slots[3] = (struct kl_slot){0};
    assert_int_equal(kl_schedule_rows(slots, 4, 64, 24), 5 + 1);
}

static void test_chunk_is_the_limit_for_all_prompts_together(void **state)
{
    (void)state;
    struct kl_slot slots[] = {prefill(0, 1000), prefill(1, 1000), prefill(2, 1000)};
    assert_int_equal(kl_schedule_rows(slots, 3, 64, 64), 64);
    assert_int_equal(slots[0].rows, 22); /* 21 each, the remaining row goes to the oldest */
    assert_int_equal(slots[1].rows, 21);
    assert_int_equal(slots[2].rows, 21);
}

static void test_short_prompts_leave_their_share(void **state)
{
    (void)state;
    struct kl_slot slots[] = {prefill(0, 500), prefill(1, 3), prefill(2, 500), prefill(3, 5)};
    assert_int_equal(kl_schedule_rows(slots, 4, 64, 64), 64);
    assert_int_equal(slots[0].rows, 28);
    assert_int_equal(slots[1].rows, 3);
    assert_int_equal(slots[2].rows, 28);
    assert_int_equal(slots[3].rows, 5);
}

static void test_chunk_smaller_than_the_number_of_prompts(void **state)
{
    (void)state;
    struct kl_slot slots[] = {prefill(9, 4), prefill(2, 4), prefill(5, 4)};
    assert_int_equal(kl_schedule_rows(slots, 3, 2, 2), 2);
    assert_int_equal(slots[0].rows, 0); /* came last */
    assert_int_equal(slots[1].rows, 1);
    assert_int_equal(slots[2].rows, 1);
    assert_int_equal(kl_schedule_rows(slots, 3, 1, 1), 1);
    assert_int_equal(slots[1].rows, 1); /* came first */
}

static void test_paused_gets_nothing_and_leaves_its_share(void **state)
{
    (void)state;
    struct kl_slot slots[] = {prefill(0, 100), prefill(1, 100), decode(2), decode(3)};
    slots[0].paused = slots[2].paused = true;
    assert_int_equal(kl_schedule_rows(slots, 4, 10, 10), 11);
    assert_int_equal(slots[0].rows, 0);
    assert_int_equal(slots[1].rows, 10);
    assert_int_equal(slots[2].rows, 0);
    assert_int_equal(slots[3].rows, 1);
}

/* ---- start ----------------------------------------------------------------------------------- */

static void expect_start(const struct kl_slot *slots, size_t n, unsigned level, size_t pages,
                         size_t max_pages, enum kl_start start, size_t slot)
{
    size_t found = SIZE_MAX;
    assert_int_equal(kl_schedule_start(slots, n, level, pages, max_pages, &found), start);
    if (start != KL_START_WAIT)
        assert_int_equal(found, slot);
}

static void test_free_slots_in_order(void **state)
{
    (void)state;
    struct kl_slot slots[] = {decode(0), {0}, prefill(1, 5), {0}};
    expect_start(slots, 4, 0, 0, 0, KL_START_NOW, 1);
    slots[1] = prefill(2, 5);
    expect_start(slots, 4, 0, 0, 0, KL_START_NOW, 3);
    slots[3] = prefill(3, 5);
    expect_start(slots, 4, 0, 0, 0, KL_START_WAIT, 0);
}

/* Running requests keep the pages that they may still take. */
static void test_pages_stay_reserved(void **state)
{
    (void)state;
    struct kl_slot slots[] = {decode(0), {0}, prefill(1, 5), {0}};
    slots[0].pages = 6;
    slots[2].pages = 3;
    expect_start(slots, 4, 0, 1, 10, KL_START_NOW, 1);
    expect_start(slots, 4, 0, 2, 10, KL_START_WAIT, 0);
    slots[1].pages = 5; /* of an earlier request */
    expect_start(slots, 4, 0, 1, 10, KL_START_NOW, 1);
    slots[2] = (struct kl_slot){0};
    expect_start(slots, 4, 0, 4, 10, KL_START_NOW, 1);
    expect_start(slots, 4, 0, 5, 10, KL_START_WAIT, 0);
}

static struct kl_slot at_level(struct kl_slot slot, unsigned level, size_t pages)
{
    slot.level = level;
    slot.pages = pages;
    return slot;
}

static void test_background_is_preempted(void **state)
{
    (void)state;
    struct kl_slot slots[] = {at_level(decode(3), 1, 2), at_level(prefill(4, 9), 1, 2),
                              at_level(decode(2), 2, 2)};
    expect_start(slots, 3, 0, 4, 6, KL_START_PREEMPT, 2); /* the highest level */
    slots[2] = (struct kl_slot){0};
    expect_start(slots, 3, 0, 4, 6, KL_START_PREEMPT, 1); /* the last of its level */
    slots[1] = (struct kl_slot){0};
    expect_start(slots, 3, 0, 4, 6, KL_START_NOW, 1);
    expect_start(slots, 3, 0, 5, 6, KL_START_PREEMPT, 0);
    expect_start(slots, 3, 0, 7, 6, KL_START_WAIT, 0); /* preempting would not make enough room */
    expect_start(slots, 3, 1, 5, 6, KL_START_WAIT, 0); /* its own level is not preempted */
}

static void test_background_starts_when_lower_levels_are_paused(void **state)
{
    (void)state;
    struct kl_slot slots[] = {decode(0), {0}};
    expect_start(slots, 2, 1, 1, 10, KL_START_WAIT, 0);
    slots[0].paused = true; /* its client does not read */
    expect_start(slots, 2, 1, 1, 10, KL_START_NOW, 1);
}

static void test_only_the_lowest_level_gets_rows(void **state)
{
    (void)state;
    struct kl_slot slots[] = {at_level(decode(0), 1, 1), at_level(prefill(1, 50), 1, 1),
                              at_level(prefill(2, 20), 0, 1), at_level(decode(3), 0, 1)};
    assert_int_equal(kl_schedule_rows(slots, 4, 64, 16), 1 + 16);
    assert_int_equal(slots[0].rows + slots[1].rows, 0);
    slots[3] = (struct kl_slot){0};
    assert_int_equal(kl_schedule_rows(slots, 4, 64, 16),
                     20); /* no other request of its level decodes */
    slots[2].paused = true;
    assert_int_equal(kl_schedule_rows(slots, 4, 64, 16), 1 + 16);
    assert_int_equal(slots[0].rows, 1);
    assert_int_equal(slots[1].rows, 16);
}

static void test_shared_chunk(void **state)
{
    (void)state;
    assert_int_equal(kl_schedule_shared_chunk(0.0, 128), 32);
    assert_int_equal(kl_schedule_shared_chunk(0.0, 20), 20);
    assert_int_equal(kl_schedule_shared_chunk(KL_SHARED_STEP_SECONDS / 47.5, 128), 40);
    assert_int_equal(kl_schedule_shared_chunk(KL_SHARED_STEP_SECONDS / 1e9, 128), 128);
    assert_int_equal(kl_schedule_shared_chunk(10.0, 128), 8);
    assert_int_equal(kl_schedule_shared_chunk(10.0, 3), 3);
}

static uint64_t random_state = 1;

static size_t random_below(size_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(random_state >> 33) % n;
}

static unsigned lowest(const struct kl_slot *slots, size_t n)
{
    unsigned level = 1000;
    for (size_t i = 0; i < n; i++) {
        bool can_run = slots[i].state != KL_SLOT_FREE && !slots[i].paused;
        if (can_run && slots[i].level < level)
            level = slots[i].level;
    }
    return level;
}

/* A request starts after a bounded number of preemptions or waits; requests of its level or a lower
 * one are never preempted, and their pages stay reserved. */
static void test_random_starts(void **state)
{
    (void)state;
    for (int round = 0; round < 20000; round++) {
        struct kl_slot slots[8];
        size_t n = 1 + random_below(8), max_pages = 20 + random_below(40), slot, staying = 0;
        unsigned level = (unsigned)random_below(3);
        size_t pages = 1 + random_below(20), n_staying = 0, n_preempted = 0;
        bool lower = false;
        for (size_t i = 0; i < n; i++) {
            bool in_use = random_below(3) > 0;
            slots[i] = in_use ? at_level(decode(i), (unsigned)random_below(3),
                                         1 + random_below(max_pages / n))
                              : (struct kl_slot){0};
            slots[i].paused = random_below(2) == 0;
            bool stays = in_use && slots[i].level <= level;
            staying += stays ? slots[i].pages : 0;
            n_staying += stays;
            lower = lower || (in_use && slots[i].level < level && !slots[i].paused);
        }
        enum kl_start start;
        while ((start = kl_schedule_start(slots, n, level, pages, max_pages, &slot)) ==
               KL_START_PREEMPT) {
            assert_true(slots[slot].state != KL_SLOT_FREE && slots[slot].level > level);
            slots[slot] = (struct kl_slot){0};
            assert_true(++n_preempted <= n);
        }
        bool fits = n_staying < n && staying + pages <= max_pages && !lower;
        assert_int_equal(start, fits ? KL_START_NOW : KL_START_WAIT);
        assert_true(fits || n_preempted == 0);
        if (!fits)
            continue;
        assert_int_equal(slots[slot].state, KL_SLOT_FREE);
        size_t promised = pages;
        for (size_t i = 0; i < n; i++)
            promised += slots[i].state != KL_SLOT_FREE ? slots[i].pages : 0;
        assert_true(promised <= max_pages);
    }
}

/* In every state: the budget is used up or every prompt is complete, no slot gets more rows than
 * its prompt has left, and the shares of incomplete prompts differ by at most one row. */
static void test_random_states(void **state)
{
    (void)state;
    for (int round = 0; round < 20000; round++) {
        struct kl_slot slots[KL_MAX_PARALLEL];
        size_t n = 1 + random_below(KL_MAX_PARALLEL);
        size_t whole = 1 + random_below(100), shared = 1 + random_below(whole);
        size_t decodes = 0, wanted = 0;
        for (size_t i = 0; i < n; i++) {
            size_t kind = random_below(4);
            slots[i] = kind == 0   ? (struct kl_slot){0}
                       : kind == 1 ? decode(n - i)
                                   : prefill(n - i, 1 + random_below(60));
            slots[i].level = (unsigned)random_below(3);
            slots[i].rows = random_below(50); /* of an earlier step */
            slots[i].paused = random_below(5) == 0;
        }
        unsigned level = lowest(slots, n);
        for (size_t i = 0; i < n; i++) {
            if (slots[i].paused || slots[i].level != level)
                continue;
            decodes += slots[i].state == KL_SLOT_DECODE;
            wanted += slots[i].state == KL_SLOT_PREFILL ? slots[i].remaining : 0;
        }
        size_t chunk = decodes > 0 ? shared : whole;
        size_t total = kl_schedule_rows(slots, n, whole, shared);
        assert_int_equal(total, decodes + (wanted < chunk ? wanted : chunk));

        size_t sum = 0, least_incomplete = SIZE_MAX, most_given = 0;
        for (size_t i = 0; i < n; i++) {
            sum += slots[i].rows;
            bool skipped = slots[i].paused || slots[i].level != level;
            if (skipped || slots[i].state == KL_SLOT_FREE)
                assert_int_equal(slots[i].rows, 0);
            else if (slots[i].state == KL_SLOT_DECODE)
                assert_int_equal(slots[i].rows, 1);
            else
                assert_true(slots[i].rows <= slots[i].remaining);
            if (slots[i].state != KL_SLOT_PREFILL || skipped)
                continue;
            if (slots[i].rows > most_given)
                most_given = slots[i].rows;
            if (slots[i].rows < slots[i].remaining && slots[i].rows < least_incomplete)
                least_incomplete = slots[i].rows;
        }
        assert_int_equal(sum, total);
        if (least_incomplete != SIZE_MAX)
            assert_true(most_given <= least_incomplete + 1);
    }
}

static void test_waits(void **state)
{
    (void)state;
    double running[4] = {4.0, 1.0}, waiting[3] = {2.0, 1.0, 0.0};
    kl_schedule_waits(running, 2, 2, waiting, 3);
    /* at half speed 1 is done after 2 s (3 and 2 left), then 2 after 4 s more (1 and 1 left) */
    assert_true(waiting[0] == 2.0 && waiting[1] == 6.0 && waiting[2] == 8.0);
    double alone[3] = {5.0}, two[2] = {1.0, 1.0};
    kl_schedule_waits(alone, 1, 3, two, 2);
    assert_true(two[0] == 0.0 && two[1] == 0.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_to_do),
        cmocka_unit_test(test_every_decode_row_is_taken),
        cmocka_unit_test(test_known_tokens_of_an_answer),
        cmocka_unit_test(test_chunk_is_the_limit_for_all_prompts_together),
        cmocka_unit_test(test_short_prompts_leave_their_share),
        cmocka_unit_test(test_chunk_smaller_than_the_number_of_prompts),
        cmocka_unit_test(test_paused_gets_nothing_and_leaves_its_share),
        cmocka_unit_test(test_free_slots_in_order),
        cmocka_unit_test(test_pages_stay_reserved),
        cmocka_unit_test(test_background_is_preempted),
        cmocka_unit_test(test_background_starts_when_lower_levels_are_paused),
        cmocka_unit_test(test_only_the_lowest_level_gets_rows),
        cmocka_unit_test(test_shared_chunk),
        cmocka_unit_test(test_random_starts),
        cmocka_unit_test(test_waits),
        cmocka_unit_test(test_random_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
