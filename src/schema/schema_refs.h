/*
 * The subschemas of a document that have names ($id, id, $anchor, $dynamicAnchor), and where a
 * $ref leads.
 *
 * A resource is the document, or a subschema with an identifier of its own, which is the base of
 * the references in it. Borrows the document; texts are those of the builder's graph. One thread at
 * a time. Nothing is fetched. Internal to schema/.
 */
#ifndef KL_SCHEMA_SCHEMA_REFS_H
#define KL_SCHEMA_SCHEMA_REFS_H

#include "schema/schema_graph.h"
#include "schema/schema_words.h"

struct kl_schema_refs {
    enum kl_draft draft;
    struct kl_schema_builder *builder;
    struct kl_schema_resource {
        struct kl_schema_text uri; /* absolute, without a fragment; "" for a document without one */
        const json_t *schema;
        uint32_t base;   /* itself; the one around it if only a name was added */
        bool is_dynamic; /* it has $recursiveAnchor: true */
    } * resources;
    struct kl_schema_anchor {
        const char *name;
        const json_t *schema;
        uint32_t resource;
        bool is_dynamic;
    } * anchors;
    size_t n_resources, room_resources, n_anchors, room_anchors;
    struct kl_hash_index by_schema, by_uri, by_anchor; /* by_schema: resources by address */
};

/* Where a reference leads. */
struct kl_schema_target {
    const json_t *schema; /* NULL: nowhere in this document */
    uint32_t base;
    const struct kl_schema_anchor *anchor; /* that was named, or NULL */
    struct kl_schema_text path;
};

/* Finds the names of a document. KL_ERR_LIMIT, KL_ERR_MEMORY. To be released even if it fails. */
enum kl_status kl_schema_refs_open(struct kl_schema_refs *refs, struct kl_schema_builder *builder,
                                   enum kl_draft draft, const json_t *document);
void kl_schema_refs_release(struct kl_schema_refs *refs);

/* The base of the references in a subschema that stands in resource `base`. */
uint32_t kl_schema_refs_base(const struct kl_schema_refs *refs, const json_t *schema,
                             uint32_t base);

/* Follows a reference from a resource; target->schema may be anything in the document. */
enum kl_status kl_schema_refs_find(struct kl_schema_refs *refs, uint32_t base,
                                   const char *reference, struct kl_schema_target *target);

/* Number of dynamic anchors with this name; of resources that are dynamic. */
size_t kl_schema_refs_dynamic(const struct kl_schema_refs *refs, const char *name);
size_t kl_schema_refs_recursive(const struct kl_schema_refs *refs);

#endif
