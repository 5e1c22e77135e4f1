#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "grammar/rule_cache.h"

#define MOST ((size_t)1 << 20)

static size_t n_alive;

static void free_rule(struct kl_rule *rule)
{
    n_alive--;
    free(rule);
}

static const struct kl_rule_kind kind = {"test", NULL, free_rule};

static struct kl_rule *new_rule(size_t bytes)
{
    struct kl_rule *rule = malloc(sizeof *rule);
    assert_non_null(rule);
    kl_rule_init(rule, &kind);
    rule->bytes = bytes;
    n_alive++;
    return rule;
}

static struct kl_rule_key key_of(unsigned i)
{
    return kl_rule_key("test", (const char *)&i, sizeof i);
}

static enum kl_status keep(struct kl_rule_cache *cache, unsigned i, struct kl_rule *rule)
{
    struct kl_rule_key key = key_of(i);
    struct kl_error err;
    return kl_rule_cache_keep(cache, &key, rule, &err);
}

/* Whether the rule is in the cache, as the one that it was. */
static bool has(struct kl_rule_cache *cache, unsigned i, struct kl_rule *rule)
{
    struct kl_rule_key key = key_of(i);
    struct kl_rule *found = kl_rule_cache_find(cache, &key);
    assert_true(found == NULL || rule == NULL || found == rule);
    kl_rule_disown(found);
    return found != NULL;
}

static void test_content(void **state)
{
    (void)state;
    struct kl_rule_key a = kl_rule_key("regex", "ab", 2), b = kl_rule_key("regexa", "b", 1),
                       c = kl_rule_key("regex", "ab", 2), d = kl_rule_key("grammar", "ab", 2);
    assert_memory_equal(&a, &c, sizeof a);
    assert_memory_not_equal(&a, &b, sizeof a);
    assert_memory_not_equal(&a, &d, sizeof a);
}

static void test_bounded_by_bytes(void **state)
{
    (void)state;
    struct kl_rule_cache *cache;
    struct kl_error err;
    assert_int_equal(kl_rule_cache_open(NULL, MOST, &cache, &err), KL_OK);
    struct kl_rule *used = new_rule(MOST / 2), *old = new_rule(100), *large = new_rule(MOST / 2),
                   *too_large = new_rule(MOST + 1);
    assert_int_equal(keep(cache, 1, used), KL_OK);
    assert_int_equal(keep(cache, 2, old), KL_OK);
    kl_rule_disown(old);
    assert_true(has(cache, 1, used) && has(cache, 2, old));
    assert_int_equal(keep(cache, 3, too_large), KL_ERR_LIMIT);
    /* one that is used stays, another one makes room */
    assert_int_equal(keep(cache, 3, large), KL_OK);
    assert_true(has(cache, 1, used) && has(cache, 3, large) && !has(cache, 2, NULL));
    assert_int_equal(keep(cache, 4, too_large), KL_ERR_LIMIT);
    struct kl_rule *small = new_rule(1);
    assert_int_equal(keep(cache, 4, small), KL_ERR_BUSY);
    kl_rule_disown(large);
    assert_int_equal(keep(cache, 4, small), KL_OK);
    assert_true(has(cache, 1, used) && has(cache, 4, small) && !has(cache, 3, NULL));
    kl_rule_disown(small);
    kl_rule_disown(too_large);
    kl_rule_cache_close(cache);
    assert_int_equal(n_alive, 1);
    kl_rule_disown(used);
    assert_int_equal(n_alive, 0);
}

static void test_bounded_by_number(void **state)
{
    (void)state;
    struct kl_rule_cache *cache;
    struct kl_error err;
    assert_int_equal(kl_rule_cache_open(NULL, MOST, &cache, &err), KL_OK);
    for (unsigned i = 0; i < 3 * KL_RULE_CACHE_RULES; i++) {
        struct kl_rule *rule = new_rule(1);
        assert_int_equal(keep(cache, i, rule), KL_OK);
        kl_rule_disown(rule);
        assert_true(has(cache, 0, NULL)); /* used again and again */
    }
    assert_int_equal(n_alive, KL_RULE_CACHE_RULES);
    assert_false(has(cache, 1, NULL));
    kl_rule_cache_close(cache);
    assert_int_equal(n_alive, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_content),
        cmocka_unit_test(test_bounded_by_bytes),
        cmocka_unit_test(test_bounded_by_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
