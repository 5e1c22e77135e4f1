#include "walk_model.h"

#include <stdlib.h>
#include <string.h>

#include "format/gguf.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

unsigned walk_checksum;

static void touch(const void *data, size_t len)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < len; i++)
        walk_checksum = walk_checksum * 31 + p[i];
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

/* Reads every key of the test's file, and all of every tensor. */
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
        walk_checksum += kl_tokenizer_is_control(t, (int32_t)id);
        walk_checksum += kl_tokenizer_is_end(t, (int32_t)id);
    }
    const struct kl_chat_template *chat = kl_chat_template_for(g, NULL);
    if (chat == NULL)
        return kl_fail(err, KL_ERR_MEMORY, "out of memory while reading the chat template");
    touch(kl_chat_template_name(chat), 1);
    return status;
}

/* Computes the logits of a prompt of two tokens. */
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

enum kl_status walk_file(const char *path, enum walk_depth depth, struct kl_error *err)
{
    struct kl_gguf *gguf = NULL;
    struct kl_tokenizer *tokenizer = NULL;
    struct kl_model *model = NULL;
    struct kl_model_options options = {0};
    enum kl_status status = kl_gguf_open(path, &gguf, err);
    if (status != KL_OK)
        return status;
    walk_gguf(gguf);
    if (depth >= WALK_TOKENIZER)
        status = kl_tokenizer_open(gguf, &tokenizer, err);
    if (status == KL_OK && depth >= WALK_TOKENIZER)
        status = walk_tokenizer(gguf, tokenizer, err);
    if (status == KL_OK && depth >= WALK_MODEL)
        status = kl_kernels_select("scalar", &options.kernels, err);
    if (status == KL_OK && depth >= WALK_MODEL)
        status = kl_model_open(gguf, &options, &model, err);
    if (status == KL_OK && depth >= WALK_MODEL)
        status = run_model(model, err);
    if (model != NULL)
        kl_model_close(model);
    if (tokenizer != NULL)
        kl_tokenizer_close(tokenizer);
    kl_gguf_close(gguf);
    return status;
}
