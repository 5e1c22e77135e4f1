/*
 * The rule that an answer follows: its state, the tokens that it allows next, and those that it
 * leaves no choice about.
 *
 * Forced tokens. Where the rule allows only one continuation, its bytes are encoded alone, as the
 * tokenizer encodes any text (added tokens that are shown are recognised, control tokens are not),
 * and the tokens go into the answer without being sampled. Tokens at the end are left open: all
 * from the first one on at whose place the rule also allows a token that begins with the remaining
 * forced bytes and goes on behind them, since the model may prefer that one. So which tokens are
 * forced is a function of the rule, the vocabulary, and the tokens before them. If no token is
 * forced like this but the rule allows a single one, or only tokens that end the answer, then that
 * one is.
 *
 * The engine thread's, except that the rule itself is shared (grammar/rule.h). Knows nothing of
 * requests, logits and text.
 */
#ifndef KL_ENGINE_REQUEST_RULE_H
#define KL_ENGINE_REQUEST_RULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "grammar/matcher.h"
#include "grammar/rule.h"
#include "grammar/token_trie.h"
#include "text/encoder.h"
#include "text/tokenizer.h"

/* Bytes that are encoded at once; longer forced text takes several calls. */
#define KL_FORCED_BYTES 512

/* Memory for finding forced tokens, shared by the requests of an engine. */
struct kl_forcer {
    const struct kl_tokenizer *tokenizer;
    size_t n_vocab;   /* ids that may be chosen */
    size_t max_bytes; /* of one matcher; more is KL_ERR_LIMIT */
    uint64_t *mask;   /* [n_words] */
    size_t n_words;   /* of a mask */
    struct kl_encoder encoder;
    struct kl_tokens tokens; /* of the last call */
    char bytes[KL_FORCED_BYTES];
};

/* tokenizer must outlive the forcer. To be released even if it fails. */
enum kl_status kl_forcer_open(struct kl_forcer *forcer, const struct kl_tokenizer *tokenizer,
                              size_t n_vocab, size_t max_bytes, struct kl_error *err);
void kl_forcer_release(struct kl_forcer *forcer);

/* Words of a mask: for all ids of the tokenizer. */
static inline size_t kl_mask_words(const struct kl_tokenizer *tokenizer)
{
    return kl_tokenizer_size(tokenizer) / 64 + 1;
}

struct kl_request_rule {
    struct kl_rule *rule; /* a share; NULL: the answer is free */
    const struct kl_token_trie *trie;
    /* while the request has a slot */
    struct kl_matcher *matcher; /* NULL: not open */
    struct kl_forcer *forcer;
    struct kl_rule_state state; /* after the answer so far */
    bool forces_more;           /* perhaps: it was not asked yet, or there was no room */
};

/* Opens the matcher and reads the answer so far. KL_ERR_MEMORY, or the failure of the machine;
 * nothing is open then. Not for a free answer. */
enum kl_status kl_request_rule_open(struct kl_request_rule *rule, struct kl_forcer *forcer,
                                    const int32_t *answer, size_t n, struct kl_error *err);
void kl_request_rule_close(struct kl_request_rule *rule); /* may be closed or free */

/* Advances *state by a token; false: not allowed. */
bool kl_request_rule_accept(const struct kl_request_rule *rule, struct kl_rule_state *state,
                            int32_t token);

/* Sets *tokens and *n to the tokens that must follow in *state, valid until the next call; n is 0
 * if there is a choice. An end token is the last one, if it is among them. Fails if no token is
 * allowed, and as kl_matcher_allowed. */
enum kl_status kl_request_rule_forced(const struct kl_request_rule *rule,
                                      const struct kl_rule_state *state, const int32_t **tokens,
                                      size_t *n, struct kl_error *err);

/* Writes the tokens that the rule makes likely next where it leaves a choice: those of the forced
 * bytes that are left open. Returns how many, at most max. */
size_t kl_request_rule_likely(const struct kl_request_rule *rule, int32_t *tokens, size_t max);

/* Returns how many of the proposed tokens, from the first on, may follow the answer: allowed ones,
 * and where tokens are forced these. */
size_t kl_request_rule_agrees(const struct kl_request_rule *rule, const int32_t *proposed,
                              size_t n);

/* Writes the set of allowed tokens, [kl_mask_words], and returns their number; 0 also if it fails:
 * then kl_request_rule_forced tells why. */
size_t kl_request_rule_mask(const struct kl_request_rule *rule, const struct kl_rule_state *state,
                            uint64_t *mask);

#endif
