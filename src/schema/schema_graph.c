#include "schema/schema_graph.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "schema/schema.h"

#define CHUNK_BYTES 16384

static enum kl_status count_bytes(struct kl_schema_builder *b, size_t bytes)
{
    if (bytes > KL_SCHEMA_MAX_BYTES - b->graph->bytes)
        return kl_fail(b->err, KL_ERR_LIMIT,
                       "the schema needs more than %zu MiB when it is compiled; make it smaller",
                       KL_SCHEMA_MAX_BYTES >> 20);
    b->graph->bytes += bytes;
    return KL_OK;
}

/* Makes room for n + more elements; *array is a pointer to elements of `size` bytes. */
static enum kl_status reserve(struct kl_schema_builder *b, void *array, size_t *room, size_t n,
                              size_t more, size_t size)
{
    if (more <= *room - n)
        return KL_OK;
    if (more > UINT32_MAX / 2 || n > UINT32_MAX / 2)
        return count_bytes(b, SIZE_MAX / 2);
    size_t wider = *room == 0 ? 16 : *room * 2;
    if (wider < n + more)
        wider = n + more;
    enum kl_status status = count_bytes(b, (wider - *room) * size);
    if (status != KL_OK)
        return status;
    void *old;
    memcpy(&old, array, sizeof(old));
    void *grown = realloc(old, wider * size);
    if (grown == NULL)
        return kl_fail_memory(b->err, "a schema", wider * size);
    memcpy(array, &grown, sizeof(grown));
    *room = wider;
    return KL_OK;
}

/* Appends n elements of an array of the graph. */
#define APPEND(b, array, elements, count, range)                                                   \
    do {                                                                                           \
        struct kl_schema_graph *graph_ = (b)->graph;                                               \
        size_t count_ = (count);                                                                   \
        enum kl_status status_ = reserve(b, &graph_->array, &(b)->room_##array, graph_->n_##array, \
                                         count_, sizeof(*graph_->array));                          \
        if (status_ != KL_OK)                                                                      \
            return status_;                                                                        \
        if (count_ != 0)                                                                           \
            memcpy(graph_->array + graph_->n_##array, elements, count_ * sizeof(*graph_->array));  \
        *(range) = (struct kl_range){(uint32_t)graph_->n_##array, (uint32_t)count_};               \
        graph_->n_##array += count_;                                                               \
    } while (0)

enum kl_status kl_schema_builder_open(struct kl_schema_builder *b, struct kl_schema_graph *graph,
                                      struct kl_error *err)
{
    *b = (struct kl_schema_builder){.graph = graph,
                                    .err = err,
                                    .room_nodes = graph->n_nodes,
                                    .room_keys = graph->n_keys,
                                    .room_properties = graph->n_properties,
                                    .room_patterns = graph->n_patterns,
                                    .room_key_lists = graph->n_key_lists,
                                    .room_regex_lists = graph->n_regex_lists,
                                    .room_node_lists = graph->n_node_lists,
                                    .room_regexes = graph->n_regexes,
                                    .room_sets = graph->n_sets,
                                    .room_bounds = graph->n_bounds,
                                    .room_numbers = graph->n_numbers};
    for (size_t i = 0; i < graph->n_keys; i++) {
        enum kl_status status = kl_hash_index_add(
            &b->keys, kl_hash64(graph->keys[i].bytes, graph->keys[i].len, 0), (uint32_t)i, err);
        if (status != KL_OK)
            return status;
    }
    return KL_OK;
}

void kl_schema_builder_close(struct kl_schema_builder *b)
{
    free(b->sources);
    kl_hash_index_release(&b->keys);
    kl_hash_index_release(&b->patterns);
}

void kl_schema_graph_release(struct kl_schema_graph *graph)
{
    for (size_t i = 0; i < graph->n_regexes; i++)
        kl_regex_free(graph->regexes[i]);
    for (size_t i = 0; i < graph->n_sets; i++)
        kl_string_set_release(&graph->sets[i]);
    while (graph->chunks != NULL) {
        struct kl_schema_chunk *next = graph->chunks->next;
        free(graph->chunks);
        graph->chunks = next;
    }
    free(graph->nodes);
    free(graph->keys);
    free(graph->properties);
    free(graph->patterns);
    free(graph->key_lists);
    free(graph->regex_lists);
    free(graph->node_lists);
    free(graph->regexes);
    free(graph->sets);
    free(graph->bounds);
    free(graph->numbers);
    *graph = (struct kl_schema_graph){0};
}

void kl_schema_node_init(struct kl_schema_node *node)
{
    *node = (struct kl_schema_node){.types = KL_JSON_ANY,
                                    .max_length = UINT32_MAX,
                                    .strings = -1,
                                    .bounds = -1,
                                    .additional = KL_NO_NODE,
                                    .property_names = KL_NO_NODE,
                                    .max_properties = UINT32_MAX,
                                    .items = KL_NO_NODE,
                                    .contains = KL_NO_NODE,
                                    .max_contains = UINT32_MAX,
                                    .max_items = UINT32_MAX,
                                    .not_node = KL_NO_NODE,
                                    .if_node = KL_NO_NODE,
                                    .then_node = KL_NO_NODE,
                                    .else_node = KL_NO_NODE,
                                    .path = "#"};
}

enum kl_status kl_schema_add_node(struct kl_schema_builder *b, const struct kl_schema_node *node,
                                  int32_t *index)
{
    if (b->graph->n_nodes >= KL_SCHEMA_MAX_NODES)
        return kl_fail(
            b->err, KL_ERR_LIMIT,
            "the schema has more than %d subschemas when it is compiled; make it smaller",
            KL_SCHEMA_MAX_NODES);
    struct kl_range range;
    APPEND(b, nodes, node, 1, &range);
    *index = (int32_t)range.first;
    return KL_OK;
}

enum kl_status kl_schema_add_text(struct kl_schema_builder *b, const char *bytes, size_t len,
                                  struct kl_schema_text *text)
{
    struct kl_schema_chunk *chunk = b->graph->chunks;
    if (len >= UINT32_MAX)
        return count_bytes(b, SIZE_MAX / 2);
    if (chunk == NULL || chunk->room - chunk->used < len + 1) {
        size_t room = len + 1 > CHUNK_BYTES ? len + 1 : CHUNK_BYTES;
        enum kl_status status = count_bytes(b, sizeof(*chunk) + room);
        if (status != KL_OK)
            return status;
        chunk = malloc(sizeof(*chunk) + room);
        if (chunk == NULL)
            return kl_fail_memory(b->err, "texts of a schema", room);
        chunk->next = b->graph->chunks;
        chunk->used = 0;
        chunk->room = room;
        b->graph->chunks = chunk;
    }
    char *at = chunk->bytes + chunk->used;
    if (len != 0)
        memcpy(at, bytes, len);
    at[len] = '\0';
    chunk->used += len + 1;
    *text = (struct kl_schema_text){at, (uint32_t)len};
    return KL_OK;
}

static bool is_text(const struct kl_schema_text *text, const char *bytes, size_t len)
{
    return text->len == len && (len == 0 || memcmp(text->bytes, bytes, len) == 0);
}

enum kl_status kl_schema_add_key(struct kl_schema_builder *b, const char *bytes, size_t len,
                                 uint32_t *key)
{
    uint64_t hash = kl_hash64(bytes, len, 0);
    for (size_t at = 0; kl_hash_index_next(&b->keys, hash, &at, key);)
        if (is_text(&b->graph->keys[*key], bytes, len))
            return KL_OK;
    struct kl_schema_text text;
    enum kl_status status = kl_schema_add_text(b, bytes, len, &text);
    if (status != KL_OK)
        return status;
    struct kl_range range;
    APPEND(b, keys, &text, 1, &range);
    *key = range.first;
    return kl_hash_index_add(&b->keys, hash, *key, b->err);
}

enum kl_status kl_schema_take_regex(struct kl_schema_builder *b, struct kl_regex *compiled,
                                    uint32_t *regex)
{
    struct kl_schema_graph *graph = b->graph;
    enum kl_status status = reserve(b, &graph->regexes, &b->room_regexes, graph->n_regexes, 1,
                                    sizeof(struct kl_regex *));
    if (status == KL_OK)
        status = count_bytes(b, kl_regex_bytes(compiled));
    if (status != KL_OK) {
        kl_regex_free(compiled);
        return status;
    }
    *regex = (uint32_t)graph->n_regexes++;
    graph->regexes[*regex] = compiled;
    return KL_OK;
}

enum kl_status kl_schema_add_regex(struct kl_schema_builder *b, const char *pattern, size_t len,
                                   enum kl_regex_mode mode, uint32_t *regex)
{
    uint64_t hash = kl_hash64(pattern, len, (uint64_t)mode + 1);
    uint32_t found;
    for (size_t at = 0; kl_hash_index_next(&b->patterns, hash, &at, &found);) {
        *regex = b->sources[found].regex;
        if (b->sources[found].mode == mode && is_text(&b->sources[found].pattern, pattern, len))
            return KL_OK;
    }
    struct kl_schema_source source = {.mode = mode};
    struct kl_regex *compiled;
    enum kl_status status = kl_schema_add_text(b, pattern, len, &source.pattern);
    if (status == KL_OK)
        status = reserve(b, &b->sources, &b->room_sources, b->n_sources, 1, sizeof(source));
    if (status == KL_OK)
        status = kl_regex_compile(pattern, len, mode, &compiled, b->err);
    if (status == KL_OK)
        status = kl_schema_take_regex(b, compiled, &source.regex);
    if (status != KL_OK)
        return status;
    *regex = source.regex;
    b->sources[b->n_sources++] = source;
    return kl_hash_index_add(&b->patterns, hash, (uint32_t)(b->n_sources - 1), b->err);
}

enum kl_status kl_schema_add_set(struct kl_schema_builder *b, const struct kl_schema_text *texts,
                                 size_t n, int32_t *set)
{
    struct kl_string_set built = {0};
    struct kl_range range;
    APPEND(b, sets, &built, 1, &range);
    *set = (int32_t)range.first;
    enum kl_status status = kl_string_set_build(&b->graph->sets[*set], texts, n, b->err);
    return status != KL_OK ? status : count_bytes(b, kl_string_set_bytes(&b->graph->sets[*set]));
}

enum kl_status kl_schema_add_bounds(struct kl_schema_builder *b,
                                    const struct kl_number_bounds *bounds, int32_t *index)
{
    struct kl_range range;
    APPEND(b, bounds, bounds, 1, &range);
    *index = (int32_t)range.first;
    return KL_OK;
}

enum kl_status kl_schema_add_properties(struct kl_schema_builder *b,
                                        const struct kl_schema_property *properties, size_t n,
                                        struct kl_range *range)
{
    APPEND(b, properties, properties, n, range);
    return KL_OK;
}

enum kl_status kl_schema_add_patterns(struct kl_schema_builder *b,
                                      const struct kl_schema_pattern *patterns, size_t n,
                                      struct kl_range *range)
{
    APPEND(b, patterns, patterns, n, range);
    return KL_OK;
}

enum kl_status kl_schema_add_key_list(struct kl_schema_builder *b, const uint32_t *keys, size_t n,
                                      struct kl_range *range)
{
    APPEND(b, key_lists, keys, n, range);
    return KL_OK;
}

enum kl_status kl_schema_add_regex_list(struct kl_schema_builder *b, const uint32_t *regexes,
                                        size_t n, struct kl_range *range)
{
    APPEND(b, regex_lists, regexes, n, range);
    return KL_OK;
}

enum kl_status kl_schema_add_node_list(struct kl_schema_builder *b, const int32_t *nodes, size_t n,
                                       struct kl_range *range)
{
    APPEND(b, node_lists, nodes, n, range);
    return KL_OK;
}

enum kl_status kl_schema_add_numbers(struct kl_schema_builder *b, const struct kl_decimal *numbers,
                                     size_t n, struct kl_range *range)
{
    APPEND(b, numbers, numbers, n, range);
    return KL_OK;
}
