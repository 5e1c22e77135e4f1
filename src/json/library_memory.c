#include "json/library_memory.h"

#include <event2/event.h>
#include <malloc.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>

#include "json/json_limits.h"

/* What parsing allocates at most. A value takes two bytes of text or more; the largest, an object,
 * is 240 bytes with its table, what is in one 200. Texts are there up to three times, and the one
 * that is being read in buffers that are doubled until it fits: 4 times the longest. Memory that is
 * not touched costs nothing. */
#define VALUE_BYTES 256
#define TEXT_TIMES  8
#define LEAST_BYTES 4096
/* What is as large as this is mapped by itself. The C library would raise that (to 32 MiB) with the
 * first such block that is freed, and then the heap keeps what bodies left behind: twice of what
 * KL_SERVER_HELD_BYTES allows was seen. */
#define LARGE_BLOCK (64 << 10)

/* For what finds no memory while a text is parsed; nothing of it is left afterwards. */
struct reserve {
    char *data;
    size_t size, used;
};

static _Thread_local bool was_short, event_was_short;
static _Thread_local struct reserve reserve;

static void *allocate(size_t size)
{
    void *block = malloc(size);
    if (block != NULL)
        return block;
    was_short = true;
    size_t taken = (size + alignof(max_align_t) - 1) / alignof(max_align_t) * alignof(max_align_t);
    if (taken < size || taken > reserve.size - reserve.used)
        return NULL;
    block = reserve.data + reserve.used;
    reserve.used += taken;
    return block;
}

static void release(void *block)
{
    uintptr_t at = (uintptr_t)block, begin = (uintptr_t)reserve.data;
    if (at < begin || at - begin >= reserve.size)
        free(block);
}

static void *event_allocate(size_t size)
{
    void *block = malloc(size);
    event_was_short = event_was_short || block == NULL;
    return block;
}

static void *event_reallocate(void *old, size_t size)
{
    void *block = realloc(old, size);
    event_was_short = event_was_short || block == NULL;
    return block;
}

void kl_library_memory_watch(void)
{
    mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK);
    json_set_alloc_funcs(allocate, release);
    event_set_mem_functions(event_allocate, event_reallocate, free);
}

json_t *kl_json_load(const char *data, size_t len, size_t flags, json_error_t *error)
{
    size_t values = len / 2 < KL_JSON_MAX_NODES ? len / 2 + 1 : KL_JSON_MAX_NODES + 1;
    size_t size = values * VALUE_BYTES + len * TEXT_TIMES + LEAST_BYTES;
    char *block = malloc(size);
    if (error != NULL)
        *error = (json_error_t){.line = -1};
    if (block == NULL) {
        was_short = true;
        return NULL;
    }
    reserve = (struct reserve){.data = block, .size = size};
    json_t *root = json_loadb(data, len, flags, error);
    if (reserve.used > 0) {
        json_decref(root);
        root = NULL;
    }
    reserve = (struct reserve){0};
    free(block);
    return root;
}

static bool tell_once(bool *flag)
{
    bool before = *flag;
    *flag = false;
    return before;
}

bool kl_json_was_short(void)
{
    return tell_once(&was_short);
}

void kl_json_tell_short(void)
{
    was_short = true;
}

bool kl_event_was_short(void)
{
    return tell_once(&event_was_short);
}
