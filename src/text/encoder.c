#include "text/encoder.h"

#include <stdlib.h>
#include <string.h>

#include "text/normalizer.h"
#include "text/tokenizer_state.h"

/* NFC makes text at most 3 times longer (UAX #15). */
#define MAX_NFC (3 * KL_ENCODER_MAX_TEXT)
/* A longer piece is hardly ever a token, and merging finds those few. */
#define MAX_SOUGHT 32
/* Pieces that are looked for together, so that their ways to memory overlap. */
#define PIECES 16
/* A longer piece is merged in steps. */
#define LONG_PIECE 4096
/* The least that is normalised at a time. */
#define LEAST_NORMAL 64

/* ---- segments -------------------------------------------------------------------------------- */

/* The longest added token that text begins with, or -1. */
static int32_t match_added(const struct kl_tokenizer *t, const char *text, size_t left, size_t *len)
{
    if (!t->begins_added[(unsigned char)text[0]])
        return -1;
    for (size_t i = 0; i < t->n_added; i++) {
        const char *token = kl_vocab_bytes(&t->tables.vocab, t->added[i], len);
        if (*len <= left && memcmp(token, text, *len) == 0)
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

/* A piece that is not in the table of words. */
static enum kl_status encode_piece(struct kl_encoder *e, const char *piece, size_t len,
                                   struct kl_tokens *out)
{
    const struct kl_tokenizer *t = e->tokenizer;
    if (len > KL_WORD_MAX_BYTES && len <= MAX_SOUGHT) {
        int32_t id = kl_vocab_find(&t->tables.vocab, piece, len);
        if (id >= 0 && t->tables.vocab.types[id] == KL_TOKEN_NORMAL)
            return kl_tokens_push(out, id);
    }
    return kl_bpe_encode(&t->tables.bpe, piece, len, &e->scratch, out);
}

/* Up to PIECES pieces from e->at on; a long one is begun at most. */
static enum kl_status encode_pieces(struct kl_encoder *e, struct kl_tokens *out)
{
    const struct kl_tokenizer *t = e->tokenizer;
    const char *text = e->nfc.data + e->at;
    const size_t len = e->nfc.len - e->at;
    struct {
        const char *text;
        size_t len;
        struct kl_word_key key;
        uint64_t hash;
    } pieces[PIECES];
    size_t n = 0, at = 0;
    for (; n < PIECES && at < len; n++) {
        pieces[n].text = text + at;
        pieces[n].len = t->pretokenizer->piece(&t->classes, text + at, len - at);
        if (pieces[n].len > LONG_PIECE) {
            e->piece = pieces[n].len;
            break;
        }
        if (pieces[n].len <= KL_WORD_MAX_BYTES) {
            pieces[n].key = kl_word_key(text + at, pieces[n].len, len - at);
            pieces[n].hash = kl_word_hash(pieces[n].key);
            kl_words_prefetch(&t->tables.words, pieces[n].hash);
        }
        at += pieces[n].len;
    }
    e->at += at;
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < n && status == KL_OK; i++) {
        int32_t id = -1;
        if (pieces[i].len <= KL_WORD_MAX_BYTES)
            id = kl_words_find(&t->tables.words, pieces[i].key, pieces[i].hash);
        status =
            id >= 0 ? kl_tokens_push(out, id) : encode_piece(e, pieces[i].text, pieces[i].len, out);
    }
    if (e->piece > 0 && status == KL_OK)
        status = kl_bpe_begin(&t->tables.bpe, e->nfc.data + e->at, e->piece, &e->scratch);
    return status;
}

static size_t less(size_t effort, size_t used)
{
    return effort > used ? effort - used : 0;
}

static enum kl_status normalize(struct kl_encoder *e, size_t *effort)
{
    const struct kl_tokenizer *t = e->tokenizer;
    size_t used, limit = *effort > LEAST_NORMAL ? *effort : LEAST_NORMAL;
    enum kl_status status =
        kl_normalize_part(t->pretokenizer->nfc ? &t->classes : NULL, e->text + e->n_normal,
                          e->len - e->n_normal, limit, &used, &e->nfc);
    e->n_normal += used;
    *effort = less(*effort, used);
    return status;
}

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
    enum kl_status status = KL_OK;
    size_t checked = out->len;
    *done = false;
    while (*effort > 0 && out->len <= max_tokens && status == KL_OK && !*done) {
        if (e->n_normal < e->len) {
            status = normalize(e, effort);
        } else if (e->piece > 0) {
            if (kl_bpe_step(&e->tokenizer->tables.bpe, &e->scratch, effort)) {
                status = kl_bpe_finish(&e->scratch, out);
                e->at += e->piece;
                e->piece = 0;
            }
        } else if (e->at < e->nfc.len) {
            size_t before = e->at;
            status = encode_pieces(e, out);
            *effort = less(*effort, e->at - before + e->piece);
        }
        *done = status == KL_OK && e->n_normal == e->len && e->at == e->nfc.len;
    }
    /* tables in a mapped file can change while they are in use; what is no token goes no further */
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
