/*
 * A bounded ring of framed records between one writing and one reading thread.
 *
 * Carries the events of a request from the engine thread to the main thread. Wait-free on both
 * sides: a full ring refuses the record, an empty one returns nothing. The struct is the caller's,
 * its memory the ring's. It wakes no thread.
 */
#ifndef KL_BASE_RING_H
#define KL_BASE_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct kl_ring {
    uint8_t *data;
    size_t size;                       /* a power of two */
    _Alignas(64) _Atomic(size_t) head; /* written by the reader */
    _Alignas(64) _Atomic(size_t) tail; /* written by the writer */
};

/* size: bytes, a power of two; a record takes 4 bytes more than its length. */
enum kl_status kl_ring_init(struct kl_ring *ring, size_t size, struct kl_error *err);
void kl_ring_release(struct kl_ring *ring);

/* Writer: appends a record of two parts (the second may be empty). false: there is no room. */
bool kl_ring_write(struct kl_ring *ring, const void *a, size_t a_len, const void *b, size_t b_len);
/* Writer: whether a record of len bytes fits now. */
bool kl_ring_has_room(const struct kl_ring *ring, size_t len);

/* Reader: moves the oldest record to out[0..size) and returns its length; 0: there is none. A
 * record longer than size is a programming error. */
size_t kl_ring_read(struct kl_ring *ring, void *out, size_t size);

#endif
