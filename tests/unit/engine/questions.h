/*
 * Requests to an engine on the tiny model, and their answers. Include after <cmocka.h>.
 */
#ifndef KL_TESTS_QUESTIONS_H
#define KL_TESTS_QUESTIONS_H

#include <unistd.h>

#include "tiny_model.h"

static struct tiny tiny;

/* Before and after a group of tests. */
static inline int open_tiny(void **state)
{
    (void)state;
    tiny_open(&tiny);
    return 0;
}

static inline int close_tiny(void **state)
{
    (void)state;
    tiny_close(&tiny);
    return 0;
}

static const struct kl_engine_options usual = {.ctx_size = 4096,
                                               .parallel = 3,
                                               .queue_size = 4,
                                               .prefill_chunk = 32,
                                               .n_threads = 2,
                                               .draft_max = 7};

static inline struct kl_engine *open_engine(struct kl_engine_options options)
{
    struct kl_engine *engine;
    struct kl_error err;
    tiny_check(kl_engine_open(tiny.model, tiny.tokenizer, &options, &engine, &err), &err);
    return engine;
}

#define MAX_PROMPT 4096

struct question {
    int32_t prompt[MAX_PROMPT];
    struct kl_request_options options;
};

static inline void make_question(struct question *q, size_t n_prompt, size_t max_tokens,
                                 uint64_t seed)
{
    random_tokens(q->prompt, n_prompt, seed);
    q->options = (struct kl_request_options){
        .tokens = q->prompt,
        .n_tokens = n_prompt,
        .max_tokens = max_tokens,
        .sampling = {.top_p = 1.0f, .repetition_penalty = 1.0f, .seed = seed},
    };
}

static inline struct kl_request *submit(struct kl_engine *engine, const struct question *q)
{
    struct kl_request *request;
    struct kl_error err;
    tiny_check(kl_engine_submit(engine, &q->options, &request, &err), &err);
    return request;
}

/* The answer of a request that runs alone. */
static inline struct answer ask(struct kl_engine *engine, const struct question *q)
{
    struct answer answer;
    answer_init(&answer);
    struct kl_request *request = submit(engine, q);
    answers_wait(engine, &request, &answer, 1, NULL);
    kl_request_release(request);
    return answer;
}

/* The answer of a request that runs alone, and without drafts. */
static inline struct answer ask_alone(const struct question *q)
{
    struct kl_engine_options options = usual;
    options.parallel = 1;
    options.draft_max = 0;
    options.prefill_chunk = 64;
    struct kl_engine *engine = open_engine(options);
    struct answer answer = ask(engine, q);
    kl_engine_close(engine);
    return answer;
}

static inline void expect_same(const struct answer *a, const struct answer *b)
{
    assert_string_equal(a->text.data, b->text.data);
    assert_int_equal(a->finish, b->finish);
    assert_int_equal(a->answer_tokens, b->answer_tokens);
    assert_int_equal(a->prompt_tokens, b->prompt_tokens);
}

/* A question whose answer has n_tokens: a random model may end its turn before that. */
static inline void make_long_question(struct question *q, size_t n_prompt, size_t n_tokens)
{
    for (uint64_t seed = 1; seed < 50; seed++) {
        make_question(q, n_prompt, n_tokens, seed);
        struct answer answer = ask_alone(q);
        kl_buffer_release(&answer.text);
        if (answer.finish == KL_FINISH_LENGTH)
            return;
    }
    fail_msg("no prompt has an answer of %zu tokens", n_tokens);
}

/* Tokens of an answer longer than a ring: until it is polled, the request keeps its slot. */
#define ENDLESS 1500

/* The plan of an engine whose budget holds `tokens` tokens in addition to everything else. */
static inline struct kl_plan plan_for(struct kl_engine_options options, size_t tokens)
{
    struct kl_plan plan = {.budget = ((uint64_t)1 << 30) - 1}; /* small, as that to return */
    options.plan = &plan;
    kl_engine_close(open_engine(options));
    uint64_t others = kl_plan_total(&plan) - (uint64_t)plan.kv_tokens * plan.kv_token_bytes;
    return (struct kl_plan){.budget = others + (uint64_t)tokens * plan.kv_token_bytes};
}

/* Waits for a state that no event reports. */
static inline struct kl_engine_stats stats_when(struct kl_engine *engine,
                                                bool (*wanted)(const struct kl_engine_stats *))
{
    struct kl_engine_stats stats;
    uint64_t start = kl_now_ns();
    for (;;) {
        kl_engine_stats(engine, &stats);
        if (wanted(&stats))
            return stats;
        if (kl_seconds_since(start) > PATIENCE_MS / 1e3)
            fail_msg("the engine did not reach the state in %d seconds", PATIENCE_MS / 1000);
        usleep(500);
    }
}

static inline bool nothing_left(const struct kl_engine_stats *s)
{
    return s->running == 0 && s->queued == 0;
}

static inline uint64_t finished(const struct kl_engine_stats *s)
{
    return s->requests_ended[KL_FINISH_STOP] + s->requests_ended[KL_FINISH_LENGTH];
}

#endif
