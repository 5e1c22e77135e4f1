/* The log-probabilities of answers, against a pass over prompt and answer that computes all logits,
 * and a softmax in long double; alone, in company, and whatever the tokens are chosen by. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "questions.h"

enum { N_TOP = 5, N_PROMPT = 50, N_ANSWER = 40 };

struct reported {
    struct kl_logprob tokens[N_ANSWER][1 + N_TOP];
    size_t n;
    struct kl_buffer text;
    enum kl_finish finish;
};

static void collect(struct kl_engine *engine, struct kl_request *r, struct reported *out)
{
    struct kl_event event = {.type = KL_EVENT_QUEUED};
    out->n = 0;
    kl_buffer_init(&out->text, 1 << 20);
    while (event.type != KL_EVENT_DONE) {
        if (!kl_request_poll(r, &event)) {
            struct pollfd fd = {.fd = kl_engine_wake_fd(engine), .events = POLLIN};
            assert_int_equal(poll(&fd, 1, PATIENCE_MS), 1);
            kl_engine_wake_clear(engine);
            continue;
        }
        if (event.type == KL_EVENT_TEXT)
            assert_int_equal(kl_buffer_append(&out->text, event.text, event.text_len), KL_OK);
        if (event.type != KL_EVENT_TOKEN)
            continue;
        assert_int_equal(event.n_logprobs, 1 + N_TOP);
        assert_true(out->n < N_ANSWER && event.text_at >= out->text.len);
        memcpy(out->tokens[out->n++], event.logprobs, sizeof out->tokens[0]);
    }
    out->finish = event.finish;
    kl_request_release(r);
}

static void expect_softmax(const float *logits, size_t n_vocab, const struct kl_logprob *found)
{
    long double sum = 0.0L;
    float best = logits[0];
    for (size_t id = 1; id < n_vocab; id++)
        best = logits[id] > best ? logits[id] : best;
    for (size_t id = 0; id < n_vocab; id++)
        sum += expl((long double)logits[id] - (long double)best);
    for (size_t i = 0; i <= N_TOP; i++) {
        long double logit = (long double)logits[found[i].id];
        assert_true(fabsl(logit - (long double)best - logl(sum) - (long double)found[i].value) <
                    1e-12L);
    }
    size_t better = 0;
    for (size_t id = 0; id < n_vocab; id++)
        better += logits[id] > logits[found[N_TOP].id];
    assert_in_range(better, 0, N_TOP - 1);
}

/* Runs prompt and answer in one pass with all logits. The answer has no control tokens. */
static void check_reported(const struct question *q, const struct reported *reported)
{
    struct kl_error err;
    struct kl_forward *forward;
    struct kl_kv_cache *kv;
    struct kl_sequence *sequence;
    size_t n_vocab = kl_model_config(tiny.model)->n_vocab, n = N_PROMPT + reported->n;
    size_t usable = kl_tokenizer_size(tiny.tokenizer);
    usable = usable < n_vocab ? usable : n_vocab;
    tiny_check(kl_forward_open(tiny.model, n, 1, &forward, &err), &err);
    tiny_check(kl_kv_cache_open(tiny.model, 1000, &kv, &err), &err);
    tiny_check(kl_sequence_new(kv, &sequence, &err), &err);
    tiny_check(kl_sequence_reserve(sequence, n, &err), &err);
    float *logits = calloc(n * n_vocab, sizeof *logits);
    struct kl_row *rows = calloc(n, sizeof *rows);
    assert_true(logits != NULL && rows != NULL);
    for (size_t i = 0; i < n; i++)
        rows[i] = (struct kl_row){.sequence = sequence,
                                  .token = i < N_PROMPT ? q->prompt[i]
                                                        : reported->tokens[i - N_PROMPT][0].id,
                                  .logits = logits + i * n_vocab};
    tiny_check(kl_forward_run(forward, rows, n, NULL, NULL, &err), &err);
    for (size_t i = 0; i < reported->n; i++)
        expect_softmax(logits + (N_PROMPT - 1 + i) * n_vocab, usable, reported->tokens[i]);
    free(rows);
    free(logits);
    kl_sequence_free(sequence);
    kl_kv_cache_close(kv);
    kl_forward_close(forward);
}

static void test_logprobs_of_answers(void **state)
{
    (void)state;
    static const struct kl_sampling samplings[] = {
        {.top_p = 1.0f, .repetition_penalty = 1.0f},
        {.top_p = 1.0f, .repetition_penalty = 1.5f, .frequency_penalty = 1.0f},
        {.top_p = 0.9f, .repetition_penalty = 1.0f, .temperature = 1.2f, .top_k = 50},
        {.top_p = 1.0f, .repetition_penalty = 1.0f, .temperature = 0.1f, .ignore_eos = true},
        {.top_p = 1.0f, .repetition_penalty = 1.0f, .temperature = 2.0f},
    };
    enum { N = sizeof samplings / sizeof *samplings };
    static struct question questions[N];
    static struct reported alone[N], together;
    struct kl_engine *engine = open_engine(usual);
    struct kl_request *requests[N];
    size_t n_checked = 0;
    for (size_t i = 0; i < N; i++) {
        make_question(&questions[i], N_PROMPT, N_ANSWER, 20 + i);
        questions[i].options.sampling = samplings[i];
        struct answer silent = ask(engine, &questions[i]);
        assert_int_equal(silent.n_token, 0);
        questions[i].options.logprobs = true;
        questions[i].options.top_logprobs = N_TOP;
        collect(engine, submit(engine, &questions[i]), &alone[i]);
        assert_string_equal(alone[i].text.data, silent.text.data); /* nothing else changes */
        assert_int_equal(alone[i].finish, silent.finish);
        assert_in_range(alone[i].n, 1, silent.answer_tokens);
        kl_buffer_release(&silent.text);
        /* a control token inside an answer is not reported, so it cannot be run again */
        if (alone[i].n < N_ANSWER)
            continue;
        check_reported(&questions[i], &alone[i]);
        n_checked++;
    }
    assert_true(n_checked >= 3);
    for (size_t i = 0; i < N; i++)
        requests[i] = submit(engine, &questions[i]);
    for (size_t i = 0; i < N; i++) {
        collect(engine, requests[i], &together);
        assert_int_equal(together.n, alone[i].n);
        for (size_t n = 0; n < together.n; n++)
            for (size_t j = 0; j <= N_TOP; j++) {
                assert_int_equal(together.tokens[n][j].id, alone[i].tokens[n][j].id);
                assert_true(together.tokens[n][j].value == alone[i].tokens[n][j].value);
            }
        assert_string_equal(together.text.data, alone[i].text.data);
        kl_buffer_release(&together.text);
        kl_buffer_release(&alone[i].text);
    }
    kl_engine_close(engine);
}

/* A client that reads nothing pauses its own request, and gets all tokens later. */
static void test_a_client_that_does_not_read(void **state)
{
    (void)state;
    static struct question q;
    make_long_question(&q, 20, ENDLESS);
    q.options.logprobs = true;
    q.options.top_logprobs = KL_MAX_TOP_LOGPROBS;
    struct kl_engine *engine = open_engine(usual);
    struct kl_request *r = submit(engine, &q);
    struct kl_engine_stats stats = {0};
    uint64_t start = kl_now_ns();
    while (stats.paused == 0) {
        kl_engine_stats(engine, &stats);
        assert_true(kl_seconds_since(start) < PATIENCE_MS / 1000);
    }
    struct answer late, alone = ask_alone(&q);
    answer_init(&late);
    answers_wait(engine, &r, &late, 1, NULL);
    expect_same(&late, &alone);
    assert_int_equal(late.n_token, alone.n_token);
    assert_true(late.token_hash == alone.token_hash && late.n_token > 0);
    kl_request_release(r);
    kl_buffer_release(&late.text);
    kl_buffer_release(&alone.text);
    kl_engine_close(engine);
}

static void test_too_many_are_refused(void **state)
{
    (void)state;
    static struct question q;
    struct kl_engine *engine = open_engine(usual);
    struct kl_request *r;
    struct kl_error err;
    make_question(&q, 5, 5, 1);
    q.options.top_logprobs = KL_MAX_TOP_LOGPROBS + 1;
    assert_int_equal(kl_engine_submit(engine, &q.options, &r, &err), KL_ERR_INVALID);
    assert_non_null(strstr(err.text, "top_logprobs"));
    kl_engine_close(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logprobs_of_answers),
        cmocka_unit_test(test_a_client_that_does_not_read),
        cmocka_unit_test(test_too_many_are_refused),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
