/*
 * Bytes from outside: overflow-checked arithmetic and a bounds-checked little-endian reader.
 *
 * Every count, length and offset from a file or a peer goes through these functions. A reader never
 * moves past its end, and a failed read does not move it. It points into the caller's memory and
 * allocates nothing. One thread at a time.
 */
#ifndef KL_BASE_BYTES_H
#define KL_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* a + b, a * b. false: the result does not fit, and *out is undefined. */
static inline bool kl_add(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

static inline bool kl_mul(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

/* Rounds value up to a multiple of alignment, a power of two. false: overflow. */
static inline bool kl_align_up(uint64_t value, uint64_t alignment, uint64_t *out)
{
    if (!kl_add(value, alignment - 1, out))
        return false;
    *out &= ~(alignment - 1);
    return true;
}

struct kl_reader {
    const uint8_t *data;
    size_t size;
    size_t pos; /* always <= size */
};

static inline size_t kl_reader_left(const struct kl_reader *r)
{
    return r->size - r->pos;
}

/* Reads one little-endian value. false: too few bytes are left. */
bool kl_read_u8(struct kl_reader *r, uint8_t *out);
bool kl_read_u16(struct kl_reader *r, uint16_t *out);
bool kl_read_u32(struct kl_reader *r, uint32_t *out);
bool kl_read_u64(struct kl_reader *r, uint64_t *out);
bool kl_read_f32(struct kl_reader *r, float *out);
bool kl_read_f64(struct kl_reader *r, double *out);

/* Points *out at the next len bytes inside the reader's memory. */
bool kl_read_bytes(struct kl_reader *r, uint64_t len, const uint8_t **out);

#endif
