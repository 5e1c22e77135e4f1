#include "model/config.h"

#include <float.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "kernels/kernels.h"

/* Limits of the code, far above any model of the size that this program is for. */
enum {
    MAX_LAYERS = 256,
    MAX_WIDTH = 16384,
    MAX_FEED_FORWARD = 65536,
    MAX_HEADS = 256,
    MAX_VOCABULARY = 1 << 20,
    MAX_CONTEXT = 1 << 20
};

struct key {
    char text[96];
};

static struct key key_of(const char *architecture, const char *name)
{
    struct key k;
    snprintf(k.text, sizeof k.text, "%s.%s", architecture, name);
    return k;
}

static enum kl_status read_size(const struct kl_gguf *gguf, const char *architecture,
                                const char *name, uint64_t low, uint64_t high, size_t *out,
                                struct kl_error *err)
{
    uint64_t value = 0;
    enum kl_status status =
        kl_gguf_u64(gguf, key_of(architecture, name).text, low, high, &value, err);
    *out = (size_t)value;
    return status;
}

/* The size of the vocabulary is the number of rows of the embedding table. */
static enum kl_status read_vocabulary(const struct kl_gguf *gguf, struct kl_config *c,
                                      struct kl_error *err)
{
    const struct kl_gguf_tensor *t = kl_gguf_tensor(gguf, "token_embd.weight");
    if (t == NULL)
        return kl_fail(err, KL_ERR_FORMAT, "the tensor token_embd.weight is missing");
    if (t->dims[1] < 1 || t->dims[1] > MAX_VOCABULARY)
        return kl_fail(err, KL_ERR_FORMAT, "token_embd.weight: expected 1 to %d rows, found %llu",
                       MAX_VOCABULARY, (unsigned long long)t->dims[1]);
    c->n_vocab = (size_t)t->dims[1];
    if (!kl_gguf_has(gguf, "tokenizer.ggml.tokens"))
        return KL_OK;
    struct kl_gguf_array tokens;
    enum kl_status status =
        kl_gguf_array(gguf, "tokenizer.ggml.tokens", KL_GGUF_STRING, &tokens, err);
    if (status == KL_OK && tokens.len != c->n_vocab)
        status = kl_fail(err, KL_ERR_FORMAT,
                         "token_embd.weight: expected a row for each of the %llu tokens of "
                         "tokenizer.ggml.tokens, found %zu rows",
                         (unsigned long long)tokens.len, c->n_vocab);
    return status;
}

/* Checks the assumptions of kernels and operations. */
static enum kl_status check_shape(const struct kl_config *c, struct kl_error *err)
{
    if (c->n_heads % c->n_kv_heads != 0)
        return kl_fail(err, KL_ERR_FORMAT, "%zu query heads do not divide into %zu KV heads",
                       c->n_heads, c->n_kv_heads);
    size_t group = c->n_heads / c->n_kv_heads;
    if (group > KL_MAX_GROUP_HEADS)
        return kl_fail(err, KL_ERR_UNSUPPORTED,
                       "%zu query heads for one KV head: at most %d are supported", group,
                       KL_MAX_GROUP_HEADS);
    if (c->head_dim % 16 != 0 || group * c->head_dim % KL_BLOCK != 0)
        return kl_fail(err, KL_ERR_UNSUPPORTED,
                       "heads of %zu with %zu query heads for each KV head are not supported: the "
                       "head must be a multiple of 16 and the group one of %d",
                       c->head_dim, group, KL_BLOCK);
    if (c->n_embd % KL_BLOCK != 0 || c->n_ff % KL_BLOCK != 0)
        return kl_fail(err, KL_ERR_UNSUPPORTED,
                       "width %zu and feed-forward %zu must be multiples of %d", c->n_embd, c->n_ff,
                       KL_BLOCK);
    return KL_OK;
}

/* Optional keys whose only supported value is our behaviour: RoPE of whole heads, values as wide as
 * keys.
 */
static enum kl_status check_widths(const struct kl_gguf *gguf, const char *architecture,
                                   const struct kl_config *c, struct kl_error *err)
{
    static const char *const names[] = {"rope.dimension_count", "attention.value_length"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct key key = key_of(architecture, names[i]);
        uint64_t width = 0;
        if (!kl_gguf_has(gguf, key.text))
            continue;
        enum kl_status status = kl_gguf_u64(gguf, key.text, 0, UINT32_MAX, &width, err);
        if (status != KL_OK)
            return status;
        if (width != c->head_dim)
            return kl_fail(err, KL_ERR_UNSUPPORTED,
                           "%s is %llu: only the width of a head, %zu, is supported", key.text,
                           (unsigned long long)width, c->head_dim);
    }
    return KL_OK;
}

static bool is(struct kl_gguf_string text, const char *word)
{
    return text.len == strlen(word) && memcmp(text.data, word, text.len) == 0;
}

/* A factor of 1 scales nothing. */
static enum kl_status check_rope_scaling(const struct kl_gguf *gguf, const char *architecture,
                                         struct kl_error *err)
{
    static const char *const keys[] = {"rope.scaling.factor", "rope.scale_linear",
                                       "rope.scaling.attn_factor"};
    struct key key = key_of(architecture, "rope.scaling.type");
    struct kl_gguf_string type = {"linear", 6}; /* the meaning of rope.scale_linear alone */
    enum kl_status status = KL_OK;
    bool scales = false;
    if (kl_gguf_has(gguf, key.text))
        status = kl_gguf_string(gguf, key.text, &type, err);
    if (status != KL_OK || is(type, "none"))
        return status;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && status == KL_OK; i++) {
        struct key factor = key_of(architecture, keys[i]);
        double value = 1;
        if (kl_gguf_has(gguf, factor.text))
            status = kl_gguf_f64(gguf, factor.text, -DBL_MAX, DBL_MAX, &value, err);
        scales = scales || value != 1;
    }
    if (status != KL_OK)
        return status;
    if (!scales && (is(type, "linear") || is(type, "yarn"))) {
        if (kl_gguf_has(gguf, key.text))
            kl_warning("%s is \"%.*s\" with a factor of 1, which scales nothing", key.text,
                       (int)type.len, type.data);
        return KL_OK;
    }
    return kl_fail(err, KL_ERR_UNSUPPORTED,
                   "%s: \"%.*s\" is not supported: only \"none\", and \"linear\" or \"yarn\" with "
                   "a factor of 1, are",
                   key.text, (int)(type.len < 40 ? type.len : 40), type.data);
}

/* The numbers are those of llama.cpp (llama_pooling_type): 0 none, 1 mean, 2 first, 3 last. */
static enum kl_status read_pooling(const struct kl_gguf *gguf, const char *architecture,
                                   struct kl_config *c, struct kl_error *err)
{
    static const enum kl_pooling known[] = {KL_POOLING_LAST, KL_POOLING_MEAN, KL_POOLING_FIRST,
                                            KL_POOLING_LAST};
    struct key pooling = key_of(architecture, "pooling_type");
    struct key causal = key_of(architecture, "attention.causal");
    uint64_t number = 0;
    bool is_causal = true;
    enum kl_status status = KL_OK;
    if (kl_gguf_has(gguf, pooling.text))
        status = kl_gguf_u64(gguf, pooling.text, 0, sizeof known / sizeof *known - 1, &number, err);
    if (status == KL_OK && kl_gguf_has(gguf, causal.text))
        status = kl_gguf_bool(gguf, causal.text, &is_causal, err);
    if (status == KL_OK && !is_causal)
        status = kl_fail(err, KL_ERR_UNSUPPORTED,
                         "%s is false: only models whose tokens see no later ones are supported",
                         causal.text);
    if (status != KL_OK)
        return status;
    c->pooling = known[number];
    c->has_pooling = number != 0;
    return KL_OK;
}

enum kl_status kl_config_read(const struct kl_gguf *gguf, const char *architecture,
                              struct kl_config *c, struct kl_error *err)
{
    *c = (struct kl_config){0};
    snprintf(c->architecture, sizeof c->architecture, "%s", architecture);

    const struct {
        const char *name;
        uint64_t low, high;
        size_t *out;
    } sizes[] = {
        {"block_count", 1, MAX_LAYERS, &c->n_layers},
        {"embedding_length", KL_BLOCK, MAX_WIDTH, &c->n_embd},
        {"feed_forward_length", KL_BLOCK, MAX_FEED_FORWARD, &c->n_ff},
        {"attention.head_count", 1, MAX_HEADS, &c->n_heads},
        {"attention.head_count_kv", 1, MAX_HEADS, &c->n_kv_heads},
        {"context_length", 1, UINT32_MAX, &c->n_ctx_train},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if (sizes[i].out == &c->n_kv_heads &&
            !kl_gguf_has(gguf, key_of(architecture, sizes[i].name).text)) {
            c->n_kv_heads = c->n_heads; /* the default of the format */
            continue;
        }
        enum kl_status status = read_size(gguf, architecture, sizes[i].name, sizes[i].low,
                                          sizes[i].high, sizes[i].out, err);
        if (status != KL_OK)
            return status;
    }

    if (c->n_ctx_train > MAX_CONTEXT)
        c->n_ctx_train = MAX_CONTEXT;
    c->head_dim = c->n_embd / c->n_heads;
    enum kl_status status = KL_OK;
    if (kl_gguf_has(gguf, key_of(architecture, "attention.key_length").text))
        status = read_size(gguf, architecture, "attention.key_length", 16, KL_MAX_HEAD_DIM,
                           &c->head_dim, err);
    else if (c->n_embd % c->n_heads != 0 || c->head_dim > KL_MAX_HEAD_DIM)
        status =
            kl_fail(err, KL_ERR_FORMAT, "width %zu does not divide into %zu heads of at most %d",
                    c->n_embd, c->n_heads, KL_MAX_HEAD_DIM);
    if (status == KL_OK)
        status = kl_gguf_f64(gguf, key_of(architecture, "rope.freq_base").text, 1.0, 1e9,
                             &c->rope_base, err);
    double eps = 0;
    if (status == KL_OK)
        status = kl_gguf_f64(gguf, key_of(architecture, "attention.layer_norm_rms_epsilon").text,
                             1e-12, 1e-2, &eps, err);
    c->rms_eps = (float)eps;
    if (status == KL_OK)
        status = check_widths(gguf, architecture, c, err);
    if (status == KL_OK)
        status = check_rope_scaling(gguf, architecture, err);
    if (status == KL_OK)
        status = read_vocabulary(gguf, c, err);
    if (status == KL_OK)
        status = read_pooling(gguf, architecture, c, err);
    if (status == KL_OK)
        status = check_shape(c, err);
    return status;
}
