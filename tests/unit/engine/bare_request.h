/*
 * Requests without an engine: for tests of a request, its events and its answer. Include after
 * <cmocka.h>.
 */
#ifndef KL_TESTS_BARE_REQUEST_H
#define KL_TESTS_BARE_REQUEST_H

#include "engine/answer.h"
#include "engine/request_events.h"
#include "tiny_model.h"

static struct kl_gguf *gguf;
static struct kl_tokenizer *tokenizer;
static struct kl_wakeup wakeup;

static inline int open_tokenizer(void **state)
{
    (void)state;
    struct kl_error err;
    kl_wakeup_init(&wakeup);
    tiny_check(kl_gguf_open(tiny_path(), &gguf, &err), &err);
    tiny_check(kl_tokenizer_open(gguf, &tokenizer, &err), &err);
    return 0;
}

static inline int close_tokenizer(void **state)
{
    (void)state;
    kl_tokenizer_close(tokenizer);
    kl_gguf_close(gguf);
    kl_wakeup_release(&wakeup);
    return 0;
}

static inline struct kl_request *new_guarded(size_t max_tokens, const char *const *stops,
                                             size_t n_stops, bool loop_guard)
{
    static const int32_t prompt[] = {1, 2, 3};
    struct kl_request_options options = {
        .tokens = prompt,
        .n_tokens = 3,
        .max_tokens = max_tokens,
        .sampling = {.top_p = 1.0f, .repetition_penalty = 1.0f},
        .stops = stops,
        .n_stops = n_stops,
        .loop_guard = loop_guard,
    };
    struct kl_request *request;
    struct kl_error err;
    tiny_check(kl_request_new(KL_REQUEST_ANSWER, &options, 100000, kl_tokenizer_size(tokenizer), 64,
                              tokenizer, &wakeup, &request, &err),
               &err);
    return request;
}

static inline struct kl_request *new_request(size_t max_tokens, const char *const *stops,
                                             size_t n_stops)
{
    return new_guarded(max_tokens, stops, n_stops, false);
}

/* The engine's part: accepts tokens until the answer or the tokens end. */
static inline enum kl_answer accept_all(struct kl_request *request, const int32_t *ids, size_t n)
{
    enum kl_answer answer = KL_ANSWER_CONTINUES;
    for (size_t i = 0; i < n && answer == KL_ANSWER_CONTINUES; i++) {
        struct kl_error err = {0};
        answer = kl_answer_accept(request, ids[i], &err);
        kl_request_send_text(request);
        assert_string_equal(err.text, "");
    }
    return answer;
}

/* The client's part, after the engine's. */
static inline void read_answer(struct kl_request *request, struct answer *answer)
{
    answer_init(answer);
    struct kl_event event;
    while (kl_request_poll(request, &event))
        answer_add(answer, &event);
    kl_request_release(request);
}

static inline int32_t byte_token(unsigned char byte)
{
    char c = (char)byte;
    int32_t id = kl_tokenizer_find(tokenizer, &c, 1);
    assert_true(id >= 0);
    return id;
}

static inline int32_t end_token(void)
{
    int32_t id = kl_tokenizer_find(tokenizer, "<|im_end|>", 10);
    assert_true(id >= 0 && kl_tokenizer_is_end(tokenizer, id));
    return id;
}

/* A token for every byte of text. */
static inline size_t spell(const char *text, int32_t *ids)
{
    size_t n = 0;
    for (; text[n] != '\0'; n++)
        ids[n] = byte_token((unsigned char)text[n]);
    return n;
}

#endif
