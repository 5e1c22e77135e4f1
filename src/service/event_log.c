#include "service/event_log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A shorter copy is not worth its place and length. */
#define LEAST_COPY 8
/* The longest event that others are copied from: those with a piece of text are far shorter. */
#define MOST_PATTERN 4096
#define HASH_BITS    10
#define NO_PATTERN   UINT32_MAX

/* Before the bytes of each event, without padding between. */
struct entry {
    uint32_t size; /* of its bytes here */
    uint32_t len;  /* of the event */
    uint32_t
        pattern; /* where the entry of the event that it is copied from begins; or it is whole */
};

/* Bytes of a copied event: a length byte, that many bytes, then a copy; and so on. */
struct copy {
    uint16_t at, len;
};

struct kl_event_chunk {
    struct kl_event_chunk *next;
    uint64_t n;       /* events */
    size_t size;      /* of data */
    size_t used;      /* of data */
    uint32_t pattern; /* where the entry begins that the next event may be copied from */
    char data[];
};

void kl_event_log_release(struct kl_event_log *log)
{
    while (log->first != NULL) {
        struct kl_event_chunk *next = log->first->next;
        free(log->first);
        log->first = next;
    }
    *log = (struct kl_event_log){0};
}

static size_t chunk_bytes(const struct kl_event_log *log, size_t len)
{
    size_t least = sizeof(struct kl_event_chunk) + sizeof(struct entry) + len;
    return log->is_tight || least > KL_EVENT_CHUNK_BYTES ? least : KL_EVENT_CHUNK_BYTES;
}

static bool fits(const struct kl_event_log *log, size_t len)
{
    const struct kl_event_chunk *c = log->last;
    return c != NULL && sizeof(struct entry) + len <= c->size - c->used;
}

size_t kl_event_log_growth(const struct kl_event_log *log, size_t len)
{
    return fits(log, len) ? 0 : chunk_bytes(log, len);
}

/* ---- copies ---------------------------------------------------------------------------------- */

static uint32_t word_at(const char *data)
{
    uint32_t word;
    memcpy(&word, data, sizeof word);
    return word;
}

static uint32_t hash(const char *data)
{
    return word_at(data) * 2654435761u >> (32 - HASH_BITS);
}

static size_t count_same(const char *a, size_t n_a, const char *b, size_t n_b)
{
    size_t n = 0, most = n_a < n_b ? n_a : n_b;
    while (n < most && a[n] == b[n])
        n++;
    return n;
}

/* Writes the bytes from `from` to `to`, then a copy. Returns false if they do not fit. */
static bool put(char *out, size_t room, size_t *used, const char *data, size_t from, size_t to,
                struct copy copy)
{
    for (;;) {
        size_t n = to - from < UINT8_MAX ? to - from : UINT8_MAX;
        struct copy part = n < to - from ? (struct copy){0, 0} : copy;
        if (room - *used < 1 + n + sizeof part)
            return false;
        out[(*used)++] = (char)(unsigned char)n;
        memcpy(out + *used, data + from, n);
        memcpy(out + *used + n, &part, sizeof part);
        *used += n + sizeof part;
        from += n;
        if (from == to)
            return true;
    }
}

/* Writes an event as copies of a pattern. Returns its size; 0: that takes more than room. */
static size_t compress(const char *pattern, size_t n_pattern, const char *data, size_t len,
                       char *out, size_t room)
{
    uint16_t places[1 << HASH_BITS] = {0}; /* + 1; 0: none */
    for (size_t i = 0; i + sizeof(uint32_t) <= n_pattern; i++)
        places[hash(pattern + i)] = (uint16_t)(i + 1);
    size_t used = 0, done = 0, next = 0;
    for (size_t i = 0; i + LEAST_COPY <= len;) {
        /* where the last copy would go on, behind as many other bytes; else anywhere */
        size_t at = next + (i - done), n = 0;
        if (at < n_pattern)
            n = count_same(pattern + at, n_pattern - at, data + i, len - i);
        if (n < LEAST_COPY && places[hash(data + i)] != 0) {
            at = places[hash(data + i)] - 1u;
            n = count_same(pattern + at, n_pattern - at, data + i, len - i);
        }
        if (n < LEAST_COPY) {
            i++;
            continue;
        }
        struct copy copy = {(uint16_t)at, (uint16_t)n};
        if (!put(out, room, &used, data, done, i, copy))
            return 0;
        i += n;
        done = i;
        next = at + n;
    }
    if (done < len && !put(out, room, &used, data, done, len, (struct copy){0, 0}))
        return 0;
    return used;
}

static enum kl_status expand(const char *pattern, const char *data, size_t size,
                             struct kl_buffer *out)
{
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < size && status == KL_OK;) {
        struct copy copy;
        size_t n = (unsigned char)data[i++];
        status = kl_buffer_append(out, data + i, n);
        memcpy(&copy, data + i + n, sizeof copy);
        if (status == KL_OK)
            status = kl_buffer_append(out, pattern + copy.at, copy.len);
        i += n + sizeof copy;
    }
    return status;
}

/* ---- events ---------------------------------------------------------------------------------- */

static struct entry entry_at(const struct kl_event_chunk *c, size_t at)
{
    struct entry entry;
    memcpy(&entry, c->data + at, sizeof entry);
    return entry;
}

static void add_entry(struct kl_event_log *log, struct entry entry, const char *data)
{
    struct kl_event_chunk *c = log->last;
    memcpy(c->data + c->used, &entry, sizeof entry);
    memcpy(c->data + c->used + sizeof entry, data, entry.size);
    c->used += sizeof entry + entry.size;
    c->n++;
    log->n++;
}

/* Adds an event as copies of another one of its chunk. Returns false if that is not worth it. */
static bool append_copies(struct kl_event_log *log, const char *data, size_t len)
{
    struct kl_event_chunk *c = log->last;
    char bytes[MOST_PATTERN / 2];
    if (c == NULL || c->pattern == NO_PATTERN || len > MOST_PATTERN)
        return false;
    struct entry pattern = entry_at(c, c->pattern);
    size_t size =
        compress(c->data + c->pattern + sizeof pattern, pattern.len, data, len, bytes, len / 2);
    if (size == 0 || !fits(log, size))
        return false;
    add_entry(log, (struct entry){(uint32_t)size, (uint32_t)len, c->pattern}, bytes);
    return true;
}

static enum kl_status add_chunk(struct kl_event_log *log, size_t len)
{
    size_t bytes = chunk_bytes(log, len);
    struct kl_event_chunk *c = malloc(bytes);
    if (c == NULL)
        return KL_ERR_MEMORY;
    *c = (struct kl_event_chunk){.size = bytes - sizeof *c, .pattern = NO_PATTERN};
    *(log->last != NULL ? &log->last->next : &log->first) = c;
    log->last = c;
    log->bytes += bytes;
    return KL_OK;
}

enum kl_status kl_event_log_append(struct kl_event_log *log, const char *data, size_t len)
{
    assert(len > 0 && len < UINT32_MAX);
    if (append_copies(log, data, len))
        return KL_OK;
    if (!fits(log, len) && add_chunk(log, len) != KL_OK)
        return KL_ERR_MEMORY;
    if (len <= MOST_PATTERN)
        log->last->pattern = (uint32_t)log->last->used;
    add_entry(log, (struct entry){(uint32_t)len, (uint32_t)len, NO_PATTERN}, data);
    return KL_OK;
}

/* ---- reading --------------------------------------------------------------------------------- */

struct kl_event_cursor kl_event_log_seek(const struct kl_event_log *log, uint64_t n)
{
    const struct kl_event_chunk *c = log->first;
    assert(n <= log->n);
    while (c != NULL && c->next != NULL && n >= c->n) {
        n -= c->n;
        c = c->next;
    }
    struct kl_event_cursor cursor = {.chunk = c};
    for (; n > 0; n--)
        cursor.at += sizeof(struct entry) + entry_at(c, cursor.at).size;
    return cursor;
}

bool kl_event_log_read(const struct kl_event_log *log, struct kl_event_cursor *cursor,
                       struct kl_buffer *out, enum kl_status *status)
{
    if (cursor->chunk == NULL)
        *cursor = (struct kl_event_cursor){.chunk = log->first};
    else if (cursor->at == cursor->chunk->used && cursor->chunk->next != NULL)
        *cursor = (struct kl_event_cursor){.chunk = cursor->chunk->next};
    const struct kl_event_chunk *c = cursor->chunk;
    if (c == NULL || cursor->at == c->used)
        return false;
    struct entry entry = entry_at(c, cursor->at);
    const char *data = c->data + cursor->at + sizeof entry;
    cursor->at += sizeof entry + entry.size;
    if (entry.pattern == NO_PATTERN)
        *status = kl_buffer_append(out, data, entry.size);
    else
        *status = expand(c->data + entry.pattern + sizeof entry, data, entry.size, out);
    return true;
}
