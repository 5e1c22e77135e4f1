/*
 * A bounded ring of framed records between one writing and one reading thread.
 *
 * The only way data goes from the engine thread to the network thread. Wait-free on both sides:
 * a full ring refuses the record, an empty one returns nothing.
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

/* size: a power of two, bytes; each record takes 4 more than its length. */
enum kl_status kl_ring_init(struct kl_ring *ring, size_t size, struct kl_error *err);
void kl_ring_release(struct kl_ring *ring);

/* Writer: a record of two parts (the second may be empty), whole or not at all. */
bool kl_ring_write(struct kl_ring *ring, const void *a, size_t a_len, const void *b, size_t b_len);
/* Writer: would a record of this many bytes fit now? */
bool kl_ring_has_room(const struct kl_ring *ring, size_t len);

/* Reader: copies the oldest record to out and returns its length; 0 when there is none. A record
 * longer than size is a programmer's error. */
size_t kl_ring_read(struct kl_ring *ring, void *out, size_t size);

#endif
