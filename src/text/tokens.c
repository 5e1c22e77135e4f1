#include "text/tokens.h"

#include <stdlib.h>
#include <string.h>

void kl_tokens_release(struct kl_tokens *tokens)
{
    free(tokens->ids);
    *tokens = (struct kl_tokens){0};
}

enum kl_status kl_tokens_push(struct kl_tokens *tokens, int32_t id)
{
    if (tokens->len == tokens->allocated) {
        size_t size = tokens->allocated == 0 ? 64 : 2 * tokens->allocated;
        int32_t *ids = realloc(tokens->ids, size * sizeof *ids);
        if (ids == NULL)
            return KL_ERR_MEMORY;
        tokens->ids = ids;
        tokens->allocated = size;
    }
    tokens->ids[tokens->len++] = id;
    return KL_OK;
}

enum kl_status kl_tokens_push_front(struct kl_tokens *tokens, int32_t id)
{
    if (kl_tokens_push(tokens, id) != KL_OK)
        return KL_ERR_MEMORY;
    memmove(tokens->ids + 1, tokens->ids, (tokens->len - 1) * sizeof *tokens->ids);
    tokens->ids[0] = id;
    return KL_OK;
}
