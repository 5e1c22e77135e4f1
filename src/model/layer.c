#include <stdio.h>

#include "model/architecture.h"
#include "model/operations.h"

static enum kl_status declare_matrices(struct kl_weights *w, const struct kl_config *c,
                                       enum kl_rope_pairs pairs, size_t i, struct kl_layer *l,
                                       struct kl_error *err)
{
    size_t q_rows = c->n_heads * c->head_dim, kv_rows = c->n_kv_heads * c->head_dim;
    const struct {
        const char *name;
        size_t n_rows, k;
        struct kl_matrix *out;
        bool rotated;
    } matrices[] = {
        /* in the order in which a token reads them */
        {"attn_q", q_rows, c->n_embd, &l->q, true},
        {"attn_k", kv_rows, c->n_embd, &l->k, true},
        {"attn_v", kv_rows, c->n_embd, &l->v, false},
        {"attn_output", c->n_embd, q_rows, &l->attn_out, false},
        {"ffn_gate", c->n_ff, c->n_embd, &l->gate, false},
        {"ffn_up", c->n_ff, c->n_embd, &l->up, false},
        {"ffn_down", c->n_embd, c->n_ff, &l->down, false},
    };
    enum kl_status status = KL_OK;
    for (size_t m = 0; m < sizeof matrices / sizeof matrices[0] && status == KL_OK; m++) {
        size_t n_rows = matrices[m].n_rows, k = matrices[m].k;
        char name[KL_SECTION_NAME_SIZE];
        snprintf(name, sizeof name, "blk.%zu.%s.weight", i, matrices[m].name);
        if (matrices[m].rotated && pairs == KL_ROPE_NEIGHBOURS)
            status = kl_weights_neighbours(w, c->head_dim, n_rows, k, matrices[m].out, err, name);
        else
            status = kl_weights_matrix(w, n_rows, k, matrices[m].out, err, "%s", name);
    }
    return status;
}

enum kl_status kl_layer_vectors(struct kl_weights *w, size_t i, const struct kl_vector *vectors,
                                size_t n, struct kl_error *err)
{
    enum kl_status status = KL_OK;
    for (size_t v = 0; v < n && status == KL_OK; v++)
        status = kl_weights_vector(w, vectors[v].n, vectors[v].out, err, "blk.%zu.%s", i,
                                   vectors[v].name);
    return status;
}

enum kl_status kl_layer_declare(struct kl_weights *w, const struct kl_config *c,
                                enum kl_rope_pairs pairs, size_t i, struct kl_layer *l,
                                struct kl_error *err)
{
    const struct kl_vector norms[] = {{"attn_norm.weight", c->n_embd, &l->attn_norm},
                                      {"ffn_norm.weight", c->n_embd, &l->ffn_norm}};
    enum kl_status status = declare_matrices(w, c, pairs, i, l, err);
    return status == KL_OK ? kl_layer_vectors(w, i, norms, 2, err) : status;
}

void kl_layer_run(struct kl_forward *f, const struct kl_layer *l, size_t index)
{
    kl_op_norm(f, l->attn_norm);
    kl_op_qkv(f, l, index);
    kl_op_keep_outputs(f, index);
    kl_op_attention(f, l, index);
    kl_op_add_product(f, KL_STEP_ATTENTION_OUT, &l->attn_out, &f->attended);
    kl_op_norm(f, l->ffn_norm);
    kl_op_gate_up(f, l);
    kl_op_add_product(f, KL_STEP_DOWN, &l->down, &f->gated);
}
