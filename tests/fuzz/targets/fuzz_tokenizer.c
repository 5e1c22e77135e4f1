/*
 * Encodes text and decodes tokens: plain text survives the round trip, in Normalization Form C, and
 * has no control token; the output of the detokenizer is valid UTF-8 for any tokens.
 */
#include <string.h>

#include "base/utf8.h"
#include "fuzz.h"
#include "text/detokenizer.h"
#include "text/normalizer.h"
#include "tiny_tokenizer.h"

static const struct kl_char_classes *char_classes(void)
{
    static struct kl_char_classes classes;
    struct kl_error err;
    if (classes.flags == NULL)
        PROMISE(kl_char_classes_init(&classes, &err) == KL_OK);
    return &classes;
}

static void check_text(const struct kl_tokenizer *t, const char *text, size_t len)
{
    const struct kl_span span = {text, len, false};
    struct kl_tokens tokens = {0};
    struct kl_error err = {0};
    struct kl_buffer expected, pieces;
    kl_buffer_init(&expected, (size_t)1 << 24);
    kl_buffer_init(&pieces, (size_t)1 << 24);
    PROMISE(kl_normalize(char_classes(), text, len, &expected) == KL_OK);
    PROMISE(kl_tokenizer_encode(t, &span, 1, &tokens, &err) == KL_OK);
    for (size_t i = 0; i < tokens.len; i++) {
        size_t n;
        const char *piece = kl_tokenizer_piece(t, tokens.ids[i], &n);
        PROMISE(piece != NULL && !kl_tokenizer_is_control(t, tokens.ids[i]));
        PROMISE(kl_buffer_append(&pieces, piece, n) == KL_OK);
    }
    PROMISE(pieces.len == expected.len &&
            (pieces.len == 0 || memcmp(pieces.data, expected.data, pieces.len) == 0));
    kl_buffer_release(&expected);
    kl_buffer_release(&pieces);
    kl_tokens_release(&tokens);
}

/* Two bytes are a token. */
static void check_tokens(const struct kl_tokenizer *t, const uint8_t *data, size_t size)
{
    struct kl_detokenizer d;
    struct kl_buffer out;
    size_t seen = 0;
    kl_detokenizer_init(&d, t);
    kl_buffer_init(&out, (size_t)1 << 24);
    for (size_t i = 0; i + 1 < size; i += 2) {
        int32_t id = (int32_t)((data[i] << 8 | data[i + 1]) % (int)kl_tokenizer_size(t));
        PROMISE(kl_detokenizer_push(&d, id, &out) == KL_OK);
        PROMISE(out.len == seen || kl_utf8_valid(out.data + seen, out.len - seen));
        seen = out.len;
    }
    PROMISE(kl_detokenizer_finish(&d, &out) == KL_OK);
    PROMISE(out.len == 0 || kl_utf8_valid(out.data, out.len));
    kl_buffer_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct kl_tokenizer *t = tiny_tokenizer();
    check_text(t, (const char *)data, size);
    check_tokens(t, data, size);
    return 0;
}
