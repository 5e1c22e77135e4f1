#include "text/detokenizer.h"

#include <string.h>

#include "base/utf8.h"
#include "text/vocab.h"

#define REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */

void kl_detokenizer_init(struct kl_detokenizer *d, const struct kl_tokenizer *tokenizer)
{
    *d = (struct kl_detokenizer){.tokenizer = tokenizer};
}

/* Appends text[0..len) with U+FFFD for what is not UTF-8. */
static enum kl_status append_repaired(const char *text, size_t len, struct kl_buffer *out)
{
    enum kl_status status = KL_OK;
    size_t done = 0;
    for (size_t at = 0; at < len && status == KL_OK;) {
        uint32_t c;
        bool valid;
        size_t n = kl_utf8_decode(text + at, len - at, &c, &valid);
        if (!valid) {
            status = kl_buffer_append(out, text + done, at - done);
            if (status == KL_OK)
                status = kl_buffer_append_string(out, REPLACEMENT);
            done = at + n;
        }
        at += n;
    }
    return status == KL_OK ? kl_buffer_append(out, text + done, len - done) : status;
}

enum kl_status kl_detokenizer_push(struct kl_detokenizer *d, int32_t id, struct kl_buffer *out)
{
    size_t len;
    const char *piece = kl_tokenizer_piece(d->tokenizer, id, &len);
    if (piece == NULL)
        return KL_ERR_INVALID;
    if (kl_tokenizer_is_control(d->tokenizer, id))
        return KL_OK;

    char text[sizeof d->pending + KL_TOKEN_MAX_BYTES];
    memcpy(text, d->pending, d->n_pending);
    memcpy(text + d->n_pending, piece, len);
    len += d->n_pending;
    size_t tail = kl_utf8_incomplete_tail(text, len);
    enum kl_status status = append_repaired(text, len - tail, out);
    if (status != KL_OK)
        return status;
    memcpy(d->pending, text + len - tail, tail);
    d->n_pending = tail;
    return KL_OK;
}

enum kl_status kl_detokenizer_finish(struct kl_detokenizer *d, struct kl_buffer *out)
{
    if (d->n_pending == 0)
        return KL_OK;
    d->n_pending = 0;
    return kl_buffer_append_string(out, REPLACEMENT);
}
