/*
 * Shared by the tests of the engine: the tiny random model (tests/tools/make_tiny_model.py), and
 * the client's side of a request. Include after <cmocka.h>.
 */
#ifndef KL_TESTS_TINY_MODEL_H
#define KL_TESTS_TINY_MODEL_H

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/utf8.h"
#include "engine/engine.h"
#include "format/gguf.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "text/tokenizer.h"

#define TINY_ORDINARY 600 /* ids below are neither control tokens nor padding */
#define PATIENCE_MS   120000

struct tiny {
    struct kl_gguf *gguf;
    struct kl_tokenizer *tokenizer;
    struct kl_model *model;
};

static inline void tiny_check(enum kl_status status, const struct kl_error *err)
{
    if (status != KL_OK)
        fail_msg("%s", err->text);
}

static inline const char *tiny_path(void)
{
    const char *path = getenv("KINGLET_TEST_TINY_MODEL");
    if (path == NULL)
        fail_msg("set KINGLET_TEST_TINY_MODEL to a file made by tests/tools/make_tiny_model.py");
    return path;
}

static inline void tiny_open(struct tiny *tiny)
{
    *tiny = (struct tiny){0};
    struct kl_error err;
    tiny_check(kl_gguf_open(tiny_path(), &tiny->gguf, &err), &err);
    tiny_check(kl_tokenizer_open(tiny->gguf, &tiny->tokenizer, &err), &err);
    struct kl_model_options options = {0};
    tiny_check(kl_kernels_select("auto", &options.kernels, &err), &err);
    tiny_check(kl_model_open(tiny->gguf, &options, &tiny->model, &err), &err);
}

static inline void tiny_close(struct tiny *tiny)
{
    kl_model_close(tiny->model);
    kl_tokenizer_close(tiny->tokenizer);
    kl_gguf_close(tiny->gguf);
}

static inline void random_tokens(int32_t *tokens, size_t n, uint64_t seed)
{
    uint64_t x = seed * 2 + 1;
    for (size_t i = 0; i < n; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        tokens[i] = (int32_t)((x >> 33) % TINY_ORDINARY);
    }
}

/* The events of a request, summed up. */
struct answer {
    struct kl_buffer text;
    char why[512];
    enum kl_status status;
    enum kl_finish finish;
    uint32_t prompt_tokens, cached_tokens, answer_tokens, wasted_tokens;
    uint32_t n_queued, n_prefill, n_token, n_text; /* events */
    uint32_t last_position, prefilled, last_n_tokens;
    uint64_t token_hash; /* of all log-probabilities */
    bool done;
};

static inline void answer_init(struct answer *a)
{
    *a = (struct answer){0};
    kl_buffer_init(&a->text, 1 << 20);
    assert_int_equal(kl_buffer_append(&a->text, "", 0), KL_OK);
}

/* Adds an event and checks that it may come now. */
static inline void answer_add(struct answer *a, const struct kl_event *event)
{
    assert_false(a->done);
    switch (event->type) {
    case KL_EVENT_QUEUED:
        assert_true(a->n_prefill == 0 && a->n_text == 0);
        a->last_position = event->position;
        a->n_queued++;
        break;
    case KL_EVENT_PREFILL:
        assert_int_equal(a->n_text, 0);
        assert_true(event->done > a->prefilled && event->done <= event->total);
        a->prefilled = event->done;
        a->n_prefill++;
        break;
    case KL_EVENT_TOKEN:
        assert_in_range(event->n_logprobs, 1, 1 + KL_MAX_TOP_LOGPROBS);
        assert_true(event->text_at >= a->text.len); /* its text comes later */
        for (uint32_t i = 0; i < event->n_logprobs; i++) {
            const struct kl_logprob *l = &event->logprobs[i];
            uint64_t bits;
            assert_true(l->value <= 0.0 && (i < 2 || l->value <= (l - 1)->value));
            memcpy(&bits, &l->value, sizeof bits);
            a->token_hash = (a->token_hash + bits) * 6364136223846793005u + (uint64_t)l->id;
        }
        a->n_token++;
        break;
    case KL_EVENT_TEXT:
        assert_int_equal(a->prefilled, event->total != 0 ? event->total : a->prefilled);
        assert_true(event->text_len > 0 && strlen(event->text) <= event->text_len);
        assert_true(kl_utf8_valid(event->text, event->text_len));
        assert_true(event->n_tokens >= a->last_n_tokens);
        assert_int_equal(kl_buffer_append(&a->text, event->text, event->text_len), KL_OK);
        a->last_n_tokens = event->n_tokens;
        a->n_text++;
        break;
    case KL_EVENT_DONE:
        a->finish = event->finish;
        a->prompt_tokens = event->prompt_tokens;
        a->cached_tokens = event->cached_tokens;
        a->answer_tokens = event->answer_tokens;
        a->wasted_tokens = event->wasted_tokens;
        assert_true(event->text_len < sizeof a->why);
        memcpy(a->why, event->text, event->text_len + 1);
        a->status = event->status;
        assert_true(event->queue_seconds >= 0.0 && event->prefill_seconds >= 0.0 &&
                    event->decode_seconds >= 0.0);
        a->done = true;
        break;
    }
}

/* Acts as a client: sleeps until the engine has events, then polls all requests,
 * until wanted(context) or, with NULL, until all are done. */
static inline void answers_wait(struct kl_engine *engine, struct kl_request **requests,
                                struct answer *answers, size_t n, bool (*wanted)(struct answer *))
{
    uint64_t start = kl_now_ns();
    for (;;) {
        kl_engine_wake_clear(engine);
        bool enough = true;
        for (size_t i = 0; i < n; i++) {
            struct kl_event event;
            while (!answers[i].done && (wanted == NULL || !wanted(&answers[i])) &&
                   kl_request_poll(requests[i], &event))
                answer_add(&answers[i], &event);
            if (!answers[i].done && (wanted == NULL || !wanted(&answers[i])))
                enough = false;
        }
        if (enough)
            return;
        struct pollfd wake = {.fd = kl_engine_wake_fd(engine), .events = POLLIN};
        if (poll(&wake, 1, PATIENCE_MS) == 0 || kl_seconds_since(start) > PATIENCE_MS / 1e3)
            fail_msg("the engine sent nothing for %d seconds", PATIENCE_MS / 1000);
    }
}

#endif
