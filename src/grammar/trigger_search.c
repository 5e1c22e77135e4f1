#include "grammar/trigger_search.h"

#include <stdlib.h>
#include <string.h>

/* A state is a node of each automaton: 13 bits are enough for 4096 bytes. */
enum { FIRST_SHIFT = 13, ANYWHERE_MASK = (1 << FIRST_SHIFT) - 1, FIRST_ROOT = 1 };

/* Each byte of the texts has a class of its own; all others are class 0. Whitespace is told from
 * these by its byte. */
static void make_classes(struct kl_trigger_search *s, const struct kl_trigger_text *texts, size_t n)
{
    s->n_classes = 1;
    for (size_t i = 0; i < n; i++)
        for (const char *c = texts[i].text; *c != '\0'; c++)
            if (s->classes[(uint8_t)*c] == 0)
                s->classes[(uint8_t)*c] = (uint8_t)s->n_classes++;
}

static uint16_t *next_of(const struct kl_trigger_search *s, const struct kl_trigger_nodes *nodes,
                         size_t node, uint8_t byte)
{
    return &nodes->next[node * s->n_classes + s->classes[byte]];
}

/* Makes the trie of the texts of one kind. Node 0 is no child, so 0 means that there is none. */
static enum kl_status make_trie(struct kl_trigger_search *s, struct kl_trigger_nodes *nodes,
                                const struct kl_trigger_text *texts, size_t n, bool only_first,
                                struct kl_error *err)
{
    size_t room = 2, root = only_first ? FIRST_ROOT : 0;
    for (size_t i = 0; i < n; i++)
        if (texts[i].only_first == only_first)
            room += strlen(texts[i].text);
    nodes->next = calloc(room * s->n_classes, sizeof *nodes->next);
    nodes->found = malloc(room * sizeof *nodes->found);
    if (nodes->next == NULL || nodes->found == NULL)
        return kl_fail_memory(err, "triggers", room * s->n_classes * sizeof *nodes->next);
    for (size_t i = 0; i < room; i++)
        nodes->found[i] = KL_TRIGGER_NONE;
    nodes->n = root + 1;
    for (size_t i = 0; i < n; i++) {
        size_t at = root;
        if (texts[i].only_first != only_first)
            continue;
        for (const char *c = texts[i].text; *c != '\0'; c++) {
            uint16_t *next = next_of(s, nodes, at, (uint8_t)*c);
            if (*next == 0)
                *next = (uint16_t)nodes->n++;
            at = *next;
        }
        nodes->found[at] = (int16_t)i;
    }
    return KL_OK;
}

/* Completes the trie, nearest nodes first: where a node has no child, the longest suffix of its
 * text that is a node has one. */
static enum kl_status add_suffixes(struct kl_trigger_search *s, struct kl_error *err)
{
    struct kl_trigger_nodes *nodes = &s->anywhere;
    uint16_t *suffix = calloc(2 * nodes->n, sizeof *suffix), *queue = suffix + nodes->n;
    if (suffix == NULL)
        return kl_fail_memory(err, "triggers", 2 * nodes->n * sizeof *suffix);
    size_t head = 0, tail = 0;
    queue[tail++] = 0;
    while (head < tail) {
        size_t at = queue[head++];
        if (nodes->found[at] == KL_TRIGGER_NONE)
            nodes->found[at] = nodes->found[suffix[at]];
        for (size_t class = 0; class < s->n_classes; class ++) {
            uint16_t *next = &nodes->next[at * s->n_classes + class];
            uint16_t other = at == 0 ? 0 : nodes->next[suffix[at] * s->n_classes + class];
            if (*next != 0) {
                suffix[*next] = other;
                queue[tail++] = *next;
            } else {
                *next = other;
            }
        }
    }
    free(suffix);
    return KL_OK;
}

enum kl_status kl_trigger_search_make(struct kl_trigger_search *s,
                                      const struct kl_trigger_text *texts, size_t n,
                                      struct kl_error *err)
{
    *s = (struct kl_trigger_search){0};
    make_classes(s, texts, n);
    enum kl_status status = make_trie(s, &s->anywhere, texts, n, false, err);
    if (status == KL_OK)
        status = add_suffixes(s, err);
    if (status == KL_OK)
        status = make_trie(s, &s->first, texts, n, true, err);
    return status;
}

void kl_trigger_search_free(struct kl_trigger_search *s)
{
    free(s->anywhere.next);
    free(s->anywhere.found);
    free(s->first.next);
    free(s->first.found);
}

size_t kl_trigger_search_bytes(const struct kl_trigger_search *s)
{
    return (s->anywhere.n + s->first.n) *
           (s->n_classes * sizeof *s->first.next + sizeof *s->first.found);
}

uint32_t kl_trigger_search_start(const struct kl_trigger_search *s)
{
    bool any_first = s->first.n > FIRST_ROOT + 1;
    return any_first ? FIRST_ROOT << FIRST_SHIFT : KL_TRIGGER_RESTART;
}

static bool is_space(uint8_t byte)
{
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

uint32_t kl_trigger_search_step(const struct kl_trigger_search *s, uint32_t state, uint8_t byte,
                                int *found)
{
    uint32_t anywhere = state & ANYWHERE_MASK, first = state >> FIRST_SHIFT, was = first;
    anywhere = *next_of(s, &s->anywhere, anywhere, byte);
    first = first == 0 ? 0 : *next_of(s, &s->first, first, byte);
    if (first == 0 && was == FIRST_ROOT && is_space(byte))
        first = FIRST_ROOT;
    *found = s->first.found[first];
    if (*found == KL_TRIGGER_NONE)
        *found = s->anywhere.found[anywhere];
    return first << FIRST_SHIFT | anywhere;
}
