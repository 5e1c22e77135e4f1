/*
 * The model layer on a tiny random model (KINGLET_TEST_TINY_MODEL): the numeric contract, sequences
 * and their pages, giving up, and the packed file in all its states.
 */
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/memory.h"
#include "format/digest.h"
#include "model/model.h"

enum { N_TOKENS = 75, MAX_ROWS = 128 };

static struct kl_gguf *gguf;
static char packed_dir[64];

static int open_file(void **state)
{
    (void)state;
    const char *path = getenv("KINGLET_TEST_TINY_MODEL");
    if (path == NULL)
        fail_msg("KINGLET_TEST_TINY_MODEL must name the tiny model (./test.sh sets it)");
    struct kl_error err = {0};
    if (kl_gguf_open(path, &gguf, &err) != KL_OK)
        fail_msg("%s", err.text);
    snprintf(packed_dir, sizeof packed_dir, "/tmp/kinglet-test-XXXXXX");
    assert_non_null(mkdtemp(packed_dir));
    kl_log_set_level(KL_LOG_ERROR);
    return 0;
}

static void empty_packed_dir(void)
{
    DIR *dir = opendir(packed_dir);
    if (dir == NULL)
        return;
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        char path[sizeof packed_dir + sizeof e->d_name + 1];
        snprintf(path, sizeof path, "%s/%s", packed_dir, e->d_name);
        if (e->d_name[0] != '.')
            unlink(path);
    }
    closedir(dir);
}

static int close_file(void **state)
{
    (void)state;
    empty_packed_dir();
    rmdir(packed_dir);
    kl_gguf_close(gguf);
    return 0;
}

static struct kl_model *open_with(const struct kl_model_options *options)
{
    struct kl_model *model = NULL;
    struct kl_error err = {0};
    if (kl_model_open(gguf, options, &model, &err) != KL_OK)
        fail_msg("%s", err.text);
    return model;
}

static struct kl_model *open_model(const struct kl_kernels *kernels, const char *dir)
{
    return open_with(&(struct kl_model_options){.kernels = kernels, .packed_dir = dir});
}

static struct kl_sequence *new_sequence(struct kl_kv_cache *cache, size_t reserve)
{
    struct kl_sequence *s = NULL;
    struct kl_error err = {0};
    assert_int_equal(kl_sequence_new(cache, &s, &err), KL_OK);
    assert_int_equal(kl_sequence_reserve(s, reserve, &err), KL_OK);
    return s;
}

static struct kl_kv_cache *open_cache(const struct kl_model *model, size_t tokens)
{
    struct kl_kv_cache *cache = NULL;
    struct kl_error err = {0};
    assert_int_equal(kl_kv_cache_open(model, tokens, &cache, &err), KL_OK);
    return cache;
}

static struct kl_forward *open_forward(const struct kl_model *model, size_t threads)
{
    struct kl_forward *forward = NULL;
    struct kl_error err = {0};
    if (kl_forward_open(model, MAX_ROWS, threads, &forward, &err) != KL_OK)
        fail_msg("%s", err.text);
    return forward;
}

/* a fixed text for each sequence */
static int32_t token_of(size_t sequence, size_t i, size_t n_vocab)
{
    return (int32_t)((i * 2654435761u + sequence * 40503u + i * i) % n_vocab);
}

/* The logits of all positions of sequence 0: [N_TOKENS, n_vocab], computed with `threads`, `chunk`
 * tokens at a time, and with n_others other sequences in the same batches. */
static float *logits_of(const struct kl_model *model, size_t threads, size_t chunk, size_t n_others)
{
    size_t n_vocab = kl_model_config(model)->n_vocab;
    float *logits = malloc(N_TOKENS * n_vocab * sizeof *logits);
    assert_non_null(logits);
    struct kl_kv_cache *cache = open_cache(model, 4 * 256);
    struct kl_forward *forward = open_forward(model, threads);
    struct kl_sequence *s[4];
    for (size_t i = 0; i <= n_others; i++)
        s[i] = new_sequence(cache, 200);

    for (size_t at = 0; at < N_TOKENS; at += chunk) {
        struct kl_row rows[MAX_ROWS];
        size_t n = 0;
        for (size_t i = at; i < at + chunk && i < N_TOKENS; i++) {
            /* the others stand between ours, one token each, and want logits of their own now
             * and then */
            for (size_t o = 1; o <= n_others && n < MAX_ROWS - chunk; o++)
                rows[n++] = (struct kl_row){.sequence = s[o], .token = token_of(o, i, n_vocab)};
            rows[n++] = (struct kl_row){
                .sequence = s[0], .token = token_of(0, i, n_vocab), .logits = logits + i * n_vocab};
        }
        struct kl_error err = {0};
        assert_int_equal(kl_forward_run(forward, rows, n, NULL, NULL, &err), KL_OK);
    }
    assert_int_equal(kl_sequence_length(s[0]), N_TOKENS);
    for (size_t i = 0; i <= n_others; i++)
        kl_sequence_free(s[i]);
    kl_forward_close(forward);
    kl_kv_cache_close(cache);
    return logits;
}

/* Compares the bits of every tier, in every way, and returns them. */
static float *check_bits(enum kl_kv_type kv_type, bool plain_attention)
{
    /* threads, tokens at a time, other sequences; the scalar tier is slow and takes three. In
     * sanitizer builds it takes one and the others three: a batch, single tokens, more sequences */
    static const size_t ways[][3] = {{1, 75, 0}, {1, 1, 0},  {2, 33, 3}, {3, 1, 3}, {2, 7, 0},
                                     {3, 75, 0}, {2, 32, 1}, {2, 1, 0},  {1, 5, 3}, {2, 75, 0}};
    const bool brief = getenv("KINGLET_TEST_BRIEF") != NULL;
    const size_t n_ways = brief ? 3 : sizeof ways / sizeof ways[0];
    print_message("%zu ways\n", n_ways);
    float *expected = NULL;
    for (size_t tier = 0; kl_kernels_at(tier) != NULL; tier++) {
        struct kl_model_options options = {
            .kv_type = kv_type, .plain_attention = plain_attention, .packed_dir = packed_dir};
        struct kl_error err = {0};
        if (kl_kernels_select(kl_kernels_at(tier)->name, &options.kernels, &err) != KL_OK)
            continue; /* not on this CPU */
        struct kl_model *model = open_with(&options);
        size_t bytes = N_TOKENS * kl_model_config(model)->n_vocab * sizeof(float);
        for (size_t i = 0; i < (tier > 0 ? n_ways : brief ? 1 : 3); i++) {
            float *found = logits_of(model, ways[i][0], ways[i][1], ways[i][2]);
            if (expected == NULL)
                expected = found; /* and every tier gives the bits of the scalar one */
            assert_memory_equal(found, expected, bytes);
            if (found != expected)
                free(found);
        }
        kl_model_close(model);
    }
    return expected;
}

static void test_bits_do_not_depend_on_how(void **state)
{
    (void)state;
    struct kl_model *model = open_model(kl_kernels_at(0), packed_dir);
    size_t count = N_TOKENS * kl_model_config(model)->n_vocab;
    kl_model_close(model);
    float *all[4];
    for (unsigned i = 0; i < 4; i++) {
        all[i] = check_bits(i % 2 == 0 ? KL_KV_F16 : KL_KV_INT8, i / 2 == 1);
        /* each its own bits, and nearly the same numbers */
        double difference = 0, size = 0;
        for (size_t j = 0; j < count; j++) {
            difference += fabs((double)all[i][j] - (double)all[0][j]);
            size += fabs((double)all[0][j]);
        }
        assert_true(i == 0 || difference > 0);
        if (difference >= 0.05 * size)
            fail_msg("kind %u: %g of %g", i, difference, size);
    }
    for (unsigned i = 0; i < 4; i++)
        free(all[i]);
}

/* The tiny model: 3 layers, 2 KV heads of 32, keys and values; 32 tokens a page, and of that whole
 * pages of the system. */
static void test_bytes_per_token(void **state)
{
    (void)state;
    size_t page = kl_memory_page();
    struct kl_model_options options = {.kernels = kl_kernels_at(0), .packed_dir = packed_dir};
    struct kl_model *model = open_with(&options);
    assert_int_equal(kl_kv_bytes_per_token(model) * 32,
                     kl_memory_whole_pages(32 * 3 * 2 * 2 * 32 * 2, page));
    kl_model_close(model);
    options.kv_type = KL_KV_INT8;
    model = open_with(&options);
    assert_int_equal(kl_kv_bytes_per_token(model) * 32,
                     kl_memory_whole_pages(32 * 3 * 2 * 2 * (32 + 2), page));
    kl_model_close(model);
}

/* Past what the model was made for there are no angles and no room for scores. */
static void test_no_position_past_the_context(void **state)
{
    (void)state;
    struct kl_model_options options = {.kv_type = KL_KV_INT8, .packed_dir = packed_dir};
    assert_int_equal(kl_kernels_select("auto", &options.kernels, NULL), KL_OK);
    struct kl_model *model = open_with(&options);
    size_t n_ctx = kl_model_config(model)->n_ctx_train;
    struct kl_kv_cache *cache = open_cache(model, n_ctx + MAX_ROWS);
    struct kl_forward *forward = open_forward(model, 2);
    struct kl_sequence *s = new_sequence(cache, n_ctx + 1);
    struct kl_row rows[MAX_ROWS];
    struct kl_error err = {0};
    for (size_t i = 0; i < MAX_ROWS; i++)
        rows[i] = (struct kl_row){.sequence = s, .token = (int32_t)i};
    while (kl_sequence_length(s) < n_ctx)
        assert_int_equal(kl_forward_run(forward, rows, MAX_ROWS, NULL, NULL, &err), KL_OK);
    assert_int_equal(kl_forward_run(forward, rows, 1, NULL, NULL, &err), KL_ERR_LIMIT);
    assert_non_null(strstr(err.text, "4096"));
    assert_int_equal(kl_sequence_length(s), n_ctx);
    kl_sequence_free(s);
    kl_forward_close(forward);
    kl_kv_cache_close(cache);
    kl_model_close(model);
}

struct countdown {
    int left;
};

static bool stop_after(void *context)
{
    struct countdown *c = context;
    return c->left-- <= 0;
}

static void test_giving_up_changes_nothing(void **state)
{
    (void)state;
    struct kl_model *model = open_model(kl_kernels_at(0), packed_dir);
    size_t n_vocab = kl_model_config(model)->n_vocab;
    float *expected = logits_of(model, 1, 25, 0);
    float *found = malloc(n_vocab * sizeof *found);
    struct kl_kv_cache *cache = open_cache(model, 256);
    struct kl_forward *forward = open_forward(model, 2);
    struct kl_sequence *s = new_sequence(cache, 100);
    struct kl_row rows[25];
    struct kl_error err = {0};
    for (size_t at = 0; at < N_TOKENS; at += 25) {
        for (size_t i = 0; i < 25; i++)
            rows[i] = (struct kl_row){.sequence = s,
                                      .token = token_of(0, at + i, n_vocab),
                                      .logits = i == 24 ? found : NULL};
        for (int steps = 0; steps < 20; steps += 3) {
            struct countdown countdown = {steps};
            assert_int_equal(kl_forward_run(forward, rows, 25, stop_after, &countdown, &err),
                             KL_ERR_CANCELLED);
            assert_int_equal(kl_sequence_length(s), at);
        }
        assert_int_equal(kl_forward_run(forward, rows, 25, NULL, NULL, &err), KL_OK);
        assert_memory_equal(found, expected + (at + 24) * n_vocab, n_vocab * sizeof *found);
    }
    kl_sequence_free(s);
    kl_forward_close(forward);
    kl_kv_cache_close(cache);
    free(found);
    free(expected);
    kl_model_close(model);
}

/* Which rows have an output changes neither the bits of the others nor the keys and values of the
 * last layer: a pass with outputs at some rows of two sequences, in turn, and one with none. */
static void test_outputs_of_some_rows(void **state)
{
    (void)state;
    enum { N = N_TOKENS / 3 };
    struct kl_model *model = open_model(kl_kernels_at(0), packed_dir);
    size_t n_vocab = kl_model_config(model)->n_vocab, n_embd = kl_model_config(model)->n_embd;
    float *expected = logits_of(model, 1, N_TOKENS, 0);
    float *found = malloc(N_TOKENS * n_vocab * sizeof *found);
    float *hidden = malloc(2 * n_embd * sizeof *hidden);
    struct kl_kv_cache *cache = open_cache(model, 768);
    struct kl_forward *forward = open_forward(model, 2);
    struct kl_sequence *s[2] = {new_sequence(cache, 200), new_sequence(cache, 200)};
    struct kl_sequence *alone = new_sequence(cache, 200); /* token by token */
    for (size_t at = 0; at < N_TOKENS; at += N) {
        struct kl_row rows[2 * N] = {0};
        struct kl_error err = {0};
        for (size_t i = 0; i < 2 * N; i++) { /* the text of both is the same */
            size_t token = at + i / 2;
            rows[i] = (struct kl_row){.sequence = s[i % 2], .token = token_of(0, token, n_vocab)};
            if (at > 0 && i >= at / 2 && (i % 7 == 3 || i % 5 == 1)) /* the first ones late */
                rows[i].logits = found + i * n_vocab;
            rows[i].hidden = at > 0 && i >= 2 * N - 2;
        }
        assert_int_equal(kl_forward_run(forward, rows, 2 * N, NULL, NULL, &err), KL_OK);
        for (size_t i = 0; i < 2 * N; i++)
            if (rows[i].logits != NULL)
                assert_memory_equal(rows[i].logits, expected + (at + i / 2) * n_vocab,
                                    n_vocab * sizeof *found);
        for (size_t i = 0; i < 2 && at > 0; i++)
            kl_forward_hidden(forward, 2 * N - 2 + i, hidden + i * n_embd);
        for (size_t i = at; i < at + N; i++) {
            const struct kl_row row = {
                .sequence = alone, .token = token_of(0, i, n_vocab), .hidden = true};
            assert_int_equal(kl_forward_run(forward, &row, 1, NULL, NULL, &err), KL_OK);
        }
        float *of_alone = found; /* all logits were compared */
        kl_forward_hidden(forward, 0, of_alone);
        for (size_t i = 0; i < 2 && at > 0; i++)
            assert_memory_equal(hidden + i * n_embd, of_alone, n_embd * sizeof *hidden);
    }
    kl_sequence_free(alone);
    kl_sequence_free(s[0]);
    kl_sequence_free(s[1]);
    kl_forward_close(forward);
    kl_kv_cache_close(cache);
    free(hidden);
    free(found);
    free(expected);
    kl_model_close(model);
}

static bool count_call(void *context)
{
    (*(size_t *)context)++;
    return false;
}

/* The operations of a pass of n rows, the last of which has an output or not. */
static size_t operations_of(struct kl_forward *forward, struct kl_sequence *s, size_t n,
                            float *logits)
{
    struct kl_row rows[MAX_ROWS];
    struct kl_error err = {0};
    size_t calls = 0;
    for (size_t i = 0; i < n; i++)
        rows[i] = (struct kl_row){.sequence = s, .logits = i + 1 == n ? logits : NULL};
    assert_int_equal(kl_forward_run(forward, rows, n, count_call, &calls, &err), KL_OK);
    return calls;
}

/* Without an output the last layer ends behind its keys and values. */
static void test_rows_without_output_cost_less(void **state)
{
    (void)state;
    enum { REST_OF_LAYER = 5, OUTPUT = 2 };
    struct kl_model *model = open_model(kl_kernels_at(0), packed_dir);
    float *logits = malloc(kl_model_config(model)->n_vocab * sizeof *logits);
    struct kl_kv_cache *cache = open_cache(model, 64);
    struct kl_forward *forward = open_forward(model, 1);
    struct kl_sequence *s = new_sequence(cache, 64);
    size_t with = operations_of(forward, s, 9, logits),
           without = operations_of(forward, s, 9, NULL);
    assert_int_equal(with, without + REST_OF_LAYER + OUTPUT);
    const enum kl_step products[] = {KL_STEP_QKV, KL_STEP_ATTENTION_OUT, KL_STEP_GATE_UP,
                                     KL_STEP_DOWN};
    const uint64_t n_layers = kl_model_config(model)->n_layers;
    for (size_t i = 0; i < sizeof products / sizeof *products; i++) {
        struct kl_step_work all = kl_model_step_work(model, products[i], 9, 9);
        struct kl_step_work one = kl_model_step_work(model, products[i], 9, 1);
        struct kl_step_work none = kl_model_step_work(model, products[i], 9, 0);
        if (products[i] == KL_STEP_QKV) /* keys and values stay */
            assert_true(all.macs * (n_layers - 1) < none.macs * n_layers && none.macs < all.macs);
        else
            assert_int_equal(all.macs * (n_layers - 1), none.macs * n_layers);
        assert_int_equal(9 * (one.macs - none.macs), all.macs - none.macs);
        assert_true(none.bytes < one.bytes && one.bytes == all.bytes);
    }
    kl_sequence_free(s);
    kl_forward_close(forward);
    kl_kv_cache_close(cache);
    free(logits);
    kl_model_close(model);
}

static void test_pages_come_and_go(void **state)
{
    (void)state;
    struct kl_model *model = open_model(kl_kernels_at(0), packed_dir);
    struct kl_kv_cache *cache = open_cache(model, 100);
    struct kl_error err = {0};
    assert_int_equal(kl_kv_cache_max_tokens(cache), 128);
    assert_int_equal(kl_kv_cache_used_tokens(cache), 0);
    struct kl_sequence *a = new_sequence(cache, 33), *b = new_sequence(cache, 32);
    assert_int_equal(kl_kv_cache_used_tokens(cache), 96);
    assert_int_equal(kl_sequence_reserve(b, 65, &err), KL_ERR_LIMIT);
    assert_non_null(strstr(err.text, "96 of 128"));
    assert_int_equal(kl_kv_cache_used_tokens(cache), 96);
    assert_int_equal(kl_sequence_reserve(b, 64, &err), KL_OK);

    struct kl_forward *forward = open_forward(model, 1);
    struct kl_row rows[40];
    for (size_t i = 0; i < 40; i++)
        rows[i] = (struct kl_row){.sequence = b, .token = (int32_t)i};
    assert_int_equal(kl_forward_run(forward, rows, 40, NULL, NULL, &err), KL_OK);
    assert_int_equal(kl_sequence_length(b), 40);
    kl_sequence_truncate(b, 32);
    assert_int_equal(kl_sequence_length(b), 32);
    assert_int_equal(kl_kv_cache_used_tokens(cache), 96);
    kl_sequence_free(a);
    assert_int_equal(kl_kv_cache_used_tokens(cache), 32);
    kl_sequence_free(b);
    assert_int_equal(kl_kv_cache_used_tokens(cache), 0);
    kl_forward_close(forward);
    kl_kv_cache_close(cache);
    kl_model_close(model);
}

/* Appends tokens [from, to) of text 0 to a sequence; logits: of these, or NULL. */
static void append_tokens(struct kl_forward *forward, struct kl_sequence *s, size_t from, size_t to,
                          size_t n_vocab, float *logits)
{
    struct kl_row rows[MAX_ROWS];
    struct kl_error err = {0};
    assert_int_equal(kl_sequence_reserve(s, to, &err), KL_OK);
    for (size_t i = from; i < to; i++)
        rows[i - from] =
            (struct kl_row){.sequence = s,
                            .token = token_of(0, i, n_vocab),
                            .logits = logits != NULL ? logits + (i - from) * n_vocab : NULL};
    assert_int_equal(kl_forward_run(forward, rows, to - from, NULL, NULL, &err), KL_OK);
}

/* Shared pages, and a copied part of one that diverges, give the same bits in both types of KV
 * cache; releasing a share leaves the other ones valid. */
static void test_shared_pages_give_the_same_bits(void **state)
{
    (void)state;
    enum { PART = 3, FROM = 2 * KL_KV_PAGE_TOKENS + PART, TO = FROM + 5 };
    for (int type = 0; type < KL_KV_TYPES; type++) {
        struct kl_model *model = open_with(&(struct kl_model_options){
            .kernels = kl_kernels_at(0), .packed_dir = packed_dir, .kv_type = type});
        size_t n_vocab = kl_model_config(model)->n_vocab;
        struct kl_kv_cache *cache = open_cache(model, 256);
        struct kl_forward *forward = open_forward(model, 2);
        struct kl_sequence *a = new_sequence(cache, 1), *b = new_sequence(cache, 0);
        struct kl_error err = {0};
        float *expected = malloc((TO - FROM) * n_vocab * sizeof *expected);
        float *found = malloc((TO - FROM) * n_vocab * sizeof *found);
        assert_true(expected != NULL && found != NULL);
        for (size_t at = 0; at < FROM; at++)
            append_tokens(forward, a, at, at + 1, n_vocab, NULL);
        append_tokens(forward, a, FROM, TO, n_vocab, expected);

        assert_int_equal(kl_sequence_append_shared(b, kl_sequence_page(a, 0), &err), KL_OK);
        assert_int_equal(kl_sequence_append_shared(b, kl_sequence_page(a, 1), &err), KL_OK);
        assert_int_equal(kl_sequence_append_copy(b, kl_sequence_page(a, 2), PART, &err), KL_OK);
        assert_int_equal(kl_sequence_length(b), FROM);
        assert_int_equal(kl_kv_cache_used_tokens(cache), 4 * KL_KV_PAGE_TOKENS);
        assert_int_equal(kl_kv_page_shares(kl_sequence_page(b, 0)), 2);
        assert_int_equal(kl_kv_page_shares(kl_sequence_page(b, 2)), 1);
        kl_sequence_free(a);
        assert_int_equal(kl_kv_cache_used_tokens(cache), 3 * KL_KV_PAGE_TOKENS);
        append_tokens(forward, b, FROM, TO, n_vocab, found);
        assert_memory_equal(found, expected, (TO - FROM) * n_vocab * sizeof *found);

        kl_sequence_free(b);
        assert_int_equal(kl_kv_cache_used_tokens(cache), 0);
        free(expected);
        free(found);
        kl_forward_close(forward);
        kl_kv_cache_close(cache);
        kl_model_close(model);
    }
}

static void test_token_out_of_range(void **state)
{
    (void)state;
    struct kl_model *model = open_model(kl_kernels_at(0), packed_dir);
    struct kl_kv_cache *cache = open_cache(model, 64);
    struct kl_forward *forward = open_forward(model, 1);
    struct kl_sequence *s = new_sequence(cache, 10);
    int32_t n_vocab = (int32_t)kl_model_config(model)->n_vocab;
    const int32_t bad[] = {-1, n_vocab, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < 4; i++) {
        struct kl_row row = {.sequence = s, .token = bad[i]};
        struct kl_error err = {0};
        assert_int_equal(kl_forward_run(forward, &row, 1, NULL, NULL, &err), KL_ERR_INVALID);
        assert_int_equal(kl_sequence_length(s), 0);
    }
    kl_sequence_free(s);
    kl_forward_close(forward);
    kl_kv_cache_close(cache);
    kl_model_close(model);
}

/* ---- the packed file ---------------------------------------------------------------------------
 */

static void packed_path(char *path, size_t size)
{
    DIR *dir = opendir(packed_dir);
    assert_non_null(dir);
    int n = 0;
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (e->d_name[0] == '.' || strcmp(e->d_name, KL_DIGEST_INDEX) == 0)
            continue;
        snprintf(path, size, "%s/%s", packed_dir, e->d_name);
        n++;
    }
    closedir(dir);
    assert_int_equal(n, 1); /* the file, and nothing temporary */
}

static void test_packed_file_is_kept_and_mended(void **state)
{
    (void)state;
    empty_packed_dir();
    struct kl_model *model = open_model(kl_kernels_at(0), packed_dir);
    float *expected = logits_of(model, 1, 25, 0);
    size_t bytes = N_TOKENS * kl_model_config(model)->n_vocab * sizeof(float);
    kl_model_close(model);

    char path[512];
    packed_path(path, sizeof path);
    struct stat first, again;
    assert_int_equal(stat(path, &first), 0);
    model = open_model(kl_kernels_at(0), packed_dir);
    kl_model_close(model);
    assert_int_equal(stat(path, &again), 0);
    assert_true(first.st_ino == again.st_ino); /* used as it is */
    ino_t before = first.st_ino;

    /* a byte of the header, the key, the directory and of several weights; then cut short */
    const off_t places[] = {0, 9, 17, 40, 70, 200, first.st_size / 3, first.st_size - 1, -1, -2};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        int fd = open(path, O_RDWR);
        assert_true(fd >= 0);
        if (places[i] == -1) {
            assert_int_equal(ftruncate(fd, first.st_size / 2), 0);
        } else if (places[i] == -2) {
            assert_int_equal(ftruncate(fd, 0), 0);
        } else {
            char byte;
            assert_int_equal(pread(fd, &byte, 1, places[i]), 1);
            byte ^= 0x40;
            assert_int_equal(pwrite(fd, &byte, 1, places[i]), 1);
        }
        model = open_model(kl_kernels_at(0), packed_dir);
        float *found = logits_of(model, 1, 25, 0);
        assert_memory_equal(found, expected, bytes);
        free(found);
        kl_model_close(model);
        packed_path(path, sizeof path);
        assert_int_equal(stat(path, &again), 0);
        assert_int_equal(again.st_size, first.st_size);
        assert_true(again.st_ino != before); /* made again */
        before = again.st_ino;
        close(fd); /* until now the number of the damaged one could not be another's */
    }
    free(expected);
}

static void test_packed_in_memory(void **state)
{
    (void)state;
    struct kl_model *model = open_model(kl_kernels_at(0), packed_dir);
    float *expected = logits_of(model, 1, 25, 0);
    size_t bytes = N_TOKENS * kl_model_config(model)->n_vocab * sizeof(float);
    kl_model_close(model);
    /* no directory wanted, and one that cannot be made */
    const char *const dirs[] = {NULL, "/proc/kinglet"};
    for (size_t i = 0; i < 2; i++) {
        model = open_model(kl_kernels_at(0), dirs[i]);
        assert_false(kl_model_is_mapped(model));
        float *found = logits_of(model, 1, 25, 0);
        assert_memory_equal(found, expected, bytes);
        free(found);
        kl_model_close(model);
    }
    free(expected);
}

struct stages {
    uint64_t done[2]; /* by enum kl_model_stage */
    size_t stop_at;   /* the call that says no; 0: none does */
    size_t calls;
};

static bool note_stage(void *context, enum kl_model_stage stage, uint64_t done, uint64_t total)
{
    struct stages *s = context;
    assert_true(done <= total);
    s->done[stage] = done;
    return ++s->calls != s->stop_at;
}

static void test_warming_later(void **state)
{
    (void)state;
    struct kl_model *model = open_model(kl_kernels_at(0), NULL);
    float *expected = logits_of(model, 1, 25, 0);
    size_t bytes = N_TOKENS * kl_model_config(model)->n_vocab * sizeof(float);
    kl_model_close(model);

    /* without a file, with one, with a damaged one, without a directory */
    for (int round = 0; round < 4; round++) {
        struct kl_model_options options = {.kernels = kl_kernels_at(0),
                                           .packed_dir = round < 3 ? packed_dir : NULL,
                                           .n_threads = 2,
                                           .prepare_later = true};
        struct kl_error err = {0};
        struct stages stages = {.stop_at = 1};
        char path[512];
        if (round == 0)
            empty_packed_dir();
        else
            packed_path(path, sizeof path);
        if (round == 2) {
            int fd = open(path, O_RDWR);
            assert_true(fd >= 0);
            assert_int_equal(pwrite(fd, "damage", 6, 30000), 6);
            close(fd);
        }
        assert_int_equal(kl_model_open(gguf, &options, &model, &err), KL_OK);
        assert_int_equal(kl_model_prepare(model, note_stage, &stages, &err), KL_ERR_CANCELLED);
        kl_model_close(model);

        assert_int_equal(kl_model_open(gguf, &options, &model, &err), KL_OK);
        stages = (struct stages){0};
        if (kl_model_prepare(model, note_stage, &stages, &err) != KL_OK)
            fail_msg("%s", err.text);
        assert_int_equal(stages.done[KL_MODEL_PACKING] > 0, round != 1);
        assert_int_equal(stages.done[KL_MODEL_READING] > 0, round == 1);
        assert_int_equal(kl_model_is_mapped(model), round < 3);
        float *found = logits_of(model, 1, 25, 0);
        assert_memory_equal(found, expected, bytes);
        free(found);
        kl_model_close(model);
    }
    free(expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits_do_not_depend_on_how),
        cmocka_unit_test(test_bytes_per_token),
        cmocka_unit_test(test_no_position_past_the_context),
        cmocka_unit_test(test_giving_up_changes_nothing),
        cmocka_unit_test(test_outputs_of_some_rows),
        cmocka_unit_test(test_rows_without_output_cost_less),
        cmocka_unit_test(test_pages_come_and_go),
        cmocka_unit_test(test_shared_pages_give_the_same_bits),
        cmocka_unit_test(test_token_out_of_range),
        cmocka_unit_test(test_packed_file_is_kept_and_mended),
        cmocka_unit_test(test_packed_in_memory),
        cmocka_unit_test(test_warming_later),
    };
    return cmocka_run_group_tests(tests, open_file, close_file);
}
