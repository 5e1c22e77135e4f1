/*
 * A matcher: follows a rule through the tokens of one answer.
 *
 * It owns a machine of the rule and computes which tokens of the vocabulary are allowed in a state
 * (the mask), by walking the trie of all tokens (token_trie.h); masks are cached by state. One
 * thread.
 *
 * Tokens: those with bytes are allowed by their bytes. A control token has no meaning inside a rule
 * and is never allowed, except the tokens that end an answer: they are allowed exactly where the
 * text so far is a whole answer.
 */
#ifndef KL_GRAMMAR_MATCHER_H
#define KL_GRAMMAR_MATCHER_H

#include "grammar/rule.h"
#include "grammar/token_trie.h"

struct kl_matcher;

/* Holds a share of the rule; trie must outlive it. */
enum kl_status kl_matcher_open(struct kl_rule *rule, const struct kl_token_trie *trie,
                               struct kl_matcher **matcher, struct kl_error *err);
void kl_matcher_close(struct kl_matcher *matcher);

/* The state before the first token. */
void kl_matcher_begin(struct kl_matcher *matcher, struct kl_rule_state *state);

/* Writes the set of allowed tokens, [n_vocab / 64 + 1] words, and their number. No token: the rule
 * has no continuation here. An error sticks: KL_ERR_LIMIT, KL_ERR_MEMORY. */
enum kl_status kl_matcher_allowed(struct kl_matcher *matcher, const struct kl_rule_state *state,
                                  uint64_t *allowed, size_t *n_allowed, struct kl_error *err);

/* Sets *state to the state after the token; false: the rule does not allow it, and *state is
 * unchanged. A token that ends the answer is allowed in a complete state, and changes nothing. */
bool kl_matcher_accept(struct kl_matcher *matcher, struct kl_rule_state *state, int32_t token);

/* The same for bytes. Returns how many of them were accepted. */
size_t kl_matcher_accept_bytes(struct kl_matcher *matcher, struct kl_rule_state *state,
                               const char *bytes, size_t n);

/* Whether the text so far is a whole answer. */
bool kl_matcher_is_complete(struct kl_matcher *matcher, const struct kl_rule_state *state);

/* Writes the bytes that must follow: those that are the only ones allowed, one after the other, up
 * to `room` of them, and ends where the text may be complete. Returns their number. */
size_t kl_matcher_forced(struct kl_matcher *matcher, const struct kl_rule_state *state, char *bytes,
                         size_t room);

/* Whether the rule allows a token that begins with bytes[0..n), n > 0, and is longer. *state is
 * that behind these bytes. */
bool kl_matcher_goes_on(struct kl_matcher *matcher, const struct kl_rule_state *state,
                        const char *bytes, size_t n);

/* Counted since _open. */
struct kl_matcher_stats {
    uint64_t masks, masks_cached; /* computed and taken from the cache */
    size_t bytes;                 /* that it holds now, with its machine */
};
void kl_matcher_stats(const struct kl_matcher *matcher, struct kl_matcher_stats *stats);

#endif
