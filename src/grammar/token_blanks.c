#include "grammar/token_blanks.h"

#include <stdlib.h>
#include <string.h>

/* Lists the nodes on whose way there is only white space: children come behind their parents. */
static size_t list_blanks(const struct kl_token_nodes *trie, uint32_t *list)
{
    size_t n = 0;
    for (uint32_t i = 0; i < trie->n_roots; i++) {
        if (kl_is_blank((uint8_t)trie->nodes[i].byte))
            list[n++] = i;
    }
    for (size_t at = 0; at < n; at++) {
        struct kl_token_node node = trie->nodes[list[at]];
        for (uint32_t child = node.first; child < node.first + (uint32_t)node.n; child++) {
            if (kl_is_blank((uint8_t)trie->nodes[child].byte))
                list[n++] = child;
        }
    }
    return n;
}

/* Counts, then fills: each byte has its part of `nodes`. */
static void sort_behind(struct kl_token_blanks *b, const struct kl_token_nodes *trie,
                        const uint32_t *list, size_t n)
{
    uint32_t at[257] = {0};
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < n; i++) {
            struct kl_token_node node = trie->nodes[list[i]];
            for (uint32_t child = node.first; child < node.first + (uint32_t)node.n; child++) {
                uint8_t byte = (uint8_t)trie->nodes[child].byte;
                if (kl_is_blank(byte))
                    continue;
                if (pass == 0)
                    b->from[byte + 1]++;
                else
                    b->nodes[at[byte]++] = child;
            }
        }
        for (size_t byte = 0; pass == 0 && byte < 256; byte++)
            b->from[byte + 1] += b->from[byte];
        memcpy(at, b->from, sizeof at);
    }
}

bool kl_token_blanks_make(struct kl_token_blanks *b, const struct kl_token_nodes *trie)
{
    *b = (struct kl_token_blanks){0};
    uint32_t *list = malloc((trie->n + 1) * sizeof *list);
    if (list == NULL)
        return false;
    size_t n = list_blanks(trie, list), n_behind = 0;
    for (size_t i = 0; i < n; i++)
        n_behind += trie->nodes[list[i]].n;
    b->values = malloc((n + 1) * sizeof *b->values);
    b->nodes = malloc((n_behind + 1) * sizeof *b->nodes);
    bool made = b->values != NULL && b->nodes != NULL;
    for (size_t i = 0; made && i < n; i++) {
        if (trie->nodes[list[i]].value != 0)
            b->values[b->n_values++] = trie->nodes[list[i]].value - 1;
    }
    if (made)
        sort_behind(b, trie, list, n);
    else
        kl_token_blanks_release(b);
    free(list);
    return made;
}

void kl_token_blanks_release(struct kl_token_blanks *b)
{
    free(b->values);
    free(b->nodes);
    *b = (struct kl_token_blanks){0};
}

size_t kl_token_blanks_bytes(const struct kl_token_blanks *b)
{
    return (b->n_values + 1) * sizeof *b->values + (b->from[256] + 1) * sizeof *b->nodes;
}
