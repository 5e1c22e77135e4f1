#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

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
    int32_t control = kl_tokenizer_find(tokenizer, "<|fim_prefix|>", 14);
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
enum { N_PROMPT = 40, N_ANSWER = 60, MAX_PROPOSED = 5, MAX_ROWS = N_PROMPT + MAX_PROPOSED };

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
                             usable, &err),
               &err);
}

static void close_parts(struct engine_parts *e)
{
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
    size_t end = request->n_tokens + request->n_proposed, n_used;
    size_t n_rows = end - kl_sequence_length(sequence);
    tiny_check(kl_sequence_reserve(sequence, end, &err), &err);
    kl_batch_clear(&e->batch);
    kl_batch_add(&e->batch, 0, request, n_rows);
    struct kl_answer_rows *rows = &e->batch.answers[0];
    assert_int_equal(rows->n, 1 + request->n_proposed);
    tiny_check(kl_forward_run(e->forward, e->batch.rows, e->batch.n_rows, NULL, NULL, &err), &err);
    enum kl_answer answer = kl_answer_choose(request, e->sampler, rows, &n_used, &err);
    assert_in_range(n_used, 1, rows->n);
    assert_int_equal(request->n_proposed, 0);
    kl_sequence_truncate(sequence, end - (rows->n - n_used));
    return answer;
}

static struct run run_request(struct engine_parts *e, const struct kl_request_options *options,
                              propose_fn *propose, const struct run *known)
{
    struct run run = {.end = KL_ANSWER_CONTINUES};
    struct kl_request *r;
    struct kl_error err;
    tiny_check(kl_request_new(KL_REQUEST_ANSWER, options, 1000, e->batch.n_vocab, e->tiny.tokenizer,
                              &wakeup, &r, &err),
               &err);
    tiny_check(kl_sequence_new(e->kv, &r->sequence, &err), &err);
    kl_batch_reset_slot(&e->batch, 0);
    for (; run.end == KL_ANSWER_CONTINUES; run.n_passes++) {
        size_t left = r->max_answer - kl_request_answer_tokens(r);
        size_t max = left < MAX_PROPOSED ? left : MAX_PROPOSED;
        r->n_proposed = propose(known, r->n_tokens, r->tokens + r->n_tokens, max);
        if (known != NULL && r->n_tokens % 2 == 0)
            abandon_pass(e, r);
        run.end = run_pass(e, r);
        assert_true(kl_request_has_room(r));
        kl_request_send_text(r);
    }
    run.n_tokens = r->n_tokens;
    memcpy(run.tokens, r->tokens, r->n_tokens * sizeof *r->tokens);
    kl_sequence_free(r->sequence);
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

static void test_proposed_tokens_change_no_answer(void **state)
{
    (void)state;
    static const struct kl_sampling samplings[] = {
        {.top_p = 1.0f, .repetition_penalty = 1.0f},
        {.top_p = 1.0f, .repetition_penalty = 1.3f},
        {.temperature = 1.5f, .top_p = 1.0f, .repetition_penalty = 1.0f, .seed = 1},
        {.temperature = 0.8f, .top_p = 0.9f, .top_k = 40, .repetition_penalty = 1.2f, .seed = 2},
        {.temperature = 1.0f, .top_p = 1.0f, .repetition_penalty = 0.9f, .seed = 3},
    };
    struct engine_parts e;
    open_parts(&e);
    int32_t prompt[N_PROMPT];
    for (size_t i = 0; i < sizeof samplings / sizeof *samplings; i++) {
        random_tokens(prompt, N_PROMPT, i);
        struct kl_request_options options = {.tokens = prompt,
                                             .n_tokens = N_PROMPT,
                                             .max_tokens = N_ANSWER,
                                             .sampling = samplings[i]};
        struct run plain = expect_same_with_proposals(&e, &options);
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
        cmocka_unit_test(test_overflowing_rows_are_not_used),
        cmocka_unit_test(test_long_proposed_text_takes_several_steps),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
