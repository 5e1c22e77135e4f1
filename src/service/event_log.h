/*
 * The events of one answer in their order, for readers that come later or at their own pace.
 *
 * Events of a stream differ in little more than their text, and a token has some 4 bytes of it in
 * an event of 300. So most are kept as copies of parts of an earlier event and the bytes between
 * them: some 30 bytes each. Every chunk of memory stands for itself, with such an earlier event of
 * its own.
 *
 * Owner: a live answer (live_answer.h), which also bounds the memory. One thread at a time. A
 * cursor is valid as long as its log.
 */
#ifndef KL_SERVICE_EVENT_LOG_H
#define KL_SERVICE_EVENT_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

/* Memory is taken in pieces of this size, of a tight log as long as an event; a longer event has
 * one of its own. */
#define KL_EVENT_CHUNK_BYTES ((size_t)8 << 10)

struct kl_event_chunk;

struct kl_event_log {
    uint64_t n;    /* events */
    size_t bytes;  /* of memory */
    bool is_tight; /* the caller's: few further events will come */
    struct kl_event_chunk *first, *last;
};

/* A place between two events. All 0: before the first. */
struct kl_event_cursor {
    const struct kl_event_chunk *chunk;
    size_t at;
};

/* Frees the events; the log is empty then. */
void kl_event_log_release(struct kl_event_log *log);

/* Returns the most memory that appending an event of this length takes, bytes. */
size_t kl_event_log_growth(const struct kl_event_log *log, size_t len);

/* Adds an event. KL_ERR_MEMORY: nothing has changed. */
enum kl_status kl_event_log_append(struct kl_event_log *log, const char *data, size_t len);

/* Returns the place before event n, which is at most log->n. */
struct kl_event_cursor kl_event_log_seek(const struct kl_event_log *log, uint64_t n);

/* Appends the event behind the cursor to *out, and moves the cursor behind it. Returns false if
 * there is none yet. *status: that of appending; the cursor moves in any case. */
bool kl_event_log_read(const struct kl_event_log *log, struct kl_event_cursor *cursor,
                       struct kl_buffer *out, enum kl_status *status);

#endif
