#include "engine/request_events.h"

#include <assert.h>
#include <string.h>

#include "base/utf8.h"

#define PIECE_SIZE   (KL_EVENT_TEXT_SIZE - 1)
#define HEAD_SIZE    offsetof(struct kl_event, text)
#define RECORD(text) (sizeof(uint32_t) + HEAD_SIZE + (text))
#define PIECES       (KL_PENDING_SIZE / (PIECE_SIZE - 3) + 1)
#define DONE_ROOM    RECORD(sizeof(((struct kl_error *)0)->text))
/* The most that a step sends: progress, text, and then the end. */
#define STEP_ROOM (RECORD(0) + (PIECES + KL_TEXT_CUTS) * RECORD(0) + KL_PENDING_SIZE + DONE_ROOM)
/* and its tokens, if they are asked for */
#define TOKEN_ROOM (KL_STEP_LOGPROBS * RECORD(sizeof(((struct kl_event *)0)->logprobs)))

static_assert(sizeof(((struct kl_error *)0)->text) < KL_EVENT_TEXT_SIZE, "an error fits");
static_assert(2 * (STEP_ROOM + TOKEN_ROOM) < KL_EVENT_RING_SIZE,
              "a ring holds more than a step's events");

bool kl_request_poll(struct kl_request *request, struct kl_event *event)
{
    size_t size = kl_ring_read(&request->ring, event, sizeof *event);
    if (size == 0)
        return false;
    event->text[size - HEAD_SIZE] = '\0';
    /* A read-modify-write on both sides: either the engine sees the room that was just made, or
     * this sees that the engine waits for it. */
    if (atomic_exchange(&request->waits, false))
        kl_wakeup_signal(request->wakeup);
    return true;
}

static void send(struct kl_request *r, const struct kl_event *head, const void *rest, size_t len)
{
    bool sent = kl_ring_write(&r->ring, head, HEAD_SIZE, rest, len);
    assert(sent); /* see kl_request_has_room */
    (void)sent;
}

bool kl_request_has_room(struct kl_request *r)
{
    size_t room = STEP_ROOM + (r->logprobs || r->token_ids ? TOKEN_ROOM : 0) - sizeof(uint32_t);
    if (kl_ring_has_room(&r->ring, room))
        return true;
    atomic_exchange(&r->waits, true);
    return kl_ring_has_room(&r->ring, room); /* a poll may have come before the flag was set */
}

/* struct kl_event is large because of its text; only the head is filled and copied. */
static void clear_head(struct kl_event *event, enum kl_event_type type)
{
    memset(event, 0, HEAD_SIZE);
    event->type = type;
}

bool kl_request_send_queued(struct kl_request *r, uint32_t position, double wait_seconds,
                            uint64_t now_ns)
{
    if (r->started_ns != 0 ||
        (r->position == position && now_ns - r->position_sent_ns < KL_POSITION_INTERVAL_NS / 2))
        return false;
    if (!kl_ring_has_room(&r->ring, RECORD(0) + STEP_ROOM))
        return false;
    struct kl_event event;
    clear_head(&event, KL_EVENT_QUEUED);
    event.position = r->position = position;
    event.wait_seconds = (float)wait_seconds;
    r->position_sent_ns = now_ns;
    send(r, &event, NULL, 0);
    return true;
}

bool kl_request_send_prefill(struct kl_request *r, size_t done)
{
    struct kl_event event;
    if (done <= r->n_prefilled)
        return false;
    r->n_prefilled = done;
    clear_head(&event, KL_EVENT_PREFILL);
    event.done = (uint32_t)done;
    event.total = (uint32_t)r->n_prompt;
    event.cached_tokens = (uint32_t)r->n_cached;
    send(r, &event, NULL, 0);
    return true;
}

void kl_request_send_token(struct kl_request *r, const struct kl_logprob *logprobs, size_t n)
{
    struct kl_event event;
    clear_head(&event, KL_EVENT_TOKEN);
    event.n_tokens = (uint32_t)kl_request_answer_tokens(r);
    event.text_at = (uint32_t)(r->n_text + r->pending.len);
    event.n_logprobs = (uint32_t)n;
    send(r, &event, logprobs, n * sizeof *logprobs);
    r->n_token_events++;
}

void kl_request_cut_text(struct kl_request *r)
{
    if (r->n_cuts == KL_TEXT_CUTS)
        r->n_cuts--;
    r->cuts[r->n_cuts++] = (struct kl_text_cut){.end = (uint32_t)(r->pending.len - r->withheld),
                                                .n_tokens = (uint32_t)kl_request_answer_tokens(r)};
}

static void send_piece(struct kl_request *r, size_t at, size_t end, uint32_t n_tokens)
{
    while (at < end) {
        size_t len = end - at;
        if (len > PIECE_SIZE)
            len = PIECE_SIZE - kl_utf8_incomplete_tail(r->pending.data + at, PIECE_SIZE);
        struct kl_event event;
        clear_head(&event, KL_EVENT_TEXT);
        event.n_tokens = n_tokens;
        event.text_len = (uint32_t)len;
        send(r, &event, r->pending.data + at, len);
        at += len;
    }
}

bool kl_request_send_text(struct kl_request *r)
{
    size_t at = 0;
    for (size_t i = 0; i < r->n_cuts; i++) {
        send_piece(r, at, r->cuts[i].end, r->cuts[i].n_tokens);
        at = r->cuts[i].end;
    }
    r->n_cuts = 0;
    kl_buffer_consume(&r->pending, at);
    bool sent = at > 0 || r->n_token_events > 0;
    r->n_text += at;
    r->n_token_events = 0;
    return sent;
}

static double seconds_between(uint64_t from_ns, uint64_t to_ns)
{
    return to_ns > from_ns ? (double)(to_ns - from_ns) * 1e-9 : 0.0;
}

void kl_request_send_done(struct kl_request *r, enum kl_finish finish, const struct kl_error *why,
                          uint64_t now_ns)
{
    uint64_t started = r->started_ns != 0 ? r->started_ns : now_ns;
    uint64_t decoding = r->decoding_ns != 0 ? r->decoding_ns : now_ns;
    struct kl_event event;
    clear_head(&event, KL_EVENT_DONE);
    event.finish = finish;
    event.stopped_by = finish == KL_FINISH_STOP ? (uint32_t)r->stops.found : 0;
    event.prompt_tokens = (uint32_t)r->n_prompt;
    event.cached_tokens = (uint32_t)r->n_cached;
    event.answer_tokens = (uint32_t)kl_request_answer_tokens(r);
    event.drafted_tokens = (uint32_t)r->n_drafted;
    event.accepted_tokens = (uint32_t)r->n_accepted;
    event.wasted_tokens = (uint32_t)kl_request_wasted_tokens(r, finish);
    event.queue_seconds = seconds_between(r->submitted_ns, started);
    event.prefill_seconds = seconds_between(started, decoding);
    event.decode_seconds = seconds_between(decoding, now_ns);
    if (finish == KL_FINISH_ERROR) {
        event.status = why->status;
        event.text_len = (uint32_t)strlen(why->text);
    }
    send(r, &event, event.text_len > 0 ? why->text : NULL, event.text_len);
}
