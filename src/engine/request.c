#include "engine/request.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/utf8.h"

#define RING_SIZE ((size_t)64 * 1024)
/* What may wait to be shown: a token of 1 KiB, each byte of it replaced by U+FFFD, what a stop
 * string and an open code point held back. */
#define PENDING_SIZE         ((size_t)4 * 1024)
#define PIECE_SIZE           (KL_EVENT_TEXT_SIZE - 1)
#define MAX_DEADLINE_SECONDS 1e9 /* no client waits that long, and nanoseconds still fit */
#define HEAD_SIZE            offsetof(struct kl_event, text)
#define RECORD(text)         (sizeof(uint32_t) + HEAD_SIZE + (text))
#define PIECES               (PENDING_SIZE / (PIECE_SIZE - 3) + 1)
#define DONE_ROOM            RECORD(sizeof(((struct kl_error *)0)->text))
/* The most a step can say: progress, text, and then the end. */
#define STEP_ROOM (RECORD(0) + PIECES * RECORD(0) + PENDING_SIZE + DONE_ROOM)

static_assert(sizeof(((struct kl_error *)0)->text) < KL_EVENT_TEXT_SIZE, "an error fits");
static_assert(2 * STEP_ROOM < RING_SIZE, "a ring holds more than a step's events");

void kl_wakeup_signal(struct kl_wakeup *wakeup)
{
    pthread_mutex_lock(&wakeup->lock);
    atomic_store(&wakeup->wanted, true);
    pthread_cond_signal(&wakeup->called);
    pthread_mutex_unlock(&wakeup->lock);
}

/* ---- the client's side ----------------------------------------------------------------------- */

bool kl_request_poll(struct kl_request *request, struct kl_event *event)
{
    size_t size = kl_ring_read(&request->ring, event, sizeof *event);
    if (size == 0)
        return false;
    event->text[size - HEAD_SIZE] = '\0';
    /* A read-modify-write on both sides, so that either the engine sees the room that was just
     * made or this sees that the engine waits for it. */
    if (atomic_exchange(&request->waits, false))
        kl_wakeup_signal(request->wakeup);
    return true;
}

void kl_request_cancel(struct kl_request *request)
{
    if (atomic_load(&request->finished) || atomic_exchange(&request->cancelled, true))
        return;
    kl_wakeup_signal(request->wakeup);
}

void kl_request_release(struct kl_request *request)
{
    if (request == NULL)
        return;
    kl_request_cancel(request);
    kl_request_disown(request);
}

const char *kl_finish_name(enum kl_finish finish)
{
    switch (finish) {
    case KL_FINISH_STOP:
        return "stop";
    case KL_FINISH_LENGTH:
        return "length";
    case KL_FINISH_REPETITION:
        return "repetition";
    case KL_FINISH_CANCELLED:
        return "cancelled";
    case KL_FINISH_DEADLINE:
        return "deadline";
    case KL_FINISH_ERROR:
        return "error";
    }
    return "unknown";
}

/* ---- making one ------------------------------------------------------------------------------ */

static enum kl_status check(const struct kl_request_options *o, size_t ctx_size, size_t n_vocab,
                            struct kl_error *err)
{
    if (o->n_tokens == 0)
        return kl_fail(err, KL_ERR_INVALID, "the prompt is empty: expected at least one token");
    for (size_t i = 0; i < o->n_tokens; i++) {
        if (o->tokens[i] < 0 || (size_t)o->tokens[i] >= n_vocab)
            return kl_fail(err, KL_ERR_INVALID,
                           "the prompt's token %zu: expected an id from 0 to %zu, found %d", i + 1,
                           n_vocab - 1, (int)o->tokens[i]);
    }
    if (o->max_tokens == 0)
        return kl_fail(err, KL_ERR_INVALID, "max_tokens: expected at least 1, found 0");
    if (o->priority != KL_PRIORITY_INTERACTIVE && o->priority != KL_PRIORITY_BACKGROUND)
        return kl_fail(err, KL_ERR_INVALID, "priority: expected 0 or 1, found %d",
                       (int)o->priority);
    if (!(o->deadline_seconds >= 0.0 && o->deadline_seconds <= MAX_DEADLINE_SECONDS))
        return kl_fail(err, KL_ERR_INVALID, "the deadline: expected 0 to %.0f seconds, found %g",
                       MAX_DEADLINE_SECONDS, o->deadline_seconds);
    enum kl_status status = kl_sampling_check(&o->sampling, err);
    if (status != KL_OK)
        return status;
    if (o->n_tokens >= ctx_size)
        return kl_fail(err, KL_ERR_LIMIT,
                       "the prompt has %zu tokens, the context holds %zu with the answer: shorten "
                       "it or raise --ctx-size",
                       o->n_tokens, ctx_size);
    return KL_OK;
}

static void destroy(struct kl_request *r)
{
    kl_buffer_release(&r->pending);
    kl_ring_release(&r->ring);
    free(r);
}

/* The whole of the pending text's memory at once: nothing is allocated while answering. */
static enum kl_status reserve_pending(struct kl_buffer *pending, struct kl_error *err)
{
    static const char zeros[PENDING_SIZE];
    kl_buffer_init(pending, PENDING_SIZE);
    if (kl_buffer_append(pending, zeros, sizeof zeros) != KL_OK)
        return kl_fail_memory(err, "the text of a request", PENDING_SIZE);
    kl_buffer_clear(pending);
    return KL_OK;
}

enum kl_status kl_request_new(const struct kl_request_options *o, size_t ctx_size, size_t n_vocab,
                              const struct kl_tokenizer *tokenizer, struct kl_wakeup *wakeup,
                              struct kl_request **out, struct kl_error *err)
{
    *out = NULL;
    enum kl_status status = check(o, ctx_size, n_vocab, err);
    if (status != KL_OK)
        return status;
    size_t room = ctx_size - o->n_tokens;
    size_t max_answer = o->max_tokens < room ? o->max_tokens : room;
    size_t n_tokens = o->n_tokens + max_answer, n_symbols = o->loop_guard ? max_answer : 0;
    size_t size = sizeof(struct kl_request) + (n_tokens + n_symbols) * sizeof(int32_t);
    size_t alignment = _Alignof(struct kl_request);
    size = (size + alignment - 1) / alignment * alignment;
    struct kl_request *r = aligned_alloc(alignment, size);
    if (r == NULL)
        return kl_fail_memory(err, "a request", size);
    *r = (struct kl_request){.wakeup = wakeup,
                             .sampling = o->sampling,
                             .position = KL_NO_POSITION,
                             .n_prompt = o->n_tokens,
                             .max_answer = max_answer,
                             .n_tokens = o->n_tokens,
                             .level = o->priority,
                             .cache_scope = o->cache_scope,
                             .submitted_ns = kl_now_ns()};
    r->deadline_ns = o->deadline_seconds > 0.0
                         ? r->submitted_ns + (uint64_t)(o->deadline_seconds * 1e9)
                         : UINT64_MAX;
    atomic_init(&r->owners, 2);
    memcpy(r->tokens, o->tokens, o->n_tokens * sizeof *r->tokens);
    kl_random_init(&r->random, o->sampling.seed);
    kl_detokenizer_init(&r->detokenizer, tokenizer);
    kl_loop_guard_init(&r->loop_guard, n_symbols > 0 ? r->tokens + n_tokens : NULL);

    status = kl_stop_init(&r->stops, o->stops, o->n_stops, err);
    if (status == KL_OK)
        status = reserve_pending(&r->pending, err);
    if (status == KL_OK)
        status = kl_ring_init(&r->ring, RING_SIZE, err);
    if (status != KL_OK) {
        destroy(r);
        return status;
    }
    *out = r;
    return KL_OK;
}

size_t kl_request_bytes(size_t ctx_size)
{
    size_t tokens_and_symbols = 2 * ctx_size * sizeof(int32_t);
    return sizeof(struct kl_request) + tokens_and_symbols + PENDING_SIZE + RING_SIZE;
}

void kl_request_disown(struct kl_request *r)
{
    if (atomic_fetch_sub(&r->owners, 1) == 1)
        destroy(r);
}

/* ---- events ---------------------------------------------------------------------------------- */

static void send(struct kl_request *r, const struct kl_event *head, const char *text)
{
    bool sent = kl_ring_write(&r->ring, head, HEAD_SIZE, text, head->text_len);
    assert(sent); /* room was seen to before: see kl_request_has_room */
    (void)sent;
}

bool kl_request_has_room(struct kl_request *r)
{
    size_t room = STEP_ROOM - sizeof(uint32_t);
    if (kl_ring_has_room(&r->ring, room))
        return true;
    atomic_exchange(&r->waits, true);
    return kl_ring_has_room(&r->ring, room); /* a poll that came before the flag was up */
}

/* struct kl_event is big because of its text; the head is all that is filled and copied. */
static void clear_head(struct kl_event *event, enum kl_event_type type)
{
    memset(event, 0, HEAD_SIZE);
    event->type = type;
}

bool kl_request_send_queued(struct kl_request *r, uint32_t position, double wait_seconds,
                            uint64_t now_ns)
{
    if (r->admitted_ns != 0 ||
        (r->position == position && now_ns - r->position_told_ns < KL_TELL_AGAIN_NS / 2))
        return false;
    if (!kl_ring_has_room(&r->ring, RECORD(0) + STEP_ROOM))
        return false;
    struct kl_event event;
    clear_head(&event, KL_EVENT_QUEUED);
    event.position = r->position = position;
    event.wait_seconds = (float)wait_seconds;
    r->position_told_ns = now_ns;
    send(r, &event, NULL);
    return true;
}

bool kl_request_send_prefill(struct kl_request *r, size_t done)
{
    struct kl_event event;
    clear_head(&event, KL_EVENT_PREFILL);
    event.done = (uint32_t)done;
    event.total = (uint32_t)r->n_prompt;
    event.cached_tokens = (uint32_t)r->n_cached;
    send(r, &event, NULL);
    return true;
}

/* Sends all but the last `withheld` bytes of the pending text, in pieces of whole code points. */
static bool send_text(struct kl_request *r, size_t withheld)
{
    size_t left = r->pending.len - withheld, at = 0;
    while (left > 0) {
        size_t len = left;
        if (len > PIECE_SIZE)
            len = PIECE_SIZE - kl_utf8_incomplete_tail(r->pending.data + at, PIECE_SIZE);
        struct kl_event event;
        clear_head(&event, KL_EVENT_TEXT);
        event.n_tokens = (uint32_t)kl_request_answer_tokens(r);
        event.text_len = (uint32_t)len;
        send(r, &event, r->pending.data + at);
        at += len;
        left -= len;
    }
    kl_buffer_consume(&r->pending, at);
    return at > 0;
}

/* ---- the answer ------------------------------------------------------------------------------ */

/* The token's text goes to the pending text; *withheld is how much of its end stays there. */
static enum kl_status push_text(struct kl_request *r, int32_t token, bool last, size_t *withheld,
                                bool *found)
{
    size_t scanned = r->pending.len;
    enum kl_status status = KL_OK;
    if (token >= 0)
        status = kl_detokenizer_push(&r->detokenizer, token, &r->pending);
    if (status == KL_OK && last)
        status = kl_detokenizer_finish(&r->detokenizer, &r->pending);
    *found = false;
    *withheld = 0;
    if (status == KL_OK && r->pending.len > 0)
        *withheld =
            kl_stop_scan(&r->stops, r->pending.data + scanned, r->pending.len - scanned, found);
    return status;
}

static bool repeats_itself(struct kl_request *r, int32_t token)
{
    size_t len = 0;
    if (r->loop_guard.symbols == NULL)
        return false;
    const char *text = kl_tokenizer_piece(r->detokenizer.tokenizer, token, &len);
    return kl_loop_guard_push(&r->loop_guard, token, text, len);
}

enum kl_answer kl_request_accept(struct kl_request *r, int32_t token, bool *sent,
                                 struct kl_error *err)
{
    *sent = false;
    bool ended = kl_tokenizer_is_end(r->detokenizer.tokenizer, token);
    if (!ended)
        r->tokens[r->n_tokens++] = token;
    bool full = kl_request_answer_tokens(r) == r->max_answer;
    bool repeats = !ended && repeats_itself(r, token), over = ended || full || repeats;
    size_t withheld;
    bool found;
    enum kl_status status = push_text(r, ended ? -1 : token, over, &withheld, &found);
    if (status != KL_OK) {
        kl_fail(err, status, "token %d: its text does not fit into %zu bytes", (int)token,
                PENDING_SIZE);
        return KL_ANSWER_FAILED;
    }
    *sent = send_text(r, over && !found ? 0 : withheld);
    if (found || ended)
        return KL_ANSWER_STOPS;
    if (repeats)
        return KL_ANSWER_REPEATS;
    return full ? KL_ANSWER_FULL : KL_ANSWER_GOES_ON;
}

static double seconds_between(uint64_t from_ns, uint64_t to_ns)
{
    return to_ns > from_ns ? (double)(to_ns - from_ns) * 1e-9 : 0.0;
}

void kl_request_finish(struct kl_request *r, enum kl_finish finish, const struct kl_error *why,
                       uint64_t now_ns)
{
    uint64_t admitted = r->admitted_ns != 0 ? r->admitted_ns : now_ns;
    uint64_t answering = r->answering_ns != 0 ? r->answering_ns : now_ns;
    struct kl_event event;
    clear_head(&event, KL_EVENT_DONE);
    event.finish = finish;
    event.prompt_tokens = (uint32_t)r->n_prompt;
    event.cached_tokens = (uint32_t)r->n_cached;
    event.answer_tokens = (uint32_t)kl_request_answer_tokens(r);
    event.wasted_tokens = (uint32_t)kl_request_wasted_tokens(r, finish);
    event.queue_seconds = seconds_between(r->submitted_ns, admitted);
    event.prefill_seconds = seconds_between(admitted, answering);
    event.decode_seconds = seconds_between(answering, now_ns);
    if (finish == KL_FINISH_ERROR) {
        event.status = why->status;
        event.text_len = (uint32_t)strlen(why->text);
    }
    send(r, &event, event.text_len > 0 ? why->text : NULL);
    atomic_store(&r->waits, false);
    atomic_store(&r->finished, true);
    kl_request_disown(r);
}
