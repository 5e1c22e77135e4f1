/*
 * Embeddings in the engine: the bits of a plain forward pass, whatever runs in addition, however
 * the prompt is divided, whatever is cached; cancelled, late, preempted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/embedding.h"
#include "questions.h"

#define PAGE       KL_KV_PAGE_TOKENS
#define MOST_WIDTH 1024

static const enum kl_pooling poolings[] = {KL_POOLING_LAST, KL_POOLING_MEAN, KL_POOLING_FIRST};

struct vector {
    float values[MOST_WIDTH];
    size_t n;
};

static void make_text(struct question *q, size_t n_tokens, enum kl_pooling pooling, uint64_t seed)
{
    make_question(q, n_tokens, 1, seed);
    q->options = (struct kl_request_options){
        .tokens = q->prompt, .n_tokens = n_tokens, .embeds = true, .pooling = pooling};
}

/* Computes a token at a time, and pools by the definition. */
static struct vector expected_of(const struct question *q)
{
    struct vector v = {.n = kl_model_config(tiny.model)->n_embd};
    struct kl_kv_cache *kv;
    struct kl_sequence *sequence;
    struct kl_forward *forward;
    struct kl_error err;
    size_t n = q->options.n_tokens;
    assert_true(v.n <= MOST_WIDTH);
    tiny_check(kl_kv_cache_open(tiny.model, n, &kv, &err), &err);
    tiny_check(kl_sequence_new(kv, &sequence, &err), &err);
    tiny_check(kl_sequence_reserve(sequence, n, &err), &err);
    tiny_check(kl_forward_open(tiny.model, 1, 1, &forward, &err), &err);
    double sum[MOST_WIDTH] = {0};
    for (size_t i = 0; i < n; i++) {
        const struct kl_row row = {.sequence = sequence, .token = q->prompt[i], .hidden = true};
        tiny_check(kl_forward_run(forward, &row, 1, NULL, NULL, &err), &err);
        if (i == 0 || q->options.pooling != KL_POOLING_FIRST)
            kl_forward_hidden(forward, 0, v.values);
        for (size_t j = 0; j < v.n; j++)
            sum[j] += (double)v.values[j];
    }
    for (size_t j = 0; j < v.n && q->options.pooling == KL_POOLING_MEAN; j++)
        v.values[j] = (float)(sum[j] / (double)n);
    kl_forward_close(forward);
    kl_sequence_free(sequence);
    kl_kv_cache_close(kv);
    return v;
}

static void expect_vector(const struct kl_request *request, const struct answer *answer,
                          const struct vector *expected)
{
    size_t n;
    const float *vector = kl_request_embedding(request, &n);
    assert_int_equal(answer->finish, KL_FINISH_STOP);
    assert_int_equal(answer->answer_tokens, 0);
    assert_int_equal(answer->n_text, 0);
    assert_in_range(answer->prefilled, 1, answer->prompt_tokens);
    assert_int_equal(n, expected->n);
    assert_memory_equal(vector, expected->values, n * sizeof *vector);
}

/* Embeds it alone in an engine; returns how many tokens were cached. */
static uint32_t embed(struct kl_engine *engine, const struct question *q,
                      const struct vector *expected)
{
    struct answer answer;
    answer_init(&answer);
    struct kl_request *request = submit(engine, q);
    answers_wait(engine, &request, &answer, 1, NULL);
    expect_vector(request, &answer, expected);
    kl_request_release(request);
    kl_buffer_release(&answer.text);
    return answer.cached_tokens;
}

static struct kl_engine_options with_cache(size_t pages)
{
    struct kl_engine_options options = usual;
    options.cache_bytes = pages * PAGE * kl_kv_bytes_per_token(tiny.model);
    return options;
}

/* ---- bits ------------------------------------------------------------------------------------ */

static void test_chunks(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, 2, 33, 150}, chunks[] = {1, 7, 32, 200};
    for (size_t c = 0; c < 4; c++) {
        struct kl_engine_options options = usual;
        options.prefill_chunk = chunks[c];
        options.n_threads = 1 + c % 2;
        struct kl_engine *engine = open_engine(options);
        for (size_t i = 0; i < 12; i++) {
            static struct question q;
            make_text(&q, lengths[i % 4], poolings[i / 4], i);
            struct vector expected = expected_of(&q);
            assert_int_equal(embed(engine, &q, &expected), 0);
        }
        kl_engine_close(engine);
    }
}

static void test_company(void **state)
{
    (void)state;
    enum { N = 6 };
    static struct question q[N];
    struct kl_engine *engine = open_engine(usual);
    struct kl_request *requests[N];
    struct answer answers[N], alone[N];
    struct vector expected[N];
    for (size_t i = 0; i < N; i++) {
        answer_init(&answers[i]);
        if (i % 3 == 2) {
            make_question(&q[i], 40 + i, 30, i);
            alone[i] = ask_alone(&q[i]);
        } else {
            make_text(&q[i], 20 + 30 * i, i % 3 == 0 ? KL_POOLING_LAST : KL_POOLING_MEAN, i);
            expected[i] = expected_of(&q[i]);
        }
    }
    for (size_t i = 0; i < N; i++)
        requests[i] = submit(engine, &q[i]);
    answers_wait(engine, requests, answers, N, NULL);
    for (size_t i = 0; i < N; i++) {
        size_t n;
        if (q[i].options.embeds) {
            expect_vector(requests[i], &answers[i], &expected[i]);
        } else {
            expect_same(&answers[i], &alone[i]);
            kl_buffer_release(&alone[i].text);
            assert_null(kl_request_embedding(requests[i], &n));
            assert_int_equal(n, 0);
        }
        kl_request_release(requests[i]);
        kl_buffer_release(&answers[i].text);
    }
    struct kl_engine_stats stats = stats_when(engine, nothing_left);
    assert_int_equal(stats.embeddings, 4);
    assert_int_equal(kl_engine_complete(&stats), 2);
    kl_engine_close(engine);
}

/* The rows that are pooled are computed, even if a conversation has left their pages. */
static void test_cache(void **state)
{
    (void)state;
    struct kl_engine *engine = open_engine(with_cache(100));
    static struct question chat, text;
    make_question(&chat, 100, 1, 5);
    struct answer answer = ask(engine, &chat);
    kl_buffer_release(&answer.text);
    static const uint32_t cached[] = {99, 0, 0};
    for (size_t i = 0; i < 3; i++) {
        make_text(&text, 100, poolings[i], 5);
        struct vector expected = expected_of(&text);
        assert_int_equal(embed(engine, &text, &expected), cached[i]);
    }
    kl_engine_close(engine);
}

static void test_its_pages_are_not_kept(void **state)
{
    (void)state;
    struct kl_engine *engine = open_engine(with_cache(100));
    static struct question text;
    make_text(&text, 150, KL_POOLING_LAST, 6);
    struct vector expected = expected_of(&text);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(embed(engine, &text, &expected), 0);
    struct kl_engine_stats stats = stats_when(engine, nothing_left);
    assert_int_equal(stats.cache_pages, 0);
    assert_int_equal(stats.kv_used_tokens, 0);
    assert_int_equal(stats.prompt_tokens, 300);
    kl_engine_close(engine);
}

static bool has_some(struct answer *a)
{
    return a->prefilled >= 100;
}

/* A request goes before it in the middle, takes its slot, and evicts some of its pages. */
static void test_preempted(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct kl_engine_options options = with_cache(i == 2 ? 0 : 200);
        options.parallel = 1;
        options.prefill_chunk = 8;
        struct kl_engine *engine = open_engine(options);
        static struct question text, chat;
        make_text(&text, 3000, i == 0 ? KL_POOLING_LAST : KL_POOLING_MEAN, 7);
        text.options.priority = KL_PRIORITY_BACKGROUND;
        make_question(&chat, 50, 20, 8);
        struct vector expected = expected_of(&text);
        struct answer answers[2], alone = ask_alone(&chat);
        answer_init(&answers[0]);
        answer_init(&answers[1]);
        struct kl_request *requests[2] = {submit(engine, &text)};
        answers_wait(engine, requests, answers, 1, has_some);
        requests[1] = submit(engine, &chat);
        answers_wait(engine, requests + 1, answers + 1, 1, NULL);
        assert_false(answers[0].done);
        expect_same(&answers[1], &alone);
        answers_wait(engine, requests, answers, 1, NULL);
        expect_vector(requests[0], &answers[0], &expected);
        for (size_t r = 0; r < 2; r++) {
            kl_request_release(requests[r]);
            kl_buffer_release(&answers[r].text);
        }
        kl_buffer_release(&alone.text);
        kl_engine_close(engine);
    }
}

/* ---- other ends ------------------------------------------------------------------------------ */

static void expect_refused(struct kl_engine *engine, const struct question *q,
                           enum kl_status status, const char *part)
{
    struct kl_request *request;
    struct kl_error err;
    assert_int_equal(kl_engine_submit(engine, &q->options, &request, &err), status);
    assert_null(request);
    if (strstr(err.text, part) == NULL)
        fail_msg("\"%s\" does not contain \"%s\"", err.text, part);
}

static void test_options(void **state)
{
    (void)state;
    struct kl_engine_options options = usual;
    options.ctx_size = 64;
    struct kl_engine *engine = open_engine(options);
    static struct question q;
    make_text(&q, 0, KL_POOLING_LAST, 1);
    expect_refused(engine, &q, KL_ERR_INVALID, "empty");
    make_text(&q, 65, KL_POOLING_LAST, 1);
    expect_refused(engine, &q, KL_ERR_LIMIT, "65 tokens, the context holds 64");
    make_text(&q, 10, KL_N_POOLINGS, 1);
    expect_refused(engine, &q, KL_ERR_INVALID, "pooling");
    make_text(&q, 10, KL_POOLING_LAST, 1);
    q.prompt[3] = 1 << 20;
    expect_refused(engine, &q, KL_ERR_INVALID, "token 4");
    make_text(&q, 64, KL_POOLING_MEAN, 1); /* no answer needs room */
    q.options.sampling.top_p = -1.0f;      /* not read */
    struct vector expected = expected_of(&q);
    embed(engine, &q, &expected);
    kl_engine_close(engine);
}

static void test_cancelled_and_late(void **state)
{
    (void)state;
    struct kl_engine_options options = with_cache(100);
    options.prefill_chunk = 8;
    struct kl_engine *engine = open_engine(options);
    for (size_t i = 0; i < 2; i++) {
        static struct question q;
        struct answer answer;
        answer_init(&answer);
        make_text(&q, MAX_PROMPT, KL_POOLING_MEAN, 3);
        q.options.deadline_seconds = i == 0 ? 0 : 0.05;
        struct kl_request *request = submit(engine, &q);
        if (i == 0) {
            answers_wait(engine, &request, &answer, 1, has_some);
            kl_request_cancel(request);
        }
        answers_wait(engine, &request, &answer, 1, NULL);
        assert_int_equal(answer.finish, i == 0 ? KL_FINISH_CANCELLED : KL_FINISH_DEADLINE);
        assert_int_equal(answer.wasted_tokens > 0, i == 0);
        kl_request_release(request);
        kl_buffer_release(&answer.text);
    }
    struct kl_engine_stats stats = stats_when(engine, nothing_left);
    assert_int_equal(stats.embeddings, 0);
    assert_int_equal(stats.cache_pages, 0);
    kl_engine_close(engine);
}

/* A damaged model gives an error, not a vector of what is no number. */
static void test_no_number(void **state)
{
    (void)state;
    struct kl_embedding *e;
    struct kl_error err;
    tiny_check(kl_embedding_new(KL_POOLING_MEAN, 3, 8, &e, &err), &err);
    e->n_added = 3;
    assert_int_equal(kl_embedding_finish(e, &err), KL_OK);
    assert_true(e->vector[7] == 0.0f);
    e->sum[7] = 1e300;
    assert_int_equal(kl_embedding_finish(e, &err), KL_ERR_FORMAT);
    assert_non_null(strstr(err.text, "damaged"));
    kl_embedding_free(e);
    kl_embedding_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_company),
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_its_pages_are_not_kept),
        cmocka_unit_test(test_preempted),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_cancelled_and_late),
        cmocka_unit_test(test_no_number),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
