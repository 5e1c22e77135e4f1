/*
 * Builds a graph of nodes (schema_nodes.h): growing arrays within the limits of schema.h, and each
 * key and pattern once.
 *
 * The graph is the caller's; the builder holds what is needed only while it grows. Functions return
 * KL_ERR_MEMORY, or KL_ERR_LIMIT over KL_SCHEMA_MAX_NODES or _BYTES, and leave the graph releasable
 * then. Copies what it is given, unless it says otherwise. One thread at a time. Internal to
 * schema/.
 */
#ifndef KL_SCHEMA_SCHEMA_GRAPH_H
#define KL_SCHEMA_SCHEMA_GRAPH_H

#include "schema/hash_index.h"
#include "schema/schema_nodes.h"

struct kl_schema_builder {
    struct kl_schema_graph *graph;
    struct kl_error *err;
    size_t room_nodes, room_keys, room_properties, room_patterns, room_key_lists, room_regex_lists,
        room_node_lists, room_regexes, room_sources, room_sets, room_bounds, room_numbers;
    struct kl_schema_source { /* [n_sources] the patterns of regexes */
        struct kl_schema_text pattern;
        enum kl_regex_mode mode;
        uint32_t regex;
    } * sources;
    size_t n_sources;
    struct kl_hash_index keys, patterns;
};

/* graph: zeroed, or one that was built before and is to grow. err gets the texts of all failures of
 * this builder; it may be NULL. */
enum kl_status kl_schema_builder_open(struct kl_schema_builder *b, struct kl_schema_graph *graph,
                                      struct kl_error *err);
void kl_schema_builder_close(struct kl_schema_builder *b); /* leaves the graph */
void kl_schema_graph_release(struct kl_schema_graph *graph);

/* A node that allows everything. */
void kl_schema_node_init(struct kl_schema_node *node);
/* Appends one. Pointers into graph->nodes are invalid then. */
enum kl_status kl_schema_add_node(struct kl_schema_builder *b, const struct kl_schema_node *node,
                                  int32_t *index);

/* Texts live as long as the graph. They are followed by a NUL. */
enum kl_status kl_schema_add_text(struct kl_schema_builder *b, const char *bytes, size_t len,
                                  struct kl_schema_text *text);
/* Sets *key to the index of the key with these bytes. */
enum kl_status kl_schema_add_key(struct kl_schema_builder *b, const char *bytes, size_t len,
                                 uint32_t *key);
/* Compiles the pattern, unless it was before; also fails as kl_regex_compile does. */
enum kl_status kl_schema_add_regex(struct kl_schema_builder *b, const char *pattern, size_t len,
                                   enum kl_regex_mode mode, uint32_t *regex);
/* Takes over a compiled regex, also after a failure. */
enum kl_status kl_schema_take_regex(struct kl_schema_builder *b, struct kl_regex *compiled,
                                    uint32_t *regex);
/* texts: of _add_text. */
enum kl_status kl_schema_add_set(struct kl_schema_builder *b, const struct kl_schema_text *texts,
                                 size_t n, int32_t *set);
enum kl_status kl_schema_add_bounds(struct kl_schema_builder *b,
                                    const struct kl_number_bounds *bounds, int32_t *index);

/* Append n elements and set *range to them. */
enum kl_status kl_schema_add_properties(struct kl_schema_builder *b,
                                        const struct kl_schema_property *properties, size_t n,
                                        struct kl_range *range);
enum kl_status kl_schema_add_patterns(struct kl_schema_builder *b,
                                      const struct kl_schema_pattern *patterns, size_t n,
                                      struct kl_range *range);
enum kl_status kl_schema_add_key_list(struct kl_schema_builder *b, const uint32_t *keys, size_t n,
                                      struct kl_range *range);
enum kl_status kl_schema_add_regex_list(struct kl_schema_builder *b, const uint32_t *regexes,
                                        size_t n, struct kl_range *range);
enum kl_status kl_schema_add_node_list(struct kl_schema_builder *b, const int32_t *nodes, size_t n,
                                       struct kl_range *range);
enum kl_status kl_schema_add_numbers(struct kl_schema_builder *b, const struct kl_decimal *numbers,
                                     size_t n, struct kl_range *range);

#endif
