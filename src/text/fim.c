#include "text/fim.h"

#include <stddef.h>
#include <string.h>

#define N_NAMES 3

/* Names of Qwen2.5-Coder, StarCoder and SmolLM, DeepSeek-Coder. */
static const char *const names[][N_NAMES] = {
    [KL_FIM_PREFIX] = {"<|fim_prefix|>", "<fim_prefix>", "<｜fim▁begin｜>"},
    [KL_FIM_SUFFIX] = {"<|fim_suffix|>", "<fim_suffix>", "<｜fim▁hole｜>"},
    [KL_FIM_MIDDLE] = {"<|fim_middle|>", "<fim_middle>", "<｜fim▁end｜>"},
    [KL_FIM_REPOSITORY] = {"<|repo_name|>", "<repo_name>", "<reponame>"},
    [KL_FIM_FILE] = {"<|file_sep|>", "<file_sep>", "<filename>"},
};

int32_t kl_fim_find(const struct kl_tokenizer *tokenizer, enum kl_fim_token token)
{
    int32_t id = -1;
    for (size_t i = 0; i < N_NAMES && id < 0; i++)
        id = kl_tokenizer_find(tokenizer, names[token][i], strlen(names[token][i]));
    return id;
}
