#include "text/prompt_encoder.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

/* The largest number of segments with one hash that are found; further ones are encoded again, so
 * that texts crafted to collide do not make the search slow. */
#define MAX_PROBES 64

/* Bytes of text: a prompt of the longest kind and as much again of shorter ones. */
#define MAX_KNOWN (2 * KL_ENCODER_MAX_TEXT)

/* An added token, or a text. */
struct kl_prompt_part {
    int32_t id;     /* of an added token; -1: */
    uint32_t known; /* which one, */
    const char *text;
};

struct kl_known_segment {
    uint64_t hash;
    size_t text_at, len; /* in the text of all */
    size_t tokens_at, n; /* in their tokens; while it is not complete, there are at least n */
    size_t n_uses;       /* in this prompt */
    bool complete;
};

/* ---- known segments -------------------------------------------------------------------------- */

/* Room for one more in an array that is doubled when it is full. */
static bool make_room(void **array, size_t *allocated, size_t n, size_t size)
{
    if (n < *allocated)
        return true;
    size_t more = *allocated == 0 ? 16 : 2 * *allocated;
    void *moved = realloc(*array, more * size);
    if (moved == NULL)
        return false;
    *array = moved;
    *allocated = more;
    return true;
}

static void put(struct kl_prompt_encoder *e, uint32_t known)
{
    for (size_t i = 0; i < MAX_PROBES; i++) {
        uint32_t *slot = &e->slots[(e->known[known].hash + i) % e->n_slots];
        if (*slot == 0) {
            *slot = known + 1;
            return;
        }
    }
}

static bool grow_slots(struct kl_prompt_encoder *e)
{
    size_t n = e->n_slots == 0 ? 64 : 2 * e->n_slots;
    uint32_t *slots = calloc(n, sizeof *slots);
    if (slots == NULL)
        return false;
    free(e->slots);
    e->slots = slots;
    e->n_slots = n;
    for (size_t i = 0; i < e->n_known; i++)
        put(e, (uint32_t)i);
    return true;
}

/* The one with this text, which is a new one when there was none; NULL: no memory. */
static struct kl_known_segment *find(struct kl_prompt_encoder *e, const struct kl_segment *segment)
{
    uint64_t hash = kl_hash64(segment->text, segment->len, 0);
    if (e->n_known >= e->n_slots / 2 && !grow_slots(e))
        return NULL;
    for (size_t i = 0; i < MAX_PROBES; i++) {
        uint32_t slot = e->slots[(hash + i) % e->n_slots];
        if (slot == 0)
            break;
        struct kl_known_segment *k = &e->known[slot - 1];
        if (k->hash == hash && k->len == segment->len &&
            memcmp(e->text.data + k->text_at, segment->text, k->len) == 0)
            return k;
    }
    size_t at = e->text.len;
    if (!make_room((void **)&e->known, &e->known_allocated, e->n_known, sizeof *e->known) ||
        kl_buffer_append(&e->text, segment->text, segment->len) != KL_OK)
        return NULL;
    e->known[e->n_known] =
        (struct kl_known_segment){.hash = hash, .text_at = at, .len = segment->len};
    put(e, (uint32_t)e->n_known);
    return &e->known[e->n_known++];
}

/* ---- a prompt -------------------------------------------------------------------------------- */

static enum kl_status add_part(struct kl_prompt_encoder *e, const struct kl_segment *segment)
{
    struct kl_prompt_part part = {.id = segment->id, .text = segment->text};
    if (!make_room((void **)&e->parts, &e->parts_allocated, e->n_parts, sizeof *e->parts))
        return KL_ERR_MEMORY;
    if (segment->id >= 0) {
        e->n_tokens++;
    } else {
        struct kl_known_segment *k = find(e, segment);
        if (k == NULL)
            return KL_ERR_MEMORY;
        part.known = (uint32_t)(k - e->known);
        k->n_uses++;
        e->n_tokens += k->n;
    }
    e->parts[e->n_parts++] = part;
    return KL_OK;
}

enum kl_status kl_prompt_encoder_begin(struct kl_prompt_encoder *e, const struct kl_prompt *prompt,
                                       size_t limit)
{
    struct kl_segment_reader reader = {
        .tokenizer = e->encoder.tokenizer, .spans = prompt->spans, .n_spans = prompt->n_spans};
    struct kl_segment segment;
    enum kl_status status = KL_OK;
    if (e->text.cap == 0)
        kl_buffer_init(&e->text, MAX_KNOWN);
    if (e->in_part)
        e->tokens.len = e->known[e->parts[e->n_left - 1].known].tokens_at;
    e->in_part = false;
    e->n_parts = e->n_tokens = 0;
    e->limit = limit;
    for (size_t i = 0; i < e->n_known; i++)
        e->known[i].n_uses = 0;
    while (status == KL_OK && kl_segment_next(&reader, &segment))
        status = add_part(e, &segment);
    e->n_left = e->n_parts;
    return status;
}

static enum kl_status begin_part(struct kl_prompt_encoder *e, const struct kl_prompt_part *part)
{
    struct kl_known_segment *k = &e->known[part->known];
    k->tokens_at = e->tokens.len;
    e->n_tokens -= k->n * k->n_uses; /* of an earlier attempt */
    k->n = 0;
    e->n_begun_bytes += k->len;
    e->in_part = true;
    return kl_encoder_begin(&e->encoder, part->text, k->len);
}

static enum kl_status continue_part(struct kl_prompt_encoder *e, const struct kl_prompt_part *part,
                                    size_t *effort)
{
    struct kl_known_segment *k = &e->known[part->known];
    size_t others = e->n_tokens - k->n * k->n_uses;
    enum kl_status status =
        kl_encoder_step(&e->encoder, effort, k->tokens_at + (e->limit - others) / k->n_uses,
                        &e->tokens, &k->complete);
    k->n = e->tokens.len - k->tokens_at;
    e->n_tokens = others + k->n * k->n_uses;
    e->in_part = !k->complete;
    return status;
}

enum kl_status kl_prompt_encoder_step(struct kl_prompt_encoder *e, size_t *effort, bool *done)
{
    enum kl_status status = KL_OK;
    while (status == KL_OK && e->n_left > 0 && e->n_tokens <= e->limit && *effort > 0) {
        const struct kl_prompt_part *part = &e->parts[e->n_left - 1];
        if (part->id < 0 && !e->known[part->known].complete) {
            if (!e->in_part)
                status = begin_part(e, part);
            if (status == KL_OK)
                status = continue_part(e, part, effort);
        } else {
            e->n_left--;
        }
    }
    *done = e->n_left == 0 || e->n_tokens > e->limit;
    return status;
}

enum kl_status kl_prompt_encoder_copy(const struct kl_prompt_encoder *e, struct kl_tokens *out)
{
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < e->n_parts && status == KL_OK; i++) {
        const struct kl_prompt_part *part = &e->parts[i];
        const struct kl_known_segment *k = &e->known[part->known];
        if (part->id >= 0)
            status = kl_tokens_push(out, part->id);
        for (size_t t = 0; part->id < 0 && t < k->n && status == KL_OK; t++)
            status = kl_tokens_push(out, e->tokens.ids[k->tokens_at + t]);
    }
    return status;
}

void kl_prompt_encoder_release(struct kl_prompt_encoder *e)
{
    kl_encoder_release(&e->encoder);
    kl_buffer_release(&e->text);
    kl_tokens_release(&e->tokens);
    free(e->parts);
    free(e->known);
    free(e->slots);
}
