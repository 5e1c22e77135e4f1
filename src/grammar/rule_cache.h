/*
 * Compiled rules by their content, and the trie of the vocabulary: what rules of requests have in
 * common.
 *
 * A rule stays here until its memory is needed for others. The memory of all rules that the cache
 * has given out or keeps is bounded, so the rules of all requests are; one that an answer still
 * follows is not removed. The trie is made when it is asked for the first time: a server without
 * ruled answers does not pay for it.
 *
 * One thread at a time: the worker's.
 */
#ifndef KL_GRAMMAR_RULE_CACHE_H
#define KL_GRAMMAR_RULE_CACHE_H

#include <stddef.h>

#include "base/error.h"
#include "grammar/rule.h"
#include "grammar/token_trie.h"

/* The most rules: of requests that may run and wait, and some. */
#define KL_RULE_CACHE_RULES 256

struct kl_rule_cache;

/* max_bytes: of all rules together. tokenizer must outlive the cache. */
enum kl_status kl_rule_cache_open(const struct kl_tokenizer *tokenizer, size_t max_bytes,
                                  struct kl_rule_cache **cache, struct kl_error *err);
/* After the last matcher that uses its trie. NULL is allowed. */
void kl_rule_cache_close(struct kl_rule_cache *cache);

/* The most memory that it takes, for the plan. */
size_t kl_rule_cache_most_bytes(const struct kl_tokenizer *tokenizer, size_t max_bytes);

/* The trie belongs to the cache. KL_ERR_MEMORY, KL_ERR_LIMIT. */
enum kl_status kl_rule_cache_trie(struct kl_rule_cache *cache, const struct kl_token_trie **trie,
                                  struct kl_error *err);

/* kind: how the text is compiled; different kinds share nothing. */
struct kl_rule_key {
    uint8_t digest[32];
};
struct kl_rule_key kl_rule_key(const char *kind, const char *text, size_t len);

/* Returns a share of the rule of that content; NULL: it is not here. */
struct kl_rule *kl_rule_cache_find(struct kl_rule_cache *cache, const struct kl_rule_key *key);

/* Keeps a share of a rule that was not found. KL_ERR_LIMIT: it is larger than the cache;
 * KL_ERR_BUSY: there is no room next to the rules that answers follow now. */
enum kl_status kl_rule_cache_keep(struct kl_rule_cache *cache, const struct kl_rule_key *key,
                                  struct kl_rule *rule, struct kl_error *err);

#endif
