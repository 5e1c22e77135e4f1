/*
 * The tree of KV pages, with pages whose content identifies their tokens.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"
#include "engine/prefix_cache.h"
#include "tiny_model.h"

#define PAGE      KL_KV_PAGE_TOKENS
#define MAX_TEXT  (6 * PAGE)
#define ALL_PAGES 400

static struct tiny tiny;
static struct kl_kv_cache *kv;

static int setup(void **state)
{
    (void)state;
    tiny_open(&tiny);
    struct kl_error err;
    tiny_check(kl_kv_cache_open(tiny.model, (size_t)ALL_PAGES * PAGE, &kv, &err), &err);
    assert_true(kl_kv_cache_page_bytes(kv) >= PAGE * sizeof(uint64_t));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(kl_kv_cache_used_tokens(kv), 0); /* nothing is left behind */
    kl_kv_cache_close(kv);
    tiny_close(&tiny);
    return 0;
}

static struct kl_prefix_cache *open_with_store(size_t max_pages, struct kl_page_store *store)
{
    struct kl_prefix_cache *cache;
    struct kl_error err;
    tiny_check(kl_prefix_cache_open(kv, store, max_pages, &cache, &err), &err);
    return cache;
}

static struct kl_prefix_cache *open_cache(size_t max_pages)
{
    return open_with_store(max_pages, NULL);
}

/* A number that depends on all that the keys and values of a token depend on. */
static uint64_t mark(const int32_t *tokens, size_t at)
{
    return kl_hash64(tokens, (at + 1) * sizeof *tokens, 0);
}

static struct kl_sequence *empty_sequence(void)
{
    struct kl_sequence *sequence;
    struct kl_error err;
    tiny_check(kl_sequence_new(kv, &sequence, &err), &err);
    return sequence;
}

/* A sequence as a forward pass would leave it. */
static struct kl_sequence *computed(const int32_t *tokens, size_t n)
{
    struct kl_sequence *sequence = empty_sequence();
    struct kl_error err;
    for (size_t at = 0; at < n; at += PAGE) {
        size_t count = n - at < PAGE ? n - at : PAGE;
        struct kl_kv_page *page;
        tiny_check(kl_kv_page_new(kv, &page, &err), &err);
        uint64_t *marks = kl_kv_page_data(page);
        for (size_t i = 0; i < count; i++)
            marks[i] = mark(tokens, at + i);
        if (count == PAGE)
            tiny_check(kl_sequence_append_shared(sequence, page, &err), &err);
        else
            tiny_check(kl_sequence_append_copy(sequence, page, count, &err), &err);
        kl_kv_page_release(kv, page);
    }
    return sequence;
}

static void insert(struct kl_prefix_cache *cache, uint64_t scope, enum kl_keep keep,
                   const int32_t *tokens, size_t n)
{
    struct kl_sequence *sequence = computed(tokens, n);
    kl_prefix_cache_insert(cache, scope, keep, tokens, n, sequence);
    kl_sequence_free(sequence);
}

/* Looks up tokens, checks the content of the pages that are found, and returns their number of
 * tokens. */
static size_t lookup(struct kl_prefix_cache *cache, uint64_t scope, enum kl_keep keep,
                     const int32_t *tokens, size_t n)
{
    struct kl_sequence *sequence = empty_sequence();
    size_t found = kl_prefix_cache_lookup(cache, scope, keep, tokens, n, sequence);
    assert_true(found <= n);
    assert_int_equal(kl_sequence_length(sequence), found);
    for (size_t i = 0; i < found; i++) {
        const uint64_t *marks = kl_kv_page_data(kl_sequence_page(sequence, i / PAGE));
        assert_true(marks[i % PAGE] == mark(tokens, i));
    }
    kl_sequence_free(sequence);
    return found;
}

static size_t find(struct kl_prefix_cache *cache, const int32_t *tokens, size_t n)
{
    return lookup(cache, 0, KL_KEEP_INTERACTIVE, tokens, n);
}

/* ---- lookup ---------------------------------------------------------------------------------- */

static void test_whole_and_partial_pages(void **state)
{
    (void)state;
    struct kl_prefix_cache *cache = open_cache(20);
    int32_t text[MAX_TEXT], other[MAX_TEXT];
    random_tokens(text, MAX_TEXT, 1);
    assert_int_equal(find(cache, text, MAX_TEXT), 0);
    insert(cache, 0, KL_KEEP_INTERACTIVE, text, 2 * PAGE + 10);
    assert_int_equal(find(cache, text, MAX_TEXT), 2 * PAGE + 10);
    for (size_t n = 1; n <= 2 * PAGE + 10; n++) /* wherever it ends */
        assert_int_equal(find(cache, text, n), n);
    for (size_t at = 0; at < 2 * PAGE + 10; at++) { /* wherever it diverges */
        memcpy(other, text, sizeof text);
        other[at]++;
        assert_int_equal(find(cache, other, MAX_TEXT), at);
    }
    assert_int_equal(kl_prefix_cache_stats(cache).pages, 3);
    kl_prefix_cache_close(cache);
}

static void test_a_longer_partial_page_replaces_a_shorter_one(void **state)
{
    (void)state;
    struct kl_prefix_cache *cache = open_cache(20);
    int32_t text[MAX_TEXT];
    random_tokens(text, MAX_TEXT, 1);
    insert(cache, 0, KL_KEEP_INTERACTIVE, text, 40);
    insert(cache, 0, KL_KEEP_INTERACTIVE, text, 50);
    insert(cache, 0, KL_KEEP_INTERACTIVE, text, 45); /* known */
    assert_int_equal(kl_prefix_cache_stats(cache).pages, 2);
    assert_int_equal(find(cache, text, MAX_TEXT), 50);
    insert(cache, 0, KL_KEEP_INTERACTIVE, text, 100);
    assert_int_equal(kl_prefix_cache_stats(cache).pages, 4);
    assert_int_equal(find(cache, text, MAX_TEXT), 100);
    assert_int_equal(kl_prefix_cache_stats(cache).evictions, 0);
    kl_prefix_cache_close(cache);
}

/* Pages of a shared beginning exist once, in the tree and in the sequences. */
static void test_pages_are_shared(void **state)
{
    (void)state;
    struct kl_prefix_cache *cache = open_cache(20);
    int32_t text[MAX_TEXT];
    random_tokens(text, MAX_TEXT, 1);
    insert(cache, 0, KL_KEEP_INTERACTIVE, text, 3 * PAGE);
    assert_int_equal(kl_kv_cache_used_tokens(kv), 3 * PAGE);
    struct kl_sequence *a = empty_sequence(), *b = empty_sequence();
    assert_int_equal(kl_prefix_cache_lookup(cache, 0, KL_KEEP_INTERACTIVE, text, 3 * PAGE, a), 96);
    assert_int_equal(kl_prefix_cache_lookup(cache, 0, KL_KEEP_INTERACTIVE, text, 70, b), 70);
    assert_ptr_equal(kl_sequence_page(a, 1), kl_sequence_page(b, 1));
    assert_ptr_not_equal(kl_sequence_page(a, 2), kl_sequence_page(b, 2)); /* b goes on in it */
    assert_int_equal(kl_kv_cache_used_tokens(kv), 4 * PAGE);
    kl_prefix_cache_close(cache); /* sequences keep what they use */
    assert_int_equal(kl_kv_cache_used_tokens(kv), 4 * PAGE);
    kl_sequence_free(a);
    kl_sequence_free(b);
}

static void test_scopes_do_not_meet(void **state)
{
    (void)state;
    struct kl_prefix_cache *cache = open_cache(20);
    int32_t text[MAX_TEXT];
    random_tokens(text, MAX_TEXT, 1);
    insert(cache, 7, KL_KEEP_INTERACTIVE, text, 100);
    assert_int_equal(lookup(cache, 8, KL_KEEP_INTERACTIVE, text, 100), 0);
    assert_int_equal(lookup(cache, 7, KL_KEEP_INTERACTIVE, text, 100), 100);
    insert(cache, 0, KL_KEEP_PINNED, text, 50); /* pinned pages are for all */
    assert_int_equal(lookup(cache, 8, KL_KEEP_INTERACTIVE, text, 100), 50);
    assert_int_equal(lookup(cache, 7, KL_KEEP_INTERACTIVE, text, 100), 100);
    kl_prefix_cache_close(cache);
}

static void test_off(void **state)
{
    (void)state;
    struct kl_prefix_cache *cache = open_cache(0);
    int32_t text[PAGE];
    random_tokens(text, PAGE, 1);
    insert(cache, 0, KL_KEEP_INTERACTIVE, text, PAGE);
    assert_int_equal(find(cache, text, PAGE), 0);
    assert_true(kl_prefix_cache_make_room(cache, ALL_PAGES));
    assert_false(kl_prefix_cache_make_room(cache, ALL_PAGES + 1));
    kl_prefix_cache_close(cache);
    kl_prefix_cache_close(NULL);
}

/* ---- eviction -------------------------------------------------------------------------------- */

static void test_least_recently_used_leaves_are_evicted_first(void **state)
{
    (void)state;
    struct kl_prefix_cache *cache = open_cache(4);
    int32_t a[MAX_TEXT], b[MAX_TEXT], c[MAX_TEXT];
    random_tokens(a, MAX_TEXT, 1);
    random_tokens(b, MAX_TEXT, 2);
    random_tokens(c, MAX_TEXT, 3);
    insert(cache, 0, KL_KEEP_INTERACTIVE, a, 2 * PAGE);
    insert(cache, 0, KL_KEEP_INTERACTIVE, b, 2 * PAGE);
    assert_int_equal(find(cache, a, PAGE), PAGE);   /* only the first page of a */
    insert(cache, 0, KL_KEEP_INTERACTIVE, c, PAGE); /* replaces the end of a */
    assert_int_equal(find(cache, a, MAX_TEXT), PAGE);
    insert(cache, 0, KL_KEEP_INTERACTIVE, c, 2 * PAGE); /* and the end of b */
    assert_int_equal(find(cache, b, MAX_TEXT), PAGE);
    assert_int_equal(find(cache, a, MAX_TEXT), PAGE);
    assert_int_equal(find(cache, c, MAX_TEXT), 2 * PAGE);
    assert_int_equal(kl_prefix_cache_stats(cache).evictions, 2);
    /* a text that is longer than the cache: its beginning */
    random_tokens(a, MAX_TEXT, 4);
    insert(cache, 0, KL_KEEP_INTERACTIVE, a, MAX_TEXT);
    assert_int_equal(find(cache, a, MAX_TEXT), 4 * PAGE);
    assert_int_equal(kl_prefix_cache_stats(cache).pages, 4);
    kl_prefix_cache_close(cache);
}

static void test_background_replaces_nothing_interactive(void **state)
{
    (void)state;
    struct kl_prefix_cache *cache = open_cache(4);
    int32_t a[MAX_TEXT], b[MAX_TEXT], c[MAX_TEXT];
    random_tokens(a, MAX_TEXT, 1);
    random_tokens(b, MAX_TEXT, 2);
    random_tokens(c, MAX_TEXT, 3);
    insert(cache, 0, KL_KEEP_INTERACTIVE, a, 2 * PAGE);
    insert(cache, 0, KL_KEEP_BACKGROUND, b, 2 * PAGE);
    insert(cache, 0, KL_KEEP_BACKGROUND, c, 3 * PAGE); /* replaces b */
    assert_int_equal(lookup(cache, 0, KL_KEEP_BACKGROUND, a, MAX_TEXT), 2 * PAGE);
    assert_int_equal(lookup(cache, 0, KL_KEEP_BACKGROUND, b, MAX_TEXT), 0);
    assert_int_equal(lookup(cache, 0, KL_KEEP_BACKGROUND, c, MAX_TEXT), 2 * PAGE);
    insert(cache, 0, KL_KEEP_INTERACTIVE, b,
           PAGE); /* c was used last, and is evicted all the same */
    assert_int_equal(find(cache, a, MAX_TEXT), 2 * PAGE);
    assert_int_equal(find(cache, c, MAX_TEXT), PAGE); /* interactive from now on */
    insert(cache, 0, KL_KEEP_BACKGROUND, b, 4 * PAGE);
    assert_int_equal(find(cache, c, MAX_TEXT), PAGE);
    assert_int_equal(find(cache, b, MAX_TEXT), PAGE);
    kl_prefix_cache_close(cache);
}

static void test_half_may_be_pinned(void **state)
{
    (void)state;
    struct kl_prefix_cache *cache = open_cache(4);
    int32_t a[MAX_TEXT], b[MAX_TEXT];
    random_tokens(a, MAX_TEXT, 1);
    random_tokens(b, MAX_TEXT, 2);
    insert(cache, 0, KL_KEEP_PINNED, a, 3 * PAGE);
    assert_int_equal(find(cache, a, MAX_TEXT), 2 * PAGE);
    insert(cache, 0, KL_KEEP_INTERACTIVE, b, 4 * PAGE);
    assert_int_equal(find(cache, b, MAX_TEXT), 2 * PAGE); /* it does not replace pinned pages */
    assert_int_equal(find(cache, a, MAX_TEXT), 2 * PAGE);
    assert_int_equal(kl_prefix_cache_stats(cache).pinned_pages, 2);
    assert_true(kl_prefix_cache_make_room(cache, ALL_PAGES - 1)); /* but a running request does */
    assert_int_equal(find(cache, a, MAX_TEXT), PAGE);
    assert_int_equal(find(cache, b, MAX_TEXT), 0);
    assert_true(kl_prefix_cache_make_room(cache, ALL_PAGES));
    assert_int_equal(kl_prefix_cache_stats(cache).pages, 0);
    kl_prefix_cache_close(cache);
}

/* Evicting pages in use frees nothing; the others are evicted first. */
static void test_unused_pages_are_evicted_first(void **state)
{
    (void)state;
    struct kl_prefix_cache *cache = open_cache(10);
    int32_t a[MAX_TEXT], b[MAX_TEXT];
    random_tokens(a, MAX_TEXT, 1);
    random_tokens(b, MAX_TEXT, 2);
    insert(cache, 0, KL_KEEP_INTERACTIVE, a, 2 * PAGE);
    struct kl_sequence *runs = empty_sequence();
    kl_prefix_cache_lookup(cache, 0, KL_KEEP_INTERACTIVE, a, 2 * PAGE, runs);
    insert(cache, 0, KL_KEEP_INTERACTIVE, b, 2 * PAGE);
    assert_true(kl_prefix_cache_make_room(cache, ALL_PAGES - 3));
    assert_int_equal(find(cache, a, MAX_TEXT), 2 * PAGE);
    assert_int_equal(find(cache, b, MAX_TEXT), PAGE);
    assert_false(kl_prefix_cache_make_room(cache, ALL_PAGES - 1));
    kl_sequence_free(runs);
    kl_prefix_cache_close(cache);
}

/* ---- on disk --------------------------------------------------------------------------------- */

static struct kl_page_store *open_store(const char *dir)
{
    const struct kl_page_store_options options = {.dir = dir,
                                                  .identity = "test",
                                                  .identity_size = 4,
                                                  .page_bytes = kl_kv_cache_page_bytes(kv),
                                                  .max_bytes = 64 << 20};
    struct kl_page_store *store;
    struct kl_error err;
    tiny_check(kl_page_store_open(&options, &store, &err), &err);
    return store;
}

/* As if the process had ended in between. */
static void forget(struct kl_prefix_cache **cache, struct kl_page_store *store)
{
    kl_page_store_flush(store);
    kl_prefix_cache_close(*cache);
    *cache = open_with_store(20, store);
}

static void test_whole_pages_come_back_from_disk(void **state)
{
    (void)state;
    char dir[] = "/tmp/kinglet-test-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct kl_page_store *store = open_store(dir);
    struct kl_prefix_cache *cache = open_with_store(20, store);
    int32_t text[MAX_TEXT];
    random_tokens(text, MAX_TEXT, 1);
    insert(cache, 7, KL_KEEP_INTERACTIVE, text, 4 * PAGE + 10);
    insert(cache, 7, KL_KEEP_PINNED, text, 6 * PAGE);
    forget(&cache, store);
    assert_int_equal(lookup(cache, 7, KL_KEEP_INTERACTIVE, text, MAX_TEXT), 0);
    assert_false(kl_prefix_cache_load(cache, 8, KL_KEEP_INTERACTIVE, text, MAX_TEXT, 9));
    assert_true(kl_prefix_cache_load(cache, 7, KL_KEEP_INTERACTIVE, text, MAX_TEXT, 3));
    assert_int_equal(lookup(cache, 7, KL_KEEP_INTERACTIVE, text, MAX_TEXT), 3 * PAGE);
    assert_false(kl_prefix_cache_load(cache, 7, KL_KEEP_INTERACTIVE, text, MAX_TEXT, 3));
    assert_int_equal(lookup(cache, 7, KL_KEEP_INTERACTIVE, text, MAX_TEXT), 4 * PAGE);
    assert_int_equal(lookup(cache, 8, KL_KEEP_INTERACTIVE, text, MAX_TEXT), 0);
    assert_int_equal(kl_prefix_cache_stats(cache).loaded, 4);

    forget(&cache, store); /* a partial page in memory is replaced by the whole page */
    insert(cache, 7, KL_KEEP_INTERACTIVE, text, 10);
    assert_false(kl_prefix_cache_load(cache, 7, KL_KEEP_INTERACTIVE, text, 2 * PAGE, 9));
    assert_int_equal(kl_prefix_cache_stats(cache).pages, 2);
    assert_int_equal(lookup(cache, 7, KL_KEEP_INTERACTIVE, text, MAX_TEXT), 2 * PAGE);

    kl_prefix_cache_close(cache);
    kl_page_store_close(store);
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

/* ---- random texts ---------------------------------------------------------------------------- */

#define N_TEXTS 40

struct text {
    int32_t tokens[MAX_TEXT];
    size_t n;
    uint64_t scope;
    bool pinned;
};

static uint64_t random_state = 1;

static size_t random_below(size_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(random_state >> 33) % n;
}

/* Texts over few tokens that often begin like an earlier text. */
static void make_text(struct text *text, const struct text *earlier, size_t n_earlier)
{
    size_t shared = 0;
    text->n = 1 + random_below(MAX_TEXT);
    text->scope = random_below(2);
    text->pinned = random_below(8) == 0;
    if (n_earlier > 0 && random_below(4) > 0) {
        const struct text *model = &earlier[random_below(n_earlier)];
        shared = random_below(model->n + 1);
        memcpy(text->tokens, model->tokens, sizeof text->tokens);
    }
    for (size_t i = shared; i < MAX_TEXT; i++)
        text->tokens[i] = (int32_t)random_below(3);
}

/* The longest common prefix with an inserted text. */
static size_t longest(const struct text *texts, size_t n_texts, const struct text *wanted)
{
    size_t best = 0;
    for (size_t i = 0; i < n_texts; i++) {
        size_t same = 0;
        if (!texts[i].pinned && texts[i].scope != wanted->scope)
            continue;
        while (same < texts[i].n && same < wanted->n &&
               texts[i].tokens[same] == wanted->tokens[same])
            same++;
        best = same > best ? same : best;
    }
    return best;
}

/* With room for all texts, exactly the inserted tokens are found; with less, never others, and the
 * limit holds. */
static void test_random_texts(void **state)
{
    (void)state;
    static struct text texts[N_TEXTS];
    for (int round = 0; round < 60; round++) {
        bool small = round % 2 == 1;
        size_t max_pages = small ? 1 + random_below(30) : 6 * N_TEXTS;
        struct kl_prefix_cache *cache = open_cache(max_pages);
        for (size_t i = 0; i < N_TEXTS; i++) {
            make_text(&texts[i], texts, i);
            enum kl_keep keep = texts[i].pinned ? KL_KEEP_PINNED : random_below(2);
            insert(cache, texts[i].scope, keep, texts[i].tokens, texts[i].n);
            struct text wanted;
            make_text(&wanted, texts, i + 1);
            size_t found = lookup(cache, wanted.scope, random_below(2), wanted.tokens, wanted.n);
            size_t known = longest(texts, i + 1, &wanted);
            assert_true(small ? found <= known : found == known);
            struct kl_prefix_cache_stats stats = kl_prefix_cache_stats(cache);
            assert_true(stats.pages <= max_pages && stats.pinned_pages <= max_pages / 2);
            assert_int_equal(kl_kv_cache_used_tokens(kv), stats.pages * PAGE);
            if (small && random_below(10) == 0)
                assert_true(kl_prefix_cache_make_room(cache, ALL_PAGES - random_below(5)));
        }
        kl_prefix_cache_close(cache);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_and_partial_pages),
        cmocka_unit_test(test_a_longer_partial_page_replaces_a_shorter_one),
        cmocka_unit_test(test_pages_are_shared),
        cmocka_unit_test(test_scopes_do_not_meet),
        cmocka_unit_test(test_off),
        cmocka_unit_test(test_least_recently_used_leaves_are_evicted_first),
        cmocka_unit_test(test_background_replaces_nothing_interactive),
        cmocka_unit_test(test_half_may_be_pinned),
        cmocka_unit_test(test_unused_pages_are_evicted_first),
        cmocka_unit_test(test_whole_pages_come_back_from_disk),
        cmocka_unit_test(test_random_texts),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
