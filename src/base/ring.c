#include "base/ring.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum kl_status kl_ring_init(struct kl_ring *ring, size_t size, struct kl_error *err)
{
    assert(size >= 16 && (size & (size - 1)) == 0);
    ring->data = malloc(size);
    if (ring->data == NULL)
        return kl_fail_memory(err, "an event ring", size);
    ring->size = size;
    atomic_init(&ring->head, 0);
    atomic_init(&ring->tail, 0);
    return KL_OK;
}

void kl_ring_release(struct kl_ring *ring)
{
    free(ring->data);
    ring->data = NULL;
}

/* head and tail only grow; the mask turns them into positions. */
static void copy_in(struct kl_ring *ring, size_t at, const void *from, size_t len)
{
    size_t place = at & (ring->size - 1);
    size_t first = len < ring->size - place ? len : ring->size - place;
    if (first > 0)
        memcpy(ring->data + place, from, first);
    if (len > first)
        memcpy(ring->data, (const uint8_t *)from + first, len - first);
}

static void copy_out(const struct kl_ring *ring, size_t at, void *to, size_t len)
{
    size_t place = at & (ring->size - 1);
    size_t first = len < ring->size - place ? len : ring->size - place;
    if (first > 0)
        memcpy(to, ring->data + place, first);
    if (len > first)
        memcpy((uint8_t *)to + first, ring->data, len - first);
}

bool kl_ring_has_room(const struct kl_ring *ring, size_t len)
{
    size_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    size_t room = ring->size - (tail - head);
    return room >= sizeof(uint32_t) && room - sizeof(uint32_t) >= len;
}

bool kl_ring_write(struct kl_ring *ring, const void *a, size_t a_len, const void *b, size_t b_len)
{
    assert(a_len + b_len > 0);
    if (!kl_ring_has_room(ring, a_len + b_len))
        return false;
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    uint32_t len = (uint32_t)(a_len + b_len);
    copy_in(ring, tail, &len, sizeof len);
    copy_in(ring, tail + sizeof len, a, a_len);
    copy_in(ring, tail + sizeof len + a_len, b, b_len);
    atomic_store_explicit(&ring->tail, tail + sizeof len + len, memory_order_release);
    return true;
}

size_t kl_ring_read(struct kl_ring *ring, void *out, size_t size)
{
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    size_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    if (head == tail)
        return 0;
    uint32_t len;
    copy_out(ring, head, &len, sizeof len);
    assert(len <= size);
    copy_out(ring, head + sizeof len, out, len);
    atomic_store_explicit(&ring->head, head + sizeof len + len, memory_order_release);
    return len;
}
