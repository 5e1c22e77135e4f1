#include "engine/request_rule.h"

#include <stdlib.h>
#include <string.h>

/* ---- life ------------------------------------------------------------------------------------ */

enum kl_status kl_forcer_open(struct kl_forcer *f, const struct kl_tokenizer *tokenizer,
                              size_t n_vocab, size_t max_bytes, struct kl_error *err)
{
    *f = (struct kl_forcer){.tokenizer = tokenizer,
                            .max_bytes = max_bytes,
                            .n_vocab = n_vocab,
                            .n_words = kl_mask_words(tokenizer),
                            .encoder = {.tokenizer = tokenizer}};
    f->mask = calloc(f->n_words, sizeof *f->mask);
    return f->mask != NULL ? KL_OK
                           : kl_fail_memory(err, "a mask of tokens", f->n_words * sizeof *f->mask);
}

void kl_forcer_release(struct kl_forcer *f)
{
    free(f->mask);
    kl_encoder_release(&f->encoder);
    kl_tokens_release(&f->tokens);
    *f = (struct kl_forcer){0};
}

enum kl_status kl_request_rule_open(struct kl_request_rule *r, struct kl_forcer *forcer,
                                    const int32_t *answer, size_t n, struct kl_error *err)
{
    enum kl_status status = kl_matcher_open(r->rule, r->trie, &r->matcher, err);
    if (status != KL_OK)
        return status;
    r->forcer = forcer;
    r->forces_more = true;
    kl_matcher_begin(r->matcher, &r->state);
    for (size_t i = 0; i < n; i++) {
        if (kl_matcher_accept(r->matcher, &r->state, answer[i]))
            continue;
        kl_request_rule_close(r);
        return kl_fail(err, KL_ERR_LIMIT,
                       "the rule did not accept token %zu of the answer a second time", i + 1);
    }
    return KL_OK;
}

void kl_request_rule_close(struct kl_request_rule *r)
{
    kl_matcher_close(r->matcher);
    r->matcher = NULL;
    r->forces_more = false;
}

/* ---- what may follow ------------------------------------------------------------------------- */

bool kl_request_rule_accept(const struct kl_request_rule *r, struct kl_rule_state *state,
                            int32_t token)
{
    return kl_matcher_accept(r->matcher, state, token);
}

/* Removes ids that the model does not know. */
static size_t keep_known(const struct kl_forcer *f, uint64_t *mask, size_t n)
{
    for (size_t id = f->n_vocab; id < f->n_words * 64 && n > 0; id++) {
        uint64_t bit = (uint64_t)1 << id % 64;
        n -= (mask[id / 64] & bit) != 0;
        mask[id / 64] &= ~bit;
    }
    return n;
}

static enum kl_status find_allowed(const struct kl_request_rule *r,
                                   const struct kl_rule_state *state, uint64_t *mask, size_t *n,
                                   struct kl_error *err)
{
    struct kl_matcher_stats stats;
    enum kl_status status = kl_matcher_allowed(r->matcher, state, mask, n, err);
    kl_matcher_stats(r->matcher, &stats);
    if (status == KL_OK && stats.bytes > r->forcer->max_bytes)
        return kl_fail(err, KL_ERR_LIMIT,
                       "following the rule takes %zu bytes of memory, expected at most %zu: "
                       "use a simpler one",
                       stats.bytes, r->forcer->max_bytes);
    if (status == KL_OK)
        *n = keep_known(r->forcer, mask, *n);
    if (status == KL_OK && *n == 0)
        return kl_fail(err, KL_ERR_INVALID,
                       "no token of this model may follow the answer so far by its rule (%s): "
                       "expected at least one; change the rule",
                       r->rule->kind->name);
    return status;
}

size_t kl_request_rule_mask(const struct kl_request_rule *r, const struct kl_rule_state *state,
                            uint64_t *mask)
{
    size_t n;
    struct kl_error err;
    return find_allowed(r, state, mask, &n, &err) == KL_OK ? n : 0;
}

/* ---- what must follow ------------------------------------------------------------------------ */

/* The first token of the mask if it is the only one, or all of them end the answer; otherwise -1.
 */
static int32_t only_choice(const struct kl_forcer *f, size_t n_allowed)
{
    int32_t first = -1;
    size_t seen = 0;
    for (size_t word = 0; word < f->n_words && seen < n_allowed; word++) {
        for (uint64_t bits = f->mask[word]; bits != 0; bits &= bits - 1, seen++) {
            int32_t id = (int32_t)(word * 64 + (size_t)__builtin_ctzll(bits));
            if (n_allowed > 1 && !kl_tokenizer_is_end(f->tokenizer, id))
                return -1;
            if (first < 0)
                first = id;
        }
    }
    return first;
}

/* Encodes the forced bytes; ends before text that spells a control token. */
static enum kl_status encode(struct kl_forcer *f, size_t len, struct kl_error *err)
{
    struct kl_span span = {.text = f->bytes, .len = len, .special = true};
    struct kl_segment_reader reader = {.tokenizer = f->tokenizer, .spans = &span, .n_spans = 1};
    struct kl_segment segment;
    enum kl_status status = KL_OK;
    while (status == KL_OK && kl_segment_next(&reader, &segment)) {
        size_t effort = SIZE_MAX;
        bool done;
        if (segment.id >= 0 && kl_tokenizer_is_control(f->tokenizer, segment.id))
            return KL_OK;
        if (segment.id >= 0) {
            status = kl_tokens_push(&f->tokens, segment.id);
            continue;
        }
        status = kl_encoder_begin(&f->encoder, segment.text, segment.len);
        if (status == KL_OK)
            status = kl_encoder_step(&f->encoder, &effort, SIZE_MAX, &f->tokens, &done);
    }
    return status == KL_OK ? KL_OK : kl_encoder_fail(f->tokenizer, status, err);
}

/* Finds the bytes that must follow, and encodes them; returns how many of the tokens are these
 * bytes (the tokenizer changes text that is not NFC or not UTF-8) and are known to the model. *len:
 * of the bytes. */
static enum kl_status encode_forced(const struct kl_request_rule *r,
                                    const struct kl_rule_state *state, size_t *n, size_t *len,
                                    struct kl_error *err)
{
    struct kl_forcer *f = r->forcer;
    f->tokens.len = *n = 0;
    *len = kl_matcher_forced(r->matcher, state, f->bytes, sizeof f->bytes);
    enum kl_status status = *len > 0 ? encode(f, *len, err) : KL_OK;
    for (size_t at = 0; *n < f->tokens.len && (size_t)f->tokens.ids[*n] < f->n_vocab; (*n)++) {
        size_t size;
        const char *piece = kl_tokenizer_piece(f->tokenizer, f->tokens.ids[*n], &size);
        if (size > *len - at || memcmp(piece, f->bytes + at, size) != 0)
            break;
        at += size;
    }
    return status;
}

/* Returns how many of the n tokens are not left open. */
static size_t n_closed(const struct kl_request_rule *r, struct kl_rule_state state, size_t n,
                       size_t len)
{
    struct kl_forcer *f = r->forcer;
    size_t at = 0, closed = 0;
    kl_matcher_accept_bytes(r->matcher, &state, f->bytes, len);
    for (; closed < n && !kl_matcher_goes_on(r->matcher, &state, f->bytes + at, len - at);
         closed++) {
        size_t size;
        kl_tokenizer_piece(f->tokenizer, f->tokens.ids[closed], &size);
        at += size;
    }
    return closed;
}

enum kl_status kl_request_rule_forced(const struct kl_request_rule *r,
                                      const struct kl_rule_state *state, const int32_t **tokens,
                                      size_t *n, struct kl_error *err)
{
    struct kl_forcer *f = r->forcer;
    size_t len;
    enum kl_status status = encode_forced(r, state, n, &len, err);
    if (status == KL_OK)
        *n = n_closed(r, *state, *n, len);
    size_t n_allowed = 0;
    if (status == KL_OK && *n == 0) {
        status = find_allowed(r, state, f->mask, &n_allowed, err);
        int32_t only = status == KL_OK ? only_choice(f, n_allowed) : -1;
        f->tokens.len = 0;
        if (only >= 0 && kl_tokens_push(&f->tokens, only) != KL_OK)
            status = kl_fail_memory(err, "a forced token", sizeof only);
        *n = f->tokens.len;
    }
    *tokens = f->tokens.ids;
    return status;
}

size_t kl_request_rule_agrees(const struct kl_request_rule *r, const int32_t *proposed, size_t n)
{
    struct kl_rule_state state = r->state;
    const int32_t *forced;
    size_t n_forced, i = 0;
    struct kl_error err;
    while (i < n && !r->forces_more) {
        if (kl_request_rule_forced(r, &state, &forced, &n_forced, &err) != KL_OK)
            break;
        size_t end = i + (n_forced > 0 ? n_forced : 1);
        for (size_t first = i; i < end && i < n; i++) {
            bool agrees = n_forced == 0 || forced[i - first] == proposed[i];
            if (!agrees || kl_tokenizer_is_end(r->forcer->tokenizer, proposed[i]) ||
                !kl_matcher_accept(r->matcher, &state, proposed[i]))
                return i;
        }
    }
    return i;
}

size_t kl_request_rule_likely(const struct kl_request_rule *r, int32_t *tokens, size_t max)
{
    size_t n, len;
    struct kl_error err;
    if (r->forces_more || encode_forced(r, &r->state, &n, &len, &err) != KL_OK)
        return 0;
    n = n < max ? n : max;
    for (size_t i = 0; i < n; i++)
        tokens[i] = r->forcer->tokens.ids[i];
    return n;
}
