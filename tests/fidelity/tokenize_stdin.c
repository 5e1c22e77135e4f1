/*
 * usage: tokenize_stdin MODEL.gguf < RECORDS > ANSWERS
 *
 * A record is a byte (1: the span is special), a length as u32 and its bytes. The answer to it is
 * the number of ids as u32 and the ids as i32, then a length as u32 and the text that the
 * detokenizer makes of the ids, one by one. All little-endian.
 */
#include <stdio.h>
#include <stdlib.h>

#include "text/detokenizer.h"
#include "text/tokenizer.h"

static void write_sized(const void *data, size_t count, size_t size)
{
    uint32_t n = (uint32_t)count;
    fwrite(&n, sizeof n, 1, stdout);
    if (count > 0)
        fwrite(data, size, count, stdout);
}

static enum kl_status answer(const struct kl_tokenizer *tokenizer, const struct kl_span *span,
                             struct kl_tokens *ids, struct kl_buffer *text, struct kl_error *err)
{
    ids->len = 0;
    kl_buffer_clear(text);
    enum kl_status status = kl_tokenizer_encode(tokenizer, span, 1, ids, err);
    struct kl_detokenizer d;
    kl_detokenizer_init(&d, tokenizer);
    for (size_t i = 0; i < ids->len && status == KL_OK; i++)
        status = kl_detokenizer_push(&d, ids->ids[i], text);
    if (status == KL_OK)
        status = kl_detokenizer_finish(&d, text);
    write_sized(ids->ids, ids->len, sizeof *ids->ids);
    write_sized(text->data, text->len, 1);
    return status;
}

int main(int argc, char **argv)
{
    struct kl_error err = {0};
    struct kl_gguf *gguf = NULL;
    struct kl_tokenizer *tokenizer = NULL;
    if (argc != 2 || kl_gguf_open(argv[1], &gguf, &err) != KL_OK ||
        kl_tokenizer_open(gguf, &tokenizer, &err) != KL_OK) {
        fprintf(stderr, "tokenize_stdin: %s\n", err.text);
        kl_gguf_close(gguf);
        return 1;
    }
    kl_gguf_close(gguf);

    struct kl_tokens ids = {0};
    struct kl_buffer text;
    kl_buffer_init(&text, (size_t)1 << 30);
    char *data = NULL;
    enum kl_status status = KL_OK;
    for (int special; status == KL_OK && (special = getchar()) != EOF;) {
        uint32_t len;
        if (fread(&len, sizeof len, 1, stdin) != 1)
            break;
        char *more = realloc(data, len + 1u);
        if (more == NULL)
            break;
        data = more;
        if (fread(data, 1, len, stdin) != len)
            break;
        struct kl_span span = {.text = data, .len = len, .special = special == 1};
        status = answer(tokenizer, &span, &ids, &text, &err);
    }
    if (status != KL_OK)
        fprintf(stderr, "tokenize_stdin: %s\n", err.text);
    free(data);
    kl_tokens_release(&ids);
    kl_buffer_release(&text);
    kl_tokenizer_close(tokenizer);
    return status == KL_OK ? 0 : 1;
}
