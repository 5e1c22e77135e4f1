#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "../grammar/toy_rules.h"
#include "bare_request.h"

static void expect_answer(const char *spelled, bool with_end, size_t max_tokens,
                          const char *const *stops, size_t n_stops, enum kl_answer how,
                          const char *shown)
{
    struct kl_request *request = new_request(max_tokens, stops, n_stops);
    int32_t ids[256];
    size_t n = spell(spelled, ids);
    if (with_end)
        ids[n++] = end_token();
    assert_int_equal(accept_all(request, ids, n), how);
    kl_request_finish(request, KL_FINISH_STOP, NULL, kl_now_ns());
    struct answer answer;
    read_answer(request, &answer);
    assert_true(answer.done);
    assert_string_equal(answer.text.data, shown);
    kl_buffer_release(&answer.text);
}

static void test_bytes_become_whole_code_points(void **state)
{
    (void)state;
    expect_answer("你好😀é.", true, 100, NULL, 0, KL_ANSWER_STOPS, "你好😀é.");
    /* cut in the middle of a code point: by the limit, by the end token, by another byte */
    expect_answer("a你", false, 3, NULL, 0, KL_ANSWER_FULL, "a\xEF\xBF\xBD");
    expect_answer("a\xE4\xBD", true, 100, NULL, 0, KL_ANSWER_STOPS, "a\xEF\xBF\xBD");
    expect_answer("a\xE4\xBDz", true, 100, NULL, 0, KL_ANSWER_STOPS, "a\xEF\xBF\xBDz");
}

static void test_stop_strings(void **state)
{
    (void)state;
    const char *stops[] = {"END", "停止"};
    expect_answer("one END two", true, 100, stops, 2, KL_ANSWER_STOPS, "one ");
    expect_answer("一停止二", true, 100, stops, 2, KL_ANSWER_STOPS, "一");
    expect_answer("END", false, 100, stops, 2, KL_ANSWER_STOPS, "");
    /* withheld text is sent when it is no stop string */
    expect_answer("one EN", true, 100, stops, 2, KL_ANSWER_STOPS, "one EN");
    expect_answer("one ENd 停了", true, 100, stops, 2, KL_ANSWER_STOPS, "one ENd 停了");
    expect_answer("one EN", false, 6, stops, 2, KL_ANSWER_FULL, "one EN");
    expect_answer("一停\xE6\xAD", true, 100, stops, 2, KL_ANSWER_STOPS, "一停\xEF\xBF\xBD");
    /* the limit and a stop string at the same token: it stops */
    expect_answer("one END", false, 7, stops, 2, KL_ANSWER_STOPS, "one ");
}

/* Repeats "a" and checks how much of it is sent, and how the answer ends. */
static void expect_repetition(size_t max_tokens, const char *stop, bool loop_guard, size_t n,
                              enum kl_answer how, size_t shown)
{
    struct kl_request *request = new_guarded(max_tokens, &stop, stop != NULL, loop_guard);
    int32_t ids[300];
    for (size_t i = 0; i < 300; i++)
        ids[i] = byte_token('a');
    assert_int_equal(accept_all(request, ids, n - 1), KL_ANSWER_CONTINUES);
    assert_int_equal(accept_all(request, ids, 1), how);
    kl_request_finish(request, KL_FINISH_REPETITION, NULL, kl_now_ns());
    struct answer answer;
    read_answer(request, &answer);
    assert_int_equal(answer.text.len, shown);
    assert_int_equal(strspn(answer.text.data, "a"), shown);
    kl_buffer_release(&answer.text);
}

static void test_an_answer_that_repeats_itself(void **state)
{
    (void)state;
    expect_repetition(1000, NULL, true, 256, KL_ANSWER_REPEATS, 256);
    expect_repetition(1000, NULL, false, 300, KL_ANSWER_CONTINUES, 300);
    /* withheld text is sent; REPEATS goes before FULL, and STOPS before REPEATS */
    expect_repetition(1000, "aab", true, 256, KL_ANSWER_REPEATS, 256);
    expect_repetition(256, NULL, true, 256, KL_ANSWER_REPEATS, 256);
    expect_repetition(255, NULL, true, 255, KL_ANSWER_FULL, 255);
    char stop[KL_MAX_STOP_SIZE + 1] = {0};
    memset(stop, 'a', KL_MAX_STOP_SIZE);
    expect_repetition(1000, stop, true, 256, KL_ANSWER_STOPS, 0);
}

static void test_text_is_sent_with_its_token(void **state)
{
    (void)state;
    const char *stops[] = {"xyz"};
    struct kl_request *request = new_request(100, stops, 1);
    static const char *const spelled = "a好xyb";
    static const char *const shown[] = {"a", "", "", "好", "", "", "xyb"};
    for (size_t i = 0; spelled[i] != '\0'; i++) {
        struct kl_error err;
        assert_int_equal(kl_answer_accept(request, byte_token((unsigned char)spelled[i]), &err),
                         KL_ANSWER_CONTINUES);
        bool sent = kl_request_send_text(request);
        struct kl_event event;
        assert_int_equal(sent, shown[i][0] != '\0');
        assert_int_equal(kl_request_poll(request, &event), sent);
        if (!sent)
            continue;
        assert_int_equal(event.type, KL_EVENT_TEXT);
        assert_int_equal(event.n_tokens, i + 1);
        assert_string_equal(event.text, shown[i]);
        assert_int_equal(event.text_len, strlen(shown[i]));
    }
    kl_request_finish(request, KL_FINISH_CANCELLED, NULL, kl_now_ns());
    kl_request_release(request);
}

static void test_control_tokens_are_not_shown(void **state)
{
    (void)state;
    struct kl_request *request = new_request(100, NULL, 0);
    int32_t control = kl_tokenizer_find(tokenizer, "<|im_start|>", 12);
    int32_t shown = kl_tokenizer_find(tokenizer, "<tool_call>", 11);
    assert_true(control >= 0 && shown >= 0);
    const int32_t ids[] = {byte_token('a'), control, shown, end_token()};
    assert_int_equal(accept_all(request, ids, 4), KL_ANSWER_STOPS);
    assert_int_equal(kl_request_answer_tokens(request), 3); /* the end token does not count */
    kl_request_finish(request, KL_FINISH_STOP, NULL, kl_now_ns());
    struct answer answer;
    read_answer(request, &answer);
    assert_string_equal(answer.text.data, "a<tool_call>");
    assert_int_equal(answer.answer_tokens, 3);
    kl_buffer_release(&answer.text);
}

/* A long token after much withheld text is more than an event holds. */
static void test_long_text_is_cut_into_events(void **state)
{
    (void)state;
    enum { HELD = KL_MAX_STOP_SIZE - 1, CHARACTERS = 341 };
    char stop[KL_MAX_STOP_SIZE + 1], big[3 * CHARACTERS];
    memset(stop, 'a', KL_MAX_STOP_SIZE);
    stop[KL_MAX_STOP_SIZE] = '\0';
    for (size_t i = 0; i < CHARACTERS; i++)
        memcpy(big + 3 * i, "停", 3);
    const char *stops[] = {stop};
    struct kl_request *request = new_request(1000, stops, 1);
    struct kl_error err;
    int32_t id, a = byte_token('a');
    tiny_check(kl_tokenizer_add(tokenizer, big, sizeof big, false, &id, &err), &err);
    for (int i = 0; i < HELD; i++)
        assert_int_equal(accept_all(request, &a, 1), KL_ANSWER_CONTINUES);
    assert_int_equal(accept_all(request, &id, 1), KL_ANSWER_CONTINUES);

    struct kl_event event; /* whole code points each: 255 + 256 * 3 bytes, then the rest */
    assert_true(kl_request_poll(request, &event));
    assert_int_equal(event.text_len, HELD + 256 * 3);
    assert_true(kl_utf8_valid(event.text, event.text_len));
    assert_true(kl_request_poll(request, &event));
    assert_int_equal(event.text_len, sizeof big - 256 * 3);
    assert_true(kl_utf8_valid(event.text, event.text_len));
    assert_false(kl_request_poll(request, &event));
    kl_request_finish(request, KL_FINISH_STOP, NULL, kl_now_ns());
    kl_request_release(request);
}

/* ---- proposed tokens ------------------------------------------------------------------------- */

/* A request on the tiny model, step by step as the engine does it, with proposed tokens. */
enum {
    N_PROMPT = 40,
    N_ANSWER = 60,
    MAX_PROPOSED = 5,
    MAX_ROWS = N_PROMPT + N_ANSWER + MAX_PROPOSED
};

struct run {
    int32_t tokens[N_PROMPT + N_ANSWER];
    size_t n_tokens, n_passes;
    enum kl_answer end;
    struct answer shown;
};

/* Writes proposals for tokens[from...] to out and returns how many; known: an earlier run. */
typedef size_t propose_fn(const struct run *known, size_t from, int32_t *out, size_t max);

static size_t propose_nothing(const struct run *known, size_t from, int32_t *out, size_t max)
{
    (void)known, (void)from, (void)out, (void)max;
    return 0;
}

static size_t propose_known(const struct run *known, size_t from, int32_t *out, size_t max)
{
    size_t n = 0;
    for (; n < max && from + n < known->n_tokens; n++)
        out[n] = known->tokens[from + n];
    return n;
}

static size_t propose_wrong(const struct run *known, size_t from, int32_t *out, size_t max)
{
    size_t n = propose_known(known, from, out, max);
    for (size_t i = 0; i < n; i++)
        out[i] = (out[i] + 1) % TINY_ORDINARY;
    return n;
}

/* Right for 0 to MAX_PROPOSED tokens, depending on the position, then wrong. */
static size_t propose_half_known(const struct run *known, size_t from, int32_t *out, size_t max)
{
    size_t n = propose_known(known, from, out, max);
    for (size_t i = from % (MAX_PROPOSED + 1); i < n; i++)
        out[i] = (out[i] + 1) % TINY_ORDINARY;
    return n;
}

struct engine_parts {
    struct tiny tiny;
    struct kl_forward *forward;
    struct kl_kv_cache *kv;
    struct kl_sampler *sampler;
    struct kl_batch batch;
    struct kl_forcer forcer;
};

static void open_parts(struct engine_parts *e)
{
    struct kl_error err;
    tiny_open(&e->tiny);
    size_t n_vocab = kl_model_config(e->tiny.model)->n_vocab;
    size_t n_tokens = kl_tokenizer_size(e->tiny.tokenizer);
    size_t usable = n_tokens < n_vocab ? n_tokens : n_vocab;
    tiny_check(kl_forward_open(e->tiny.model, MAX_ROWS, 1, &e->forward, &err), &err);
    tiny_check(kl_kv_cache_open(e->tiny.model, 1000, &e->kv, &err), &err);
    tiny_check(kl_sampler_open(usable, &e->sampler, &err), &err);
    tiny_check(kl_batch_open(&e->batch, 1, MAX_ROWS, 1 + MAX_PROPOSED, 1 + MAX_PROPOSED, n_vocab,
                             usable, kl_mask_words(e->tiny.tokenizer), &err),
               &err);
    tiny_check(kl_forcer_open(&e->forcer, e->tiny.tokenizer, usable, KL_DEFAULT_RULE_BYTES, &err),
               &err);
}

static void close_parts(struct engine_parts *e)
{
    kl_forcer_release(&e->forcer);
    kl_batch_release(&e->batch);
    kl_sampler_close(e->sampler);
    kl_kv_cache_close(e->kv);
    kl_forward_close(e->forward);
    tiny_close(&e->tiny);
}

/* Fills the batch for a pass with other proposed tokens that is then abandoned. */
static void abandon_pass(struct engine_parts *e, struct kl_request *request)
{
    size_t n_proposed = request->n_proposed, from = request->n_tokens;
    int32_t proposed[MAX_PROPOSED], *behind = request->tokens + from;
    size_t left = request->max_answer - kl_request_answer_tokens(request);
    request->n_proposed = left < MAX_PROPOSED ? left : MAX_PROPOSED;
    memcpy(proposed, behind, request->n_proposed * sizeof *proposed);
    for (size_t i = 0; i < request->n_proposed; i++)
        behind[i] = (int32_t)((from * 7 + i * 31) % TINY_ORDINARY);
    kl_batch_clear(&e->batch);
    kl_batch_add(&e->batch, 0, request,
                 from + request->n_proposed - kl_sequence_length(request->sequence));
    memcpy(behind, proposed, request->n_proposed * sizeof *proposed);
    request->n_proposed = n_proposed;
}

static enum kl_answer run_pass(struct engine_parts *e, struct kl_request *request)
{
    struct kl_error err;
    struct kl_sequence *sequence = request->sequence;
    size_t before = request->n_tokens, end = before + request->n_proposed, n_used;
    size_t n_rows = end - kl_sequence_length(sequence);
    tiny_check(kl_sequence_reserve(sequence, end, &err), &err);
    kl_batch_clear(&e->batch);
    kl_batch_add(&e->batch, 0, request, n_rows);
    struct kl_answer_rows *rows = &e->batch.answers[0];
    bool is_free = request->rule.rule == NULL;
    assert_true(is_free ? rows->n == end - before + 1 : rows->n <= end - before + 1);
    tiny_check(kl_forward_run(e->forward, e->batch.rows, e->batch.n_rows, NULL, NULL, &err), &err);
    enum kl_answer answer = kl_answer_choose(request, e->sampler, rows, &n_used, &err);
    assert_in_range(n_used, rows->n > 0, end - before + 1);
    assert_int_equal(request->n_proposed, 0);
    if (before - 1 + n_used < end && rows->n > 0)
        kl_sequence_truncate(sequence, before - 1 + n_used);
    return answer;
}

static struct run run_request(struct engine_parts *e, const struct kl_request_options *options,
                              propose_fn *propose, const struct run *known)
{
    struct run run = {.end = KL_ANSWER_CONTINUES};
    struct kl_request *r;
    struct kl_error err;
    tiny_check(kl_request_new(KL_REQUEST_ANSWER, options, 1000, e->batch.n_vocab, 64,
                              e->tiny.tokenizer, &wakeup, &r, &err),
               &err);
    tiny_check(kl_sequence_new(e->kv, &r->sequence, &err), &err);
    kl_batch_reset_slot(&e->batch, 0);
    if (options->rule != NULL)
        tiny_check(kl_request_rule_open(&r->rule, &e->forcer, NULL, 0, &err), &err);
    if (options->rule != NULL)
        run.end = kl_answer_follow_rule(r, &err);
    for (; run.end == KL_ANSWER_CONTINUES; run.n_passes++) {
        size_t left = r->max_answer - kl_request_answer_tokens(r);
        size_t max = r->n_forced > 0 ? 0 : left < MAX_PROPOSED ? left : MAX_PROPOSED;
        r->n_proposed = propose(known, r->n_tokens, r->tokens + r->n_tokens, max);
        if (options->rule != NULL)
            r->n_proposed =
                kl_request_rule_agrees(&r->rule, r->tokens + r->n_tokens, r->n_proposed);
        if (known != NULL && r->n_tokens % 2 == 0)
            abandon_pass(e, r);
        run.end = run_pass(e, r);
        assert_true(kl_request_has_room(r));
        kl_request_send_text(r);
    }
    run.n_tokens = r->n_tokens;
    memcpy(run.tokens, r->tokens, r->n_tokens * sizeof *r->tokens);
    kl_sequence_free(r->sequence);
    kl_request_rule_close(&r->rule);
    kl_request_finish(r, kl_answer_finish(run.end), NULL, kl_now_ns());
    read_answer(r, &run.shown);
    return run;
}

static void expect_same_run(const struct run *a, const struct run *b)
{
    assert_int_equal(a->end, b->end);
    assert_int_equal(a->n_tokens, b->n_tokens);
    assert_memory_equal(a->tokens, b->tokens, a->n_tokens * sizeof *a->tokens);
    assert_string_equal(a->shown.text.data, b->shown.text.data);
    assert_int_equal(a->shown.finish, b->shown.finish);
    assert_int_equal(a->shown.answer_tokens, b->shown.answer_tokens);
    assert_int_equal(a->shown.n_token, b->shown.n_token);
    assert_true(a->shown.token_hash == b->shown.token_hash);
}

/* Compares runs with right and wrong proposals with the run without, and returns that. */
static struct run expect_same_with_proposals(struct engine_parts *e,
                                             const struct kl_request_options *options)
{
    static propose_fn *const proposals[] = {propose_known, propose_wrong, propose_half_known};
    struct run plain = run_request(e, options, propose_nothing, NULL);
    size_t n_answer = plain.n_tokens - options->n_tokens;
    for (size_t i = 0; i < 3; i++) {
        struct run run = run_request(e, options, proposals[i], &plain);
        expect_same_run(&plain, &run);
        if (proposals[i] == propose_wrong)
            assert_int_equal(run.n_passes, plain.n_passes);
        if (proposals[i] == propose_known)
            assert_in_range(run.n_passes, 1, n_answer / (MAX_PROPOSED + 1) + 2);
        kl_buffer_release(&run.shown.text);
    }
    return plain;
}

static const struct kl_logit biases[] = {{3.0f, 70}, {-3.0f, 80}, {1.0f, 90}};
static const struct kl_sampling samplings[] = {
    {.top_p = 1.0f, .repetition_penalty = 1.0f},
    {.top_p = 1.0f, .repetition_penalty = 1.3f},
    {.temperature = 1.5f, .top_p = 1.0f, .repetition_penalty = 1.0f, .seed = 1},
    {.temperature = 0.8f, .top_p = 0.9f, .top_k = 40, .repetition_penalty = 1.2f, .seed = 2},
    {.temperature = 1.0f, .top_p = 1.0f, .repetition_penalty = 0.9f, .seed = 3},
    {.top_p = 1.0f,
     .repetition_penalty = 1.0f,
     .frequency_penalty = 0.5f,
     .presence_penalty = 0.3f,
     .biases = biases,
     .n_biases = 3},
    {.temperature = 0.5f,
     .top_p = 1.0f,
     .typical_p = 0.8f,
     .repetition_penalty = 1.1f,
     .repetition_window = 10,
     .dry = {.multiplier = 1.0f, .base = 1.75f, .allowed_length = 1, .window = 30},
     .seed = 4},
    {.top_p = 1.0f,
     .repetition_penalty = 1.0f,
     .dry = {.multiplier = 4.0f, .base = 2.0f, .allowed_length = 1},
     .ignore_eos = true},
};

/* Also among forced tokens, which need no row of their own to be right. */
static void test_proposed_tokens_change_no_ruled_answer(void **state)
{
    (void)state;
    static const char *const texts[] = {"[\"one\", \"two\", \"three\", \"four\"]",
                                        "[\"one\", \"two\", \"thirty\", \"four\", \"five\"]",
                                        "[\"ten\", \"two\", \"thirty\", \"four\", \"five\"]",
                                        "[\"ten\", \"twenty\", \"thirty\", \"four\"]"};
    struct toy_list list = {.most = 12, .is_told = true};
    struct toy_set set = {.texts = texts, .n = 4};
    kl_rule_init(&list.rule, &toy_list_kind);
    kl_rule_init(&set.rule, &toy_set_kind);
    struct kl_rule *const rules[] = {&list.rule, &set.rule};
    struct engine_parts e;
    struct kl_token_trie *trie;
    struct kl_error err;
    open_parts(&e);
    tiny_check(kl_token_trie_open(e.tiny.tokenizer, &trie, &err), &err);
    int32_t prompt[N_PROMPT];
    size_t rounds = getenv("KINGLET_TEST_BRIEF") != NULL ? 1 : 2;
    for (size_t i = 0; i < rounds * sizeof samplings / sizeof *samplings; i++) {
        random_tokens(prompt, N_PROMPT, i);
        struct kl_request_options options = {.tokens = prompt,
                                             .n_tokens = N_PROMPT,
                                             .max_tokens = N_ANSWER,
                                             .rule = rules[i % 2],
                                             .trie = trie,
                                             .sampling = samplings[i / 2]};
        struct run plain = expect_same_with_proposals(&e, &options);
        assert_true(plain.shown.text.data[0] == '[');
        /* with log-probabilities, forced tokens have rows of their own, and are the same */
        options.logprobs = true;
        struct run told = run_request(&e, &options, propose_nothing, NULL);
        struct run guessed = run_request(&e, &options, propose_known, &told);
        expect_same_run(&told, &guessed);
        assert_int_equal(told.shown.n_token, told.n_tokens - N_PROMPT);
        assert_true(told.n_passes >= plain.n_passes);
        plain.shown.n_token = told.shown.n_token;
        plain.shown.token_hash = told.shown.token_hash;
        expect_same_run(&plain, &told);
        kl_buffer_release(&told.shown.text);
        kl_buffer_release(&guessed.shown.text);
        kl_buffer_release(&plain.shown.text);
    }
    kl_token_trie_close(trie);
    close_parts(&e);
}

static void test_proposed_tokens_change_no_answer(void **state)
{
    (void)state;
    struct engine_parts e;
    open_parts(&e);
    int32_t prompt[N_PROMPT];
    for (size_t i = 0; i < sizeof samplings / sizeof *samplings; i++) {
        random_tokens(prompt, N_PROMPT, i);
        struct kl_request_options options = {.tokens = prompt,
                                             .n_tokens = N_PROMPT,
                                             .max_tokens = N_ANSWER,
                                             .sampling = samplings[i],
                                             .top_logprobs = 3};
        struct run silent = expect_same_with_proposals(&e, &options);
        assert_int_equal(silent.shown.n_token, 0);
        options.logprobs = true; /* which changes nothing else */
        struct run plain = expect_same_with_proposals(&e, &options);
        assert_true(plain.shown.n_token > 0);
        silent.shown.n_token = plain.shown.n_token;
        silent.shown.token_hash = plain.shown.token_hash;
        expect_same_run(&silent, &plain);
        kl_buffer_release(&silent.shown.text);
        /* the same until a stop string that is complete inside a proposed run */
        const char *text = plain.shown.text.data;
        char stop[3] = {0};
        assert_true(plain.shown.text.len > 20);
        for (size_t at = plain.shown.text.len / 2; stop[0] == '\0' && text[at + 1] != '\0'; at++) {
            if (kl_utf8_valid(text + at, 2))
                memcpy(stop, text + at, 2);
        }
        if (stop[0] != '\0') {
            const char *stops[] = {stop};
            options.stops = stops;
            options.n_stops = 1;
            struct run stopped = expect_same_with_proposals(&e, &options);
            assert_int_equal(stopped.end, KL_ANSWER_STOPS);
            kl_buffer_release(&stopped.shown.text);
        }
        kl_buffer_release(&plain.shown.text);
    }
    close_parts(&e);
}

static size_t n_overflowing; /* of the last rows that follow */

/* Offers one token four times, as the chosen and as the proposed one; returns how many rows were
 * used. */
static size_t accept_proposed(int32_t id)
{
    enum { N = 4 };
    struct kl_error err;
    struct kl_sampler *sampler;
    size_t n_vocab = kl_tokenizer_size(tokenizer), n_used;
    tiny_check(kl_sampler_open(n_vocab, &sampler, &err), &err);
    struct kl_request *r = new_request(100, NULL, 0);
    struct kl_logit logits[N];
    struct kl_want wants[N];
    struct kl_candidates candidates[N];
    for (size_t i = 0; i < N; i++) {
        logits[i] = (struct kl_logit){.value = 1.0f, .id = id};
        wants[i] = (struct kl_want){.n_vocab = n_vocab, .top_k = 1, .margin = INFINITY};
        candidates[i] = (struct kl_candidates){.logits = &logits[i], .n = 1, .room = 1};
        if (i >= N - n_overflowing)
            candidates[i] = (struct kl_candidates){.logits = &logits[i], .overflow = true};
        r->tokens[r->n_tokens + i] = id;
    }
    r->n_proposed = N - 1;
    struct kl_seen seen = {0};
    struct kl_answer_rows rows = {.wants = wants, .candidates = candidates, .n = N, .seen = &seen};
    assert_int_equal(kl_answer_choose(r, sampler, &rows, &n_used, &err), KL_ANSWER_CONTINUES);
    assert_int_equal(kl_request_answer_tokens(r), n_used);
    kl_request_finish(r, KL_FINISH_CANCELLED, NULL, kl_now_ns());
    kl_request_release(r);
    kl_sampler_close(sampler);
    return n_used;
}

/* ---- log-probabilities ----------------------------------------------------------------------- */

static struct kl_request *new_with_logprobs(const char *const *stops, size_t n_stops)
{
    struct kl_request *r = new_request(1000, stops, n_stops);
    r->logprobs = true;
    r->top_logprobs = 2;
    return r;
}

static enum kl_answer accept_with_logprobs(struct kl_request *r, int32_t id)
{
    struct kl_error err;
    float *logits = calloc(kl_tokenizer_size(tokenizer), sizeof *logits);
    assert_non_null(logits);
    logits[id] = 1.0f;
    kl_answer_send_logprobs(r, logits, kl_tokenizer_size(tokenizer), id);
    free(logits);
    return kl_answer_accept(r, id, &err);
}

/* The tokens whose text_at is within the text that was sent are those of the answer. */
static void test_token_events_and_stop_strings(void **state)
{
    (void)state;
    const char *stops[] = {"xyz"};
    struct kl_request *r = new_with_logprobs(stops, 1);
    int32_t ids[20], control = kl_tokenizer_find(tokenizer, "<|im_start|>", 12);
    size_t n = spell("a好xyb", ids), n_tokens = 0, text = 0, at[20];
    ids[n++] = control; /* not shown: no event */
    n += spell("cxyz", ids + n);
    for (size_t i = 0; i < n; i++) {
        enum kl_answer answer = accept_with_logprobs(r, ids[i]);
        assert_int_equal(answer, i + 1 < n ? KL_ANSWER_CONTINUES : KL_ANSWER_STOPS);
        assert_int_equal(kl_request_send_text(r), ids[i] != control);
        struct kl_event event;
        while (kl_request_poll(r, &event)) {
            if (event.type == KL_EVENT_TEXT) {
                text += event.text_len;
                continue;
            }
            assert_int_equal(event.type, KL_EVENT_TOKEN);
            assert_int_equal(event.n_logprobs, 3);
            assert_int_equal(event.n_tokens, i);
            assert_int_equal(event.logprobs[0].id, ids[i]);
            assert_int_equal(event.logprobs[1].id, ids[i]);
            assert_true(event.text_at >= text);
            at[n_tokens++] = event.text_at;
        }
    }
    assert_int_equal(n_tokens, n - 1);
    static const size_t expected[] = {0, 1, 1, 1, 4, 5, 6, 7, 8, 9, 10};
    for (size_t i = 0; i < n_tokens; i++)
        assert_int_equal(at[i], expected[i]);
    assert_int_equal(text, strlen("a好xybc")); /* so the last three are not part of it */
    kl_request_finish(r, KL_FINISH_STOP, NULL, kl_now_ns());
    kl_request_release(r);
}

/* A ring of a client that does not poll fills up, and is never written to when it is full. */
static void test_a_full_ring_of_token_events(void **state)
{
    (void)state;
    struct kl_request *r = new_with_logprobs(NULL, 0);
    r->top_logprobs = KL_MAX_TOP_LOGPROBS;
    size_t steps = 0, n_tokens = 0;
    for (; kl_request_has_room(r); steps++) {
        for (int i = 0; i < KL_STEP_LOGPROBS; i++)
            assert_int_equal(accept_with_logprobs(r, byte_token('a')), KL_ANSWER_CONTINUES);
        kl_request_send_text(r);
    }
    assert_in_range(steps, 1, 20);
    assert_true(atomic_load(&r->waits));
    struct kl_error why;
    kl_fail(&why, KL_ERR_IO, "%0*d", (int)sizeof why.text - 1, 0); /* the largest end */
    kl_request_finish(r, KL_FINISH_ERROR, &why, kl_now_ns());
    struct kl_event event;
    while (kl_request_poll(r, &event) && event.type != KL_EVENT_DONE)
        n_tokens += event.type == KL_EVENT_TOKEN;
    assert_int_equal(event.type, KL_EVENT_DONE);
    assert_int_equal(n_tokens, steps * KL_STEP_LOGPROBS);
    kl_request_release(r);
}

/* When biases ban all that may follow, the answer ends as if the model had ended it. */
static void test_nothing_may_follow(void **state)
{
    (void)state;
    const char *stops[] = {"xyz"};
    struct kl_request *r = new_request(100, stops, 1);
    struct kl_error err;
    struct kl_sampler *sampler;
    size_t n_vocab = kl_tokenizer_size(tokenizer), n_used;
    tiny_check(kl_sampler_open(n_vocab, &sampler, &err), &err);
    int32_t x = byte_token('x');
    assert_int_equal(accept_all(r, &x, 1), KL_ANSWER_CONTINUES);
    struct kl_logit bias = {.value = -INFINITY, .id = x}, found = {.value = 1.0f, .id = x};
    r->sampling.biases = &bias;
    r->sampling.n_biases = 1;
    struct kl_candidates candidates = {.logits = &found, .n = 1, .room = 1};
    struct kl_want want = {.n_vocab = n_vocab};
    struct kl_answer_rows rows = {.wants = &want, .candidates = &candidates, .n = 1};
    assert_int_equal(kl_answer_choose(r, sampler, &rows, &n_used, &err), KL_ANSWER_STOPS);
    assert_true(kl_request_send_text(r)); /* the x was withheld */
    kl_request_finish(r, KL_FINISH_STOP, NULL, kl_now_ns());
    struct answer answer;
    read_answer(r, &answer);
    assert_string_equal(answer.text.data, "x");
    kl_buffer_release(&answer.text);
    kl_sampler_close(sampler);
}

/* A proposed row without room for its candidates is computed again. */
static void test_overflowing_rows_are_not_used(void **state)
{
    (void)state;
    n_overflowing = 2;
    assert_int_equal(accept_proposed(byte_token('a')), 2);
    n_overflowing = 0;
}

/* A step accepts only as many tokens as the pending text certainly has room for. */
static void test_long_proposed_text_takes_several_steps(void **state)
{
    (void)state;
    char big[1024];
    memset(big, 'b', sizeof big);
    struct kl_error err;
    int32_t id;
    tiny_check(kl_tokenizer_add(tokenizer, big, sizeof big, false, &id, &err), &err);
    assert_int_equal(accept_proposed(byte_token('a')), 4);
    assert_int_equal(accept_proposed(id), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_become_whole_code_points),
        cmocka_unit_test(test_stop_strings),
        cmocka_unit_test(test_an_answer_that_repeats_itself),
        cmocka_unit_test(test_text_is_sent_with_its_token),
        cmocka_unit_test(test_control_tokens_are_not_shown),
        cmocka_unit_test(test_long_text_is_cut_into_events),
        cmocka_unit_test(test_proposed_tokens_change_no_answer),
        cmocka_unit_test(test_proposed_tokens_change_no_ruled_answer),
        cmocka_unit_test(test_token_events_and_stop_strings),
        cmocka_unit_test(test_a_full_ring_of_token_events),
        cmocka_unit_test(test_nothing_may_follow),
        cmocka_unit_test(test_overflowing_rows_are_not_used),
        cmocka_unit_test(test_long_proposed_text_takes_several_steps),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
