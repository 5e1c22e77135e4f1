#include "http/event_memory.h"

#include <event2/event.h>
#include <malloc.h>
#include <stdlib.h>

/* Blocks of at least this size are mapped individually, and returned to the system when freed. The
 * C library would raise the threshold (up to 32 MiB) when the first such block is freed, and then
 * the heap keeps the memory of request bodies: up to twice KL_HTTP_HELD_BYTES was measured. */
#define LARGE_BLOCK (64 << 10)

static _Thread_local bool was_short;

static void *allocate(size_t size)
{
    void *block = malloc(size);
    was_short = was_short || block == NULL;
    return block;
}

static void *reallocate(void *old, size_t size)
{
    void *block = realloc(old, size);
    was_short = was_short || block == NULL;
    return block;
}

void kl_event_memory_watch(void)
{
    mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK);
    event_set_mem_functions(allocate, reallocate, free);
}

bool kl_event_was_short(void)
{
    bool before = was_short;
    was_short = false;
    return before;
}
