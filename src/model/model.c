#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/architecture.h"
#include "model/config.h"
#include "model/head.h"

#define ARCHITECTURE(name) &kl_architecture_##name,
static const struct kl_architecture *const architectures[] = {KL_ARCHITECTURES(ARCHITECTURE)};

/* Of rope_freqs.weight: those of Llama 3.2 are 1 to 32. */
#define MIN_ROPE_FACTOR 0.001
#define MAX_ROPE_FACTOR 1000.0

enum { N_ARCHITECTURES = sizeof architectures / sizeof architectures[0] };

static enum kl_status find_architecture(const struct kl_gguf *gguf,
                                        const struct kl_architecture **out, struct kl_error *err)
{
    struct kl_gguf_string name;
    enum kl_status status = kl_gguf_string(gguf, "general.architecture", &name, err);
    if (status != KL_OK)
        return status;
    char names[256] = "";
    for (size_t i = 0; i < N_ARCHITECTURES; i++) {
        const char *known = architectures[i]->name;
        if (name.len == strlen(known) && memcmp(name.data, known, name.len) == 0) {
            *out = architectures[i];
            return KL_OK;
        }
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i > 0 ? ", " : "", known);
    }
    return kl_fail(err, KL_ERR_UNSUPPORTED,
                   "the architecture \"%.*s\" is not supported; these are: %s",
                   (int)(name.len < 40 ? name.len : 40), name.data, names);
}

/* Llama 3.1 and later turn the slow pairs still slower, for long contexts: converters write a
 * divisor for each pair (llama.cpp, convert_hf_to_gguf.py, "rope_freqs.weight"). */
static enum kl_status declare_rope_factors(struct kl_model *m, const struct kl_gguf *gguf,
                                           struct kl_error *err)
{
    static const char name[] = "rope_freqs.weight";
    size_t n = m->config.head_dim / 2;
    if (kl_gguf_tensor(gguf, name) == NULL)
        return KL_OK;
    enum kl_status status = kl_weights_vector(&m->weights, n, &m->rope_factors, err, "%s", name);
    for (size_t i = 0; i < n && status == KL_OK; i++) {
        float factor = m->rope_factors[i];
        if (!(factor >= MIN_ROPE_FACTOR && factor <= MAX_ROPE_FACTOR))
            status = kl_fail(err, KL_ERR_FORMAT, "%s: expected factors of %g to %g, [%zu] is %g",
                             name, MIN_ROPE_FACTOR, MAX_ROPE_FACTOR, i, (double)factor);
    }
    return status;
}

static enum kl_status declare(struct kl_model *m, const struct kl_gguf *gguf, struct kl_error *err)
{
    const struct kl_config *c = &m->config;
    struct kl_weights *w = &m->weights;
    m->embedding_file = kl_gguf_file(gguf);
    enum kl_status status =
        kl_weights_table(w, c->n_vocab, c->n_embd, &m->embedding, "token_embd.weight", err);
    for (size_t i = 0; i < c->n_layers && status == KL_OK; i++)
        status = m->architecture->declare_layer(w, c, i, &m->layers[i], err);
    if (status == KL_OK)
        status = kl_weights_vector(w, c->n_embd, &m->output_norm, err, "output_norm.weight");
    if (status == KL_OK)
        status = declare_rope_factors(m, gguf, err);
    if (status != KL_OK)
        return status;
    /* a model without an output head of its own uses the embedding table ("tied") */
    const char *head = "output.weight";
    if (kl_gguf_tensor(gguf, head) == NULL)
        head = "token_embd.weight";
    const struct kl_gguf_tensor *t = kl_gguf_tensor(gguf, head);
    if (t == NULL || t->type->id != KL_Q8_0)
        return kl_weights_matrix(w, c->n_vocab, c->n_embd, &m->output, err, "%s", head);
    status = kl_weights_matrix_as(w, KL_Q8_HIGH, c->n_vocab, c->n_embd, &m->output, err, head);
    if (status == KL_OK)
        status =
            kl_weights_matrix_as(w, KL_Q8_LOW, c->n_vocab, c->n_embd, &m->output_low, err, head);
    return status;
}

enum kl_status kl_model_open(const struct kl_gguf *gguf, const struct kl_model_options *options,
                             struct kl_model **out, struct kl_error *err)
{
    *out = NULL;
    const struct kl_architecture *architecture = NULL;
    struct kl_config config;
    struct kl_model *m = NULL;
    enum kl_status status = find_architecture(gguf, &architecture, err);
    if (status == KL_OK)
        status = kl_config_read(gguf, architecture->name, &config, err);
    if (status != KL_OK)
        goto fail;
    m = calloc(1, sizeof *m + config.n_layers * sizeof m->layers[0]);
    if (m == NULL) {
        status = kl_fail_memory(err, "the model", config.n_layers * sizeof m->layers[0]);
        goto fail;
    }
    m->architecture = architecture;
    m->kernels = options->kernels;
    m->kv_type = options->kv_type;
    m->plain_attention = options->plain_attention;
    m->config = config;
    m->n_threads = options->n_threads > 0 ? options->n_threads : 1;
    status = kl_weights_init(&m->weights, gguf, err);
    if (status == KL_OK)
        status = declare(m, gguf, err);
    if (status == KL_OK)
        status = kl_weights_open(&m->weights, options->packed_dir, err);
    if (status == KL_OK && !options->prepare_later)
        status = kl_model_prepare(m, options->progress, options->progress_context, err);
    if (status == KL_OK) {
        *out = m;
        return KL_OK;
    }
fail:
    kl_error_prefix(err, "%s", kl_gguf_file(gguf)->path);
    kl_model_close(m);
    return status;
}

enum kl_status kl_model_prepare(struct kl_model *m, kl_model_progress_fn *progress, void *context,
                                struct kl_error *err)
{
    enum kl_status status = kl_weights_prepare(&m->weights, m->n_threads, progress, context, err);
    if (status == KL_OK && m->weights.memory == NULL && m->output_low.n_groups > 0) {
        m->low_file = &m->weights.packed.map;
        kl_head_give_back(m); /* the check has read it */
    }
    return status;
}

void kl_model_close(struct kl_model *m)
{
    if (m == NULL)
        return;
    kl_weights_release(&m->weights);
    free(m);
}

const struct kl_config *kl_model_config(const struct kl_model *m)
{
    return &m->config;
}

bool kl_model_is_mapped(const struct kl_model *m)
{
    return m->weights.memory == NULL;
}

const char *kl_model_packed_path(const struct kl_model *m)
{
    return m->weights.packed.map.path;
}

uint64_t kl_model_weight_bytes(const struct kl_model *m)
{
    return kl_weights_bytes(&m->weights);
}

const struct kl_kernels *kl_model_kernels(const struct kl_model *m)
{
    return m->kernels;
}

/* Adds a matrix that n rows are multiplied with. */
static void add_matrix(struct kl_step_work *work, const struct kl_matrix *m, size_t n)
{
    work->bytes += n > 0 ? kl_matrix_bytes(m) : 0;
    work->macs += (uint64_t)m->n_rows * m->k * n;
}

/* n_rows: of the pass; n_kept: of these, beside the keys and values. */
static void add_layer(struct kl_step_work *work, const struct kl_layer *l, enum kl_step step,
                      size_t n_rows, size_t n_kept)
{
    if (step == KL_STEP_QKV) {
        add_matrix(work, &l->q, n_kept);
        add_matrix(work, &l->k, n_rows);
        add_matrix(work, &l->v, n_rows);
    } else if (step == KL_STEP_ATTENTION_OUT) {
        add_matrix(work, &l->attn_out, n_kept);
    } else if (step == KL_STEP_GATE_UP) {
        add_matrix(work, &l->gate, n_kept);
        add_matrix(work, &l->up, n_kept);
    } else if (step == KL_STEP_DOWN) {
        add_matrix(work, &l->down, n_kept);
    }
}

struct kl_step_work kl_model_step_work(const struct kl_model *m, enum kl_step step, size_t n_rows,
                                       size_t n_outputs)
{
    struct kl_step_work work = {0};
    if (step == KL_STEP_HEAD)
        add_matrix(&work, &m->output, n_outputs);
    for (size_t i = 0; i < m->config.n_layers; i++)
        add_layer(&work, &m->layers[i], step, n_rows,
                  i + 1 < m->config.n_layers ? n_rows : n_outputs);
    return work;
}

struct kl_model_work kl_model_work(const struct kl_model *m)
{
    uint64_t low = kl_matrix_bytes(&m->output_low);
    struct kl_model_work work = {.bytes_per_token = kl_weights_bytes(&m->weights) - low,
                                 .bytes_for_logits = low};
    for (enum kl_step step = 0; step < KL_STEP_HEAD; step++) {
        work.macs_per_token += kl_model_step_work(m, step, 1, 1).macs;
        work.prompt_macs += kl_model_step_work(m, step, 1, 0).macs;
    }
    return work;
}
