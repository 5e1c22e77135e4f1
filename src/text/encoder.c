#include "text/encoder.h"

#include <stdlib.h>
#include <string.h>

#include "text/tokenizer_kind.h"
#include "text/tokenizer_state.h"

/* NFC makes text at most 3 times longer (UAX #15). */
#define MAX_NFC (3 * KL_ENCODER_MAX_TEXT)

/* ---- segments -------------------------------------------------------------------------------- */

/* The longest added token that text begins with, or -1. Never an empty one: in tables that change
 * while they are in use it would match without an end. */
static int32_t match_added(const struct kl_tokenizer *t, const char *text, size_t left, size_t *len)
{
    if (!t->begins_added[(unsigned char)text[0]])
        return -1;
    for (size_t i = 0; i < t->n_added; i++) {
        const char *token = kl_vocab_bytes(&t->tables.vocab, t->added[i], len);
        if (*len > 0 && *len <= left && memcmp(token, text, *len) == 0)
            return t->added[i];
    }
    return -1;
}

bool kl_segment_next(struct kl_segment_reader *r, struct kl_segment *segment)
{
    *segment = (struct kl_segment){.id = -1};
    for (; r->span < r->n_spans; r->span++, r->at = 0) {
        const struct kl_span *span = &r->spans[r->span];
        if (segment->len == 0)
            segment->text = span->text + r->at;
        for (; span->special && r->at < span->len; r->at++, segment->len++) {
            size_t len;
            int32_t id = match_added(r->tokenizer, span->text + r->at, span->len - r->at, &len);
            if (id >= 0 && segment->len == 0) {
                *segment = (struct kl_segment){id, span->text + r->at, len};
                r->at += len;
            }
            if (id >= 0)
                return true;
        }
        segment->len += span->len - r->at;
    }
    return segment->len > 0;
}

/* ---- one text -------------------------------------------------------------------------------- */

enum kl_status kl_encoder_begin(struct kl_encoder *e, const char *text, size_t len)
{
    if (e->piece > 0)
        kl_bpe_scratch_release(&e->scratch);
    e->text = text;
    e->len = len;
    e->n_normal = e->at = e->piece = 0;
    if (e->nfc.cap == 0)
        kl_buffer_init(&e->nfc, MAX_NFC);
    kl_buffer_clear(&e->nfc);
    return len <= KL_ENCODER_MAX_TEXT ? KL_OK : KL_ERR_LIMIT;
}

enum kl_status kl_encoder_step(struct kl_encoder *e, size_t *effort, size_t max_tokens,
                               struct kl_tokens *out, bool *done)
{
    size_t checked = out->len;
    enum kl_status status = e->tokenizer->kind->encode(e, effort, max_tokens, out, done);
    /* tables in a mapped file can change while they are in use; an id that is no token ends here */
    for (; checked < out->len && status == KL_OK; checked++) {
        if ((uint32_t)out->ids[checked] >= e->tokenizer->tables.vocab.n)
            status = KL_ERR_FORMAT;
    }
    return status;
}

enum kl_status kl_encoder_fail(const struct kl_tokenizer *tokenizer, enum kl_status status,
                               struct kl_error *err)
{
    if (status == KL_ERR_FORMAT)
        return kl_fail(err, status, "%.300s was changed while it was in use; start again",
                       kl_tokenizer_kept_path(tokenizer));
    if (status == KL_ERR_LIMIT)
        return kl_fail(err, status, "a text to tokenize has more than %zu bytes",
                       KL_ENCODER_MAX_TEXT);
    return kl_fail(err, status, "out of memory while tokenizing a text");
}

void kl_encoder_release(struct kl_encoder *e)
{
    kl_bpe_scratch_release(&e->scratch);
    kl_buffer_release(&e->nfc);
}

/* ---- all at once ----------------------------------------------------------------------------- */

static bool one_behind_the_other(const struct kl_span *spans, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        if (spans[i].text != spans[i - 1].text + spans[i - 1].len)
            return false;
    }
    return true;
}

static enum kl_status encode(const struct kl_tokenizer *tokenizer, const struct kl_span *spans,
                             size_t n_spans, struct kl_tokens *out)
{
    struct kl_encoder e = {.tokenizer = tokenizer};
    struct kl_segment_reader reader = {.tokenizer = tokenizer, .spans = spans, .n_spans = n_spans};
    struct kl_segment segment;
    enum kl_status status = KL_OK;
    while (status == KL_OK && kl_segment_next(&reader, &segment)) {
        size_t effort = SIZE_MAX;
        bool done;
        if (segment.id >= 0) {
            status = kl_tokens_push(out, segment.id);
            continue;
        }
        status = kl_encoder_begin(&e, segment.text, segment.len);
        if (status == KL_OK)
            status = kl_encoder_step(&e, &effort, SIZE_MAX, out, &done);
    }
    kl_encoder_release(&e);
    return status;
}

/* Puts the spans one behind the other first. */
static enum kl_status encode_scattered(const struct kl_tokenizer *tokenizer,
                                       const struct kl_span *spans, size_t n_spans,
                                       struct kl_tokens *out)
{
    struct kl_buffer text;
    struct kl_span *moved = calloc(n_spans, sizeof *moved);
    kl_buffer_init(&text, KL_ENCODER_MAX_TEXT);
    enum kl_status status = moved != NULL ? KL_OK : KL_ERR_MEMORY;
    for (size_t i = 0; i < n_spans && status == KL_OK; i++)
        status = kl_buffer_append(&text, spans[i].text, spans[i].len);
    for (size_t i = 0, at = 0; i < n_spans && status == KL_OK; at += spans[i++].len)
        moved[i] = (struct kl_span){text.data + at, spans[i].len, spans[i].special};
    if (status == KL_OK)
        status = encode(tokenizer, moved, n_spans, out);
    kl_buffer_release(&text);
    free(moved);
    return status;
}

enum kl_status kl_tokenizer_encode(const struct kl_tokenizer *tokenizer,
                                   const struct kl_span *spans, size_t n_spans,
                                   struct kl_tokens *out, struct kl_error *err)
{
    size_t before = out->len;
    enum kl_status status = one_behind_the_other(spans, n_spans)
                                ? encode(tokenizer, spans, n_spans, out)
                                : encode_scattered(tokenizer, spans, n_spans, out);
    if (status == KL_OK)
        return KL_OK;
    out->len = before;
    return kl_encoder_fail(tokenizer, status, err);
}
