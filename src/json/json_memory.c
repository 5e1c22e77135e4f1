#include "json/json_memory.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>

#include "json/json_limits.h"

/* An upper bound of what parsing allocates. A value takes at least two bytes of text; the largest
 * one, an object, takes 240 bytes with its table and 200 for each member. Numbers that are counted
 * apart take 32, and 24 in an array that doubles. Texts exist up to three
 * times, and the one being read is in buffers that double until it fits: 4 times the longest.
 * Memory that is never touched costs nothing. */
#define VALUE_BYTES  256
#define NUMBER_BYTES 64
#define TEXT_TIMES   8
#define LEAST_BYTES  4096
/* Serves the allocations that fail while a text is parsed; released when the parser returns. */
struct reserve {
    char *data;
    size_t size, used;
};

static _Thread_local bool was_short;
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

void kl_json_memory_watch(void)
{
    json_set_alloc_funcs(allocate, release);
}

json_t *kl_json_load(const char *data, size_t len, size_t flags, json_error_t *error)
{
    size_t values = len / 2 < KL_JSON_MAX_NODES ? len / 2 + 1 : KL_JSON_MAX_NODES + 1;
    size_t numbers = len / 2 < KL_JSON_MAX_NUMBERS ? len / 2 : KL_JSON_MAX_NUMBERS;
    size_t size = values * VALUE_BYTES + numbers * NUMBER_BYTES + len * TEXT_TIMES + LEAST_BYTES;
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

bool kl_json_was_short(void)
{
    bool before = was_short;
    was_short = false;
    return before;
}

void kl_json_tell_short(void)
{
    was_short = true;
}
