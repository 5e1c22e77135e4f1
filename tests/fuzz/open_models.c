/*
 * open_models DEPTH: opens model files given on standard input as the program would, and walks over
 * what it got. For test_damaged_models.py; to be built with sanitizers.
 *
 * DEPTH: gguf, tokenizer or model: how far each file goes (model includes a forward pass).
 * Input: per file 8 bytes of length, little-endian, and its bytes. Output: a line per file, "ok" or
 * "STATUS TEXT". With "out-of-memory" as a second argument every file is opened again and again,
 * failing the first allocation, then the second, ..., until it opens (or is refused for another
 * reason), and the line is "ok N" for N refusals.
 *
 * Built with the linker's --wrap for the functions below: a mapped file is put into a heap block of
 * exactly its size, so that AddressSanitizer sees the first byte past its end (a mapping has the
 * rest of its page behind it), and allocations can be made to fail.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "format/gguf.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

/* ---- the wrapped functions ------------------------------------------------ */

static size_t allocations;  /* since the last reset */
static size_t failing_from; /* 0: none fails; n: the n-th and every later one */
static void *in_heap[8];    /* mapped files */

static bool allocation_fails(void)
{
    allocations++;
    return failing_from != 0 && allocations >= failing_from;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
void *__real_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *address, size_t size, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *address, size_t size);
int __wrap_munmap(void *address, size_t size);
int __real_madvise(void *address, size_t size, int advice);
int __wrap_madvise(void *address, size_t size, int advice);

void *__wrap_malloc(size_t size)
{
    return allocation_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return allocation_fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return allocation_fails() ? NULL : __real_realloc(old, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return allocation_fails() ? NULL : __real_aligned_alloc(alignment, size);
}

char *__wrap_strdup(const char *text)
{
    return allocation_fails() ? NULL : __real_strdup(text);
}

void *__wrap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
    if (allocation_fails()) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    if (fd < 0)
        return __real_mmap(address, size, protection, flags, fd, offset);
    size_t i = 0;
    while (in_heap[i] != NULL)
        i++;
    in_heap[i] = __real_malloc(size);
    if (in_heap[i] == NULL || pread(fd, in_heap[i], size, offset) != (ssize_t)size)
        abort();
    return in_heap[i];
}

void *__wrap_mmap64(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
    return __wrap_mmap(address, size, protection, flags, fd, offset);
}

static void **heap_block(const void *address)
{
    for (size_t i = 0; i < sizeof in_heap / sizeof in_heap[0]; i++)
        if (in_heap[i] == address)
            return &in_heap[i];
    return NULL;
}

int __wrap_munmap(void *address, size_t size)
{
    void **block = heap_block(address);
    if (block == NULL)
        return __real_munmap(address, size);
    free(*block);
    *block = NULL;
    return 0;
}

int __wrap_madvise(void *address, size_t size, int advice)
{
    /* part of a heap block: there is nothing to read ahead or to give back */
    for (size_t i = 0; i < sizeof in_heap / sizeof in_heap[0]; i++)
        if (in_heap[i] != NULL)
            return 0;
    return __real_madvise(address, size, advice);
}

/* ---- walking -------------------------------------------------------------- */

static unsigned checksum; /* so that no read is optimised away */

static void touch(const void *data, size_t len)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < len; i++)
        checksum = checksum * 31 + p[i];
}

static void walk_key(const struct kl_gguf *g, const char *key)
{
    uint64_t u;
    double f;
    bool b;
    struct kl_gguf_string s;
    struct kl_gguf_array a;
    if (kl_gguf_u64(g, key, 0, UINT64_MAX, &u, NULL) == KL_OK)
        touch(&u, sizeof u);
    if (kl_gguf_f64(g, key, -1e300, 1e300, &f, NULL) == KL_OK)
        touch(&f, sizeof f);
    if (kl_gguf_bool(g, key, &b, NULL) == KL_OK)
        touch(&b, sizeof b);
    if (kl_gguf_string(g, key, &s, NULL) == KL_OK)
        touch(s.data, s.len);
    for (int type = KL_GGUF_U8; type <= KL_GGUF_F64; type++) {
        if (kl_gguf_array(g, key, (enum kl_gguf_type)type, &a, NULL) != KL_OK)
            continue;
        touch(a.data, a.size);
        uint64_t n = 0;
        for (size_t at = 0; type == KL_GGUF_STRING && kl_gguf_array_next_string(&a, &at, &s); n++)
            touch(s.data, s.len);
        if (type == KL_GGUF_STRING && n != a.len)
            abort();
    }
}

/* Every key of the test's file, and every tensor whole. */
static void walk_gguf(const struct kl_gguf *g)
{
    static const char *const keys[] = {
        "general.architecture",
        "general.name",
        "general.alignment",
        "general.file_type",
        "qwen2.block_count",
        "qwen2.context_length",
        "qwen2.embedding_length",
        "qwen2.feed_forward_length",
        "qwen2.attention.head_count",
        "qwen2.attention.head_count_kv",
        "qwen2.attention.layer_norm_rms_epsilon",
        "qwen2.rope.freq_base",
        "tokenizer.ggml.model",
        "tokenizer.ggml.pre",
        "tokenizer.ggml.tokens",
        "tokenizer.ggml.token_type",
        "tokenizer.ggml.merges",
        "tokenizer.ggml.eos_token_id",
        "tokenizer.ggml.bos_token_id",
        "tokenizer.ggml.padding_token_id",
        "tokenizer.ggml.add_bos_token",
        "tokenizer.chat_template",
        "test.u8",
        "test.i8",
        "test.u16",
        "test.i16",
        "test.u64",
        "test.i64",
        "test.f64",
        "test.bools",
        "test.doubles",
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        walk_key(g, keys[i]);
    const struct kl_mapped_file *file = kl_gguf_file(g);
    for (size_t i = 0; i < kl_gguf_n_tensors(g); i++) {
        const struct kl_gguf_tensor *t = kl_gguf_tensor_at(g, i);
        float out[256];
        touch(t->name.data, t->name.len);
        touch(t->data, t->size);
        if (t->data < file->data || t->size > file->size ||
            (size_t)(t->data - file->data) > file->size - t->size)
            abort();
        for (size_t at = 0; at < t->size; at += t->type->block_bytes) {
            t->type->dequantize(t->data + at, 1, out);
            touch(out, t->type->block_elements * sizeof out[0]);
        }
    }
    uint64_t hash = kl_gguf_header_hash(g);
    touch(&hash, sizeof hash);
}

static enum kl_status walk_tokenizer(const struct kl_gguf *g, const struct kl_tokenizer *t,
                                     struct kl_error *err)
{
    static const char text[] = "Hello<|im_end|> the  end\n\xe4\xbd\xa0\xe5\xa5\xbd \xff 123";
    struct kl_tokens tokens = {0};
    struct kl_span spans[] = {{text, sizeof text - 1, true}, {text, sizeof text - 1, false}};
    enum kl_status status = kl_tokenizer_encode(t, spans, 2, &tokens, err);
    if (status == KL_OK)
        touch(tokens.ids, tokens.len * sizeof tokens.ids[0]);
    kl_tokens_release(&tokens);
    for (size_t id = 0; id < kl_tokenizer_size(t); id++) {
        size_t len;
        const char *piece = kl_tokenizer_piece(t, (int32_t)id, &len);
        touch(piece, len);
        checksum += kl_tokenizer_is_control(t, (int32_t)id);
        checksum += kl_tokenizer_is_end(t, (int32_t)id);
    }
    const struct kl_chat_template *chat = kl_chat_template_for(g, NULL);
    if (chat == NULL)
        return kl_fail(err, KL_ERR_MEMORY, "out of memory while reading the chat template");
    touch(kl_chat_template_name(chat), 1);
    return status;
}

/* A prompt of two tokens, and its logits. */
static enum kl_status run_model(const struct kl_model *model, struct kl_error *err)
{
    struct kl_forward *forward = NULL;
    struct kl_kv_cache *cache = NULL;
    struct kl_sequence *sequence = NULL;
    size_t n_vocab = kl_model_config(model)->n_vocab;
    float *logits = calloc(n_vocab, sizeof *logits);
    if (logits == NULL)
        return kl_fail_memory(err, "logits", n_vocab * sizeof *logits);
    enum kl_status status = kl_forward_open(model, 2, 1, &forward, err);
    if (status == KL_OK)
        status = kl_kv_cache_open(model, 16, &cache, err);
    if (status == KL_OK)
        status = kl_sequence_new(cache, &sequence, err);
    if (status == KL_OK)
        status = kl_sequence_reserve(sequence, 2, err);
    if (status == KL_OK) {
        struct kl_row rows[2] = {
            {.sequence = sequence, .token = 0},
            {.sequence = sequence, .token = (int32_t)n_vocab - 1, .logits = logits}};
        status = kl_forward_run(forward, rows, 2, NULL, NULL, err);
        touch(logits, n_vocab * sizeof *logits);
    }
    if (sequence != NULL)
        kl_sequence_free(sequence);
    if (cache != NULL)
        kl_kv_cache_close(cache);
    if (forward != NULL)
        kl_forward_close(forward);
    free(logits);
    return status;
}

/* ---- opening -------------------------------------------------------------- */

enum depth { GGUF, TOKENIZER, MODEL };

static enum kl_status open_file(const char *path, enum depth depth, struct kl_error *err)
{
    struct kl_gguf *gguf = NULL;
    struct kl_tokenizer *tokenizer = NULL;
    struct kl_model *model = NULL;
    struct kl_model_options options = {0};
    enum kl_status status = kl_gguf_open(path, &gguf, err);
    if (status != KL_OK)
        return status;
    walk_gguf(gguf);
    if (depth >= TOKENIZER)
        status = kl_tokenizer_open(gguf, &tokenizer, err);
    if (status == KL_OK && depth >= TOKENIZER)
        status = walk_tokenizer(gguf, tokenizer, err);
    if (status == KL_OK && depth >= MODEL)
        status = kl_kernels_select("scalar", &options.kernels, err);
    if (status == KL_OK && depth >= MODEL)
        status = kl_model_open(gguf, &options, &model, err);
    if (status == KL_OK && depth >= MODEL)
        status = run_model(model, err);
    if (model != NULL)
        kl_model_close(model);
    if (tokenizer != NULL)
        kl_tokenizer_close(tokenizer);
    kl_gguf_close(gguf);
    return status;
}

/* Fails every allocation from the first on, then from the second on, ... */
static void open_out_of_memory(const char *path, enum depth depth)
{
    for (size_t n = 1;; n++) {
        struct kl_error err = {0};
        allocations = 0;
        failing_from = n;
        enum kl_status status = open_file(path, depth, &err);
        failing_from = 0;
        if (status == KL_OK && allocations < n) {
            printf("ok %zu\n", n - 1);
            return;
        }
        if (status != KL_ERR_MEMORY || err.status != KL_ERR_MEMORY) {
            printf("allocation %zu: %s %s\n", n, kl_status_name(status), err.text);
            return;
        }
    }
}

static void open_once(const char *path, enum depth depth)
{
    struct kl_error err = {0};
    enum kl_status status = open_file(path, depth, &err);
    if (status == KL_OK)
        printf("ok\n");
    else
        printf("%s %s\n", kl_status_name(status), err.text);
    if (status != err.status)
        abort();
}

int main(int argc, char **argv)
{
    static const char *const depths[] = {"gguf", "tokenizer", "model"};
    int depth = 0;
    while (argc > 1 && depth < 3 && strcmp(argv[1], depths[depth]) != 0)
        depth++;
    if (argc < 2 || depth == 3) {
        fprintf(stderr, "usage: open_models gguf|tokenizer|model [out-of-memory] < FILES\n");
        return 2;
    }
    bool out_of_memory = argc > 2 && strcmp(argv[2], "out-of-memory") == 0;

    uint64_t len;
    while (fread(&len, sizeof len, 1, stdin) == 1) {
        char path[64];
        int fd = memfd_create("model", 0);
        char *data = malloc(len + 1);
        if (fd < 0 || data == NULL || fread(data, 1, len, stdin) != len ||
            write(fd, data, len) != (ssize_t)len) {
            perror("open_models");
            return 1;
        }
        free(data);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (out_of_memory)
            open_out_of_memory(path, (enum depth)depth);
        else
            open_once(path, (enum depth)depth);
        fflush(stdout);
        close(fd);
    }
    fprintf(stderr, "checksum %u\n", checksum);
    return 0;
}
