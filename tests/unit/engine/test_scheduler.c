#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/scheduler.h"

static struct kl_place prefill(uint64_t order, size_t remaining)
{
    return (struct kl_place){.state = KL_PLACE_PREFILL, .order = order, .remaining = remaining};
}

static struct kl_place decode(uint64_t order)
{
    return (struct kl_place){.state = KL_PLACE_DECODE, .order = order, .remaining = 1};
}

static void test_nothing_to_do(void **state)
{
    (void)state;
    struct kl_place places[3] = {{0}};
    assert_int_equal(kl_schedule_rows(places, 3, 64, 64), 0);
    places[1] = decode(0);
    places[1].paused = true;
    assert_int_equal(kl_schedule_rows(places, 3, 64, 64), 0);
}

static void test_every_decode_row_rides(void **state)
{
    (void)state;
    struct kl_place places[] = {decode(3), prefill(1, 1000), decode(2), decode(0)};
    assert_int_equal(kl_schedule_rows(places, 4, 8, 8), 3 + 8);
    assert_int_equal(places[0].rows, 1);
    assert_int_equal(places[1].rows, 8);
    assert_int_equal(places[2].rows, 1);
    assert_int_equal(places[3].rows, 1);
}

static void test_chunk_is_the_limit_for_all_prompts_together(void **state)
{
    (void)state;
    struct kl_place places[] = {prefill(0, 1000), prefill(1, 1000), prefill(2, 1000)};
    assert_int_equal(kl_schedule_rows(places, 3, 64, 64), 64);
    assert_int_equal(places[0].rows, 22); /* 21 each, the one left goes to the oldest */
    assert_int_equal(places[1].rows, 21);
    assert_int_equal(places[2].rows, 21);
}

static void test_short_prompts_leave_their_share(void **state)
{
    (void)state;
    struct kl_place places[] = {prefill(0, 500), prefill(1, 3), prefill(2, 500), prefill(3, 5)};
    assert_int_equal(kl_schedule_rows(places, 4, 64, 64), 64);
    assert_int_equal(places[0].rows, 28);
    assert_int_equal(places[1].rows, 3);
    assert_int_equal(places[2].rows, 28);
    assert_int_equal(places[3].rows, 5);
}

static void test_chunk_smaller_than_the_number_of_prompts(void **state)
{
    (void)state;
    struct kl_place places[] = {prefill(9, 4), prefill(2, 4), prefill(5, 4)};
    assert_int_equal(kl_schedule_rows(places, 3, 2, 2), 2);
    assert_int_equal(places[0].rows, 0); /* came last */
    assert_int_equal(places[1].rows, 1);
    assert_int_equal(places[2].rows, 1);
    assert_int_equal(kl_schedule_rows(places, 3, 1, 1), 1);
    assert_int_equal(places[1].rows, 1); /* came first */
}

static void test_paused_gets_nothing_and_leaves_its_share(void **state)
{
    (void)state;
    struct kl_place places[] = {prefill(0, 100), prefill(1, 100), decode(2), decode(3)};
    places[0].paused = places[2].paused = true;
    assert_int_equal(kl_schedule_rows(places, 4, 10, 10), 11);
    assert_int_equal(places[0].rows, 0);
    assert_int_equal(places[1].rows, 10);
    assert_int_equal(places[2].rows, 0);
    assert_int_equal(places[3].rows, 1);
}

/* ---- admission ------------------------------------------------------------------------------- */

static void expect_admission(const struct kl_place *places, size_t n, unsigned level, size_t pages,
                             size_t max_pages, enum kl_admission admission, size_t place)
{
    size_t found = SIZE_MAX;
    assert_int_equal(kl_schedule_admission(places, n, level, pages, max_pages, &found), admission);
    if (admission != KL_ADMIT_WAIT)
        assert_int_equal(found, place);
}

static void test_free_places_in_order(void **state)
{
    (void)state;
    struct kl_place places[] = {decode(0), {0}, prefill(1, 5), {0}};
    expect_admission(places, 4, 0, 0, 0, KL_ADMIT_BEGIN, 1);
    places[1] = prefill(2, 5);
    expect_admission(places, 4, 0, 0, 0, KL_ADMIT_BEGIN, 3);
    places[3] = prefill(3, 5);
    expect_admission(places, 4, 0, 0, 0, KL_ADMIT_WAIT, 0);
}

/* What those who run may still take is promised to them. */
static void test_pages_are_promised(void **state)
{
    (void)state;
    struct kl_place places[] = {decode(0), {0}, prefill(1, 5), {0}};
    places[0].pages = 6;
    places[2].pages = 3;
    expect_admission(places, 4, 0, 1, 10, KL_ADMIT_BEGIN, 1);
    expect_admission(places, 4, 0, 2, 10, KL_ADMIT_WAIT, 0);
    places[1].pages = 5; /* left there by who had the place before */
    expect_admission(places, 4, 0, 1, 10, KL_ADMIT_BEGIN, 1);
    places[2] = (struct kl_place){0};
    expect_admission(places, 4, 0, 4, 10, KL_ADMIT_BEGIN, 1);
    expect_admission(places, 4, 0, 5, 10, KL_ADMIT_WAIT, 0);
}

static struct kl_place at_level(struct kl_place place, unsigned level, size_t pages)
{
    place.level = level;
    place.pages = pages;
    return place;
}

static void test_background_gives_places_up(void **state)
{
    (void)state;
    struct kl_place places[] = {at_level(decode(3), 1, 2), at_level(prefill(4, 9), 1, 2),
                                at_level(decode(2), 2, 2)};
    expect_admission(places, 3, 0, 4, 6, KL_ADMIT_GIVE_UP, 2); /* the highest level */
    places[2] = (struct kl_place){0};
    expect_admission(places, 3, 0, 4, 6, KL_ADMIT_GIVE_UP, 1); /* the last of its level */
    places[1] = (struct kl_place){0};
    expect_admission(places, 3, 0, 4, 6, KL_ADMIT_BEGIN, 1);
    expect_admission(places, 3, 0, 5, 6, KL_ADMIT_GIVE_UP, 0);
    expect_admission(places, 3, 0, 7, 6, KL_ADMIT_WAIT, 0); /* would not be enough */
    expect_admission(places, 3, 1, 5, 6, KL_ADMIT_WAIT, 0); /* its like stays */
}

static void test_background_begins_when_nobody_else_goes_on(void **state)
{
    (void)state;
    struct kl_place places[] = {decode(0), {0}};
    expect_admission(places, 2, 1, 1, 10, KL_ADMIT_WAIT, 0);
    places[0].paused = true; /* nobody reads what it says */
    expect_admission(places, 2, 1, 1, 10, KL_ADMIT_BEGIN, 1);
}

static void test_only_the_lowest_level_gets_rows(void **state)
{
    (void)state;
    struct kl_place places[] = {at_level(decode(0), 1, 1), at_level(prefill(1, 50), 1, 1),
                                at_level(prefill(2, 20), 0, 1), at_level(decode(3), 0, 1)};
    assert_int_equal(kl_schedule_rows(places, 4, 64, 16), 1 + 16);
    assert_int_equal(places[0].rows + places[1].rows, 0);
    places[3] = (struct kl_place){0};
    assert_int_equal(kl_schedule_rows(places, 4, 64, 16), 20); /* nobody decodes beside it */
    places[2].paused = true;
    assert_int_equal(kl_schedule_rows(places, 4, 64, 16), 1 + 16);
    assert_int_equal(places[0].rows, 1);
    assert_int_equal(places[1].rows, 16);
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

static unsigned lowest(const struct kl_place *places, size_t n)
{
    unsigned level = 1000;
    for (size_t i = 0; i < n; i++) {
        bool goes_on = places[i].state != KL_PLACE_FREE && !places[i].paused;
        if (goes_on && places[i].level < level)
            level = places[i].level;
    }
    return level;
}

/* Who asks for a place gets it in a bounded number of steps or has to wait, nobody of its level or
 * a lower one ever gives up, and promises are kept. */
static void test_random_admissions(void **state)
{
    (void)state;
    for (int round = 0; round < 20000; round++) {
        struct kl_place places[8];
        size_t n = 1 + random_below(8), max_pages = 20 + random_below(40), place, staying = 0;
        unsigned level = (unsigned)random_below(3);
        size_t pages = 1 + random_below(20), n_staying = 0, gave_up = 0;
        bool lower = false;
        for (size_t i = 0; i < n; i++) {
            bool in_use = random_below(3) > 0;
            places[i] = in_use ? at_level(decode(i), (unsigned)random_below(3),
                                          1 + random_below(max_pages / n))
                               : (struct kl_place){0};
            places[i].paused = random_below(2) == 0;
            bool stays = in_use && places[i].level <= level;
            staying += stays ? places[i].pages : 0;
            n_staying += stays;
            lower = lower || (in_use && places[i].level < level && !places[i].paused);
        }
        enum kl_admission admission;
        while ((admission = kl_schedule_admission(places, n, level, pages, max_pages, &place)) ==
               KL_ADMIT_GIVE_UP) {
            assert_true(places[place].state != KL_PLACE_FREE && places[place].level > level);
            places[place] = (struct kl_place){0};
            assert_true(++gave_up <= n);
        }
        bool fits = n_staying < n && staying + pages <= max_pages && !lower;
        assert_int_equal(admission, fits ? KL_ADMIT_BEGIN : KL_ADMIT_WAIT);
        assert_true(fits || gave_up == 0);
        if (!fits)
            continue;
        assert_int_equal(places[place].state, KL_PLACE_FREE);
        size_t promised = pages;
        for (size_t i = 0; i < n; i++)
            promised += places[i].state != KL_PLACE_FREE ? places[i].pages : 0;
        assert_true(promised <= max_pages);
    }
}

/* Whatever the state: the budget is used up or nobody is hungry, nobody gets more than is left of
 * its prompt, and no two that stay hungry differ by more than the one indivisible row. */
static void test_random_states(void **state)
{
    (void)state;
    for (int round = 0; round < 20000; round++) {
        struct kl_place places[KL_MAX_PARALLEL];
        size_t n = 1 + random_below(KL_MAX_PARALLEL);
        size_t whole = 1 + random_below(100), shared = 1 + random_below(whole);
        size_t decodes = 0, wanted = 0;
        for (size_t i = 0; i < n; i++) {
            size_t kind = random_below(4);
            places[i] = kind == 0   ? (struct kl_place){0}
                        : kind == 1 ? decode(n - i)
                                    : prefill(n - i, 1 + random_below(60));
            places[i].level = (unsigned)random_below(3);
            places[i].rows = random_below(50); /* what an earlier step left there */
            places[i].paused = random_below(5) == 0;
        }
        unsigned level = lowest(places, n);
        for (size_t i = 0; i < n; i++) {
            if (places[i].paused || places[i].level != level)
                continue;
            decodes += places[i].state == KL_PLACE_DECODE;
            wanted += places[i].state == KL_PLACE_PREFILL ? places[i].remaining : 0;
        }
        size_t chunk = decodes > 0 ? shared : whole;
        size_t total = kl_schedule_rows(places, n, whole, shared);
        assert_int_equal(total, decodes + (wanted < chunk ? wanted : chunk));

        size_t sum = 0, least_hungry = SIZE_MAX, most_hungry = 0;
        for (size_t i = 0; i < n; i++) {
            sum += places[i].rows;
            bool rests = places[i].paused || places[i].level != level;
            if (rests || places[i].state == KL_PLACE_FREE)
                assert_int_equal(places[i].rows, 0);
            else if (places[i].state == KL_PLACE_DECODE)
                assert_int_equal(places[i].rows, 1);
            else
                assert_true(places[i].rows <= places[i].remaining);
            if (places[i].state != KL_PLACE_PREFILL || rests)
                continue;
            if (places[i].rows > most_hungry)
                most_hungry = places[i].rows;
            if (places[i].rows < places[i].remaining && places[i].rows < least_hungry)
                least_hungry = places[i].rows;
        }
        assert_int_equal(sum, total);
        if (least_hungry != SIZE_MAX)
            assert_true(most_hungry <= least_hungry + 1);
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
        cmocka_unit_test(test_every_decode_row_rides),
        cmocka_unit_test(test_chunk_is_the_limit_for_all_prompts_together),
        cmocka_unit_test(test_short_prompts_leave_their_share),
        cmocka_unit_test(test_chunk_smaller_than_the_number_of_prompts),
        cmocka_unit_test(test_paused_gets_nothing_and_leaves_its_share),
        cmocka_unit_test(test_free_places_in_order),
        cmocka_unit_test(test_pages_are_promised),
        cmocka_unit_test(test_background_gives_places_up),
        cmocka_unit_test(test_background_begins_when_nobody_else_goes_on),
        cmocka_unit_test(test_only_the_lowest_level_gets_rows),
        cmocka_unit_test(test_shared_chunk),
        cmocka_unit_test(test_random_admissions),
        cmocka_unit_test(test_waits),
        cmocka_unit_test(test_random_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
