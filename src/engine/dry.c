#include "engine/dry.h"

#include <float.h>
#include <math.h>
#include <string.h>

void kl_dry_defaults(struct kl_dry *dry)
{
    *dry = (struct kl_dry){
        .base = 1.75f, .allowed_length = 2, .n_breakers = 4, .breakers = {"\n", ":", "\"", "*"}};
}

/* The Z-algorithm (Gusfield 1997, 1.4) on the reversed history, t[i] = history[n - 1 - i]: z[i] is
 * the length of the longest common prefix of t and t[i...]. No token is compared twice with
 * success, and since matches are cut, only the first values of z are ever needed again. */
size_t kl_dry_search(const int32_t *history, size_t n, uint32_t *lengths)
{
    const int32_t *last = history + n - 1;
    uint32_t z[KL_DRY_LONGEST];
    size_t left = 0, right = 0; /* t[left...right) is the match that reaches furthest */
    uint32_t longest = 0;
    for (size_t i = 1; i < n; i++) {
        size_t len = 0;
        if (i < right)
            len = z[i - left] < right - i ? z[i - left] : right - i;
        if (i + len >= right) {
            while (len < KL_DRY_LONGEST && i + len < n && *(last - len) == *(last - i - len))
                len++;
            left = i;
            right = i + len;
        }
        if (i < KL_DRY_LONGEST)
            z[i] = (uint32_t)len;
        if (len == 0)
            continue;
        longest = len > longest ? (uint32_t)len : longest;
        int32_t next = *(last - i + 1);
        if (lengths != NULL && lengths[next] < len)
            lengths[next] = (uint32_t)len;
    }
    return longest;
}

/* Whether a breaker ends in text[from...len). */
static bool ends_breaker(const struct kl_dry *dry, const char *text, size_t from, size_t len)
{
    for (size_t i = 0; i < dry->n_breakers; i++) {
        size_t size = strlen(dry->breakers[i]);
        size_t begin = from + 1 > size ? from + 1 - size : 0;
        if (memmem(text + begin, len - begin, dry->breakers[i], size) != NULL)
            return true;
    }
    return false;
}

/* Whether history[at] breaks sequences. */
static bool breaks(const struct kl_dry *dry, const struct kl_tokenizer *tokenizer,
                   const int32_t *history, size_t at)
{
    enum { MOST = KL_MAX_DRY_BREAKER_SIZE };
    size_t len, before = 0;
    if (kl_tokenizer_is_control(tokenizer, history[at]))
        return true;
    const char *piece = kl_tokenizer_piece(tokenizer, history[at], &len);
    if (ends_breaker(dry, piece, 0, len))
        return true;
    /* one that begins in the tokens before: the last bytes of these, and the first of this */
    char text[2 * MOST];
    size_t first = len < MOST ? len : MOST;
    memcpy(text + MOST, piece, first);
    while (at-- > 0 && before < MOST && !kl_tokenizer_is_control(tokenizer, history[at])) {
        piece = kl_tokenizer_piece(tokenizer, history[at], &len);
        size_t used = len < MOST - before ? len : MOST - before;
        before += used;
        memcpy(text + MOST - before, piece + len - used, used);
    }
    return ends_breaker(dry, text + MOST - before, before, before + first);
}

size_t kl_dry_unbroken(const struct kl_dry *dry, const struct kl_tokenizer *tokenizer,
                       const int32_t *history, size_t n, size_t most)
{
    size_t len = 0;
    while (len < most && len < n && !breaks(dry, tokenizer, history, n - 1 - len))
        len++;
    return len;
}

bool kl_dry_is_exempt(const struct kl_dry *dry, const struct kl_tokenizer *tokenizer, int32_t token)
{
    size_t len;
    const char *piece = kl_tokenizer_piece(tokenizer, token, &len);
    return kl_tokenizer_is_control(tokenizer, token) || ends_breaker(dry, piece, 0, len);
}

float kl_dry_penalty(const struct kl_dry *dry, size_t length)
{
    if (length == 0 || length < dry->allowed_length)
        return 0.0f;
    double factor = pow((double)dry->base, (double)(length - dry->allowed_length));
    double penalty = (double)dry->multiplier * factor;
    return penalty < (double)FLT_MAX ? (float)penalty : FLT_MAX;
}
