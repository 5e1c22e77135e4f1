/*
 * Llama (3.2) and what is built like it (SmolLM2): pre-norm transformer, grouped-query attention
 * without biases, RoPE, SwiGLU. Files of this architecture have the rows of q and k reordered for a
 * RoPE of neighbours (llama.cpp, convert_hf_to_gguf.py, LlamaModel.permute); packing puts them
 * back.
 */
#include "model/architecture.h"

static enum kl_status declare_layer(struct kl_weights *w, const struct kl_config *c, size_t i,
                                    struct kl_layer *l, struct kl_error *err)
{
    return kl_layer_declare(w, c, KL_ROPE_NEIGHBOURS, i, l, err);
}

const struct kl_architecture kl_architecture_llama = {
    .name = "llama",
    .declare_layer = declare_layer,
    .run_layer = kl_layer_run,
};
