#include "grammar/rule_cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

/* A trie takes less for each token (Qwen2.5: 33, SmolLM2: 32). */
#define TRIE_BYTES_PER_TOKEN 34

struct entry {
    struct kl_rule_key key;
    struct kl_rule *rule;
};

struct kl_rule_cache {
    const struct kl_tokenizer *tokenizer;
    struct kl_token_trie *trie;                /* NULL: not made yet */
    struct entry entries[KL_RULE_CACHE_RULES]; /* [n] the least recently used first */
    size_t n, bytes, max_bytes;
};

enum kl_status kl_rule_cache_open(const struct kl_tokenizer *tokenizer, size_t max_bytes,
                                  struct kl_rule_cache **out, struct kl_error *err)
{
    *out = calloc(1, sizeof **out);
    if (*out == NULL)
        return kl_fail_memory(err, "the cache of rules", sizeof **out);
    (*out)->tokenizer = tokenizer;
    (*out)->max_bytes = max_bytes;
    return KL_OK;
}

void kl_rule_cache_close(struct kl_rule_cache *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->n; i++)
        kl_rule_disown(c->entries[i].rule);
    kl_token_trie_close(c->trie);
    free(c);
}

size_t kl_rule_cache_most_bytes(const struct kl_tokenizer *tokenizer, size_t max_bytes)
{
    return sizeof(struct kl_rule_cache) + max_bytes +
           kl_tokenizer_size(tokenizer) * TRIE_BYTES_PER_TOKEN;
}

enum kl_status kl_rule_cache_trie(struct kl_rule_cache *c, const struct kl_token_trie **trie,
                                  struct kl_error *err)
{
    enum kl_status status = KL_OK;
    if (c->trie == NULL)
        status = kl_token_trie_open(c->tokenizer, &c->trie, err);
    *trie = c->trie;
    return status;
}

struct kl_rule_key kl_rule_key(const char *kind, const char *text, size_t len)
{
    struct kl_rule_key key;
    struct kl_sha256 hash;
    kl_sha256_init(&hash);
    kl_sha256_update(&hash, kind, strlen(kind) + 1);
    kl_sha256_update(&hash, text, len);
    kl_sha256_finish(&hash, key.digest);
    return key;
}

static struct entry take_out(struct kl_rule_cache *c, size_t i)
{
    struct entry entry = c->entries[i];
    c->bytes -= entry.rule->bytes;
    c->n--;
    memmove(c->entries + i, c->entries + i + 1, (c->n - i) * sizeof *c->entries);
    return entry;
}

static void append(struct kl_rule_cache *c, struct entry entry)
{
    c->entries[c->n++] = entry;
    c->bytes += entry.rule->bytes;
}

struct kl_rule *kl_rule_cache_find(struct kl_rule_cache *c, const struct kl_rule_key *key)
{
    for (size_t i = c->n; i-- > 0;) {
        if (memcmp(&c->entries[i].key, key, sizeof *key) != 0)
            continue;
        struct entry entry = take_out(c, i);
        append(c, entry);
        return kl_rule_hold(entry.rule);
    }
    return NULL;
}

enum kl_status kl_rule_cache_keep(struct kl_rule_cache *c, const struct kl_rule_key *key,
                                  struct kl_rule *rule, struct kl_error *err)
{
    if (rule->bytes > c->max_bytes)
        return kl_fail(err, KL_ERR_LIMIT,
                       "the rule takes %zu bytes of memory compiled, expected at most %zu",
                       rule->bytes, c->max_bytes);
    for (size_t i = 0;
         i < c->n && (c->n == KL_RULE_CACHE_RULES || c->bytes + rule->bytes > c->max_bytes);) {
        if (atomic_load(&c->entries[i].rule->owners) > 1)
            i++;
        else
            kl_rule_disown(take_out(c, i).rule);
    }
    if (c->n == KL_RULE_CACHE_RULES || c->bytes + rule->bytes > c->max_bytes)
        return kl_fail(err, KL_ERR_BUSY,
                       "the rules of the requests that run and wait take %zu bytes of %zu, which "
                       "leaves no room for one of %zu: try again later",
                       c->bytes, c->max_bytes, rule->bytes);
    append(c, (struct entry){*key, kl_rule_hold(rule)});
    return KL_OK;
}
