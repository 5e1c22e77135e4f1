#include "tiny_tokenizer.h"

#include "fuzz.h"

static struct kl_gguf *gguf;
static struct kl_tokenizer *tokenizer;

static void open_once(void)
{
    struct kl_error err = {0};
    const char *path = getenv("KINGLET_TEST_TINY_MODEL");
    if (tokenizer != NULL)
        return;
    if (path == NULL || kl_gguf_open(path, &gguf, &err) != KL_OK ||
        kl_tokenizer_open(gguf, &tokenizer, &err) != KL_OK) {
        fprintf(stderr, "KINGLET_TEST_TINY_MODEL: %s\n", path == NULL ? "not set" : err.text);
        exit(2);
    }
}

const struct kl_gguf *tiny_gguf(void)
{
    open_once();
    return gguf;
}

const struct kl_tokenizer *tiny_tokenizer(void)
{
    open_once();
    return tokenizer;
}
