/*
 * The parser of schemas, as its files share it. Internal to schema/.
 *
 * Nothing is recursive: a subschema becomes a node at once and is filled later, from a queue; it is
 * one node however often it is referred to. Functions that fail name the present subschema.
 */
#ifndef KL_SCHEMA_SCHEMA_PARSE_H
#define KL_SCHEMA_SCHEMA_PARSE_H

#include "schema/schema.h"
#include "schema/schema_graph.h"
#include "schema/schema_refs.h"
#include "schema/schema_words.h"

/* Longest chain of subschemas that apply to the same value, one through the other. */
#define KL_SCHEMA_MAX_CHAIN 256

struct kl_schema_parser {
    struct kl_schema_builder builder;
    struct kl_schema_graph *graph; /* of the builder */
    struct kl_schema_refusal *refusal;
    struct kl_error *err;
    enum kl_draft draft;
    struct kl_schema_refs refs;
    const char *path;          /* of the present subschema */
    struct kl_hash_index memo; /* address of a json_t: index of `queue` */
    struct kl_schema_waiting {
        const json_t *schema; /* an object */
        int32_t node;
        int depth;
        uint32_t base; /* the resource around it, of refs */
        const char *path;
    } * queue;
    size_t n_queue, room_queue;
    int32_t any_node, never_node; /* of true and false, or KL_NO_NODE */
};

/* A subschema that is being parsed. */
struct kl_schema_frame {
    struct kl_schema_words words;
    struct kl_schema_node node;
    uint32_t base; /* the resource that it stands in */
    int depth;
    int32_t *all_of;
    size_t n_all_of, room_all_of;
};

/* Fails for the present subschema: path and keyword go into text and refusal. The text continues
 * '#/properties/a: "keyword" ...'. */
enum kl_status kl_schema_refuse(struct kl_schema_parser *p, enum kl_status status,
                                const char *keyword, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The same for any path; keyword may be "". */
enum kl_status kl_schema_refuse_at(struct kl_schema_refusal *refusal, struct kl_error *err,
                                   enum kl_status status, const char *path, const char *keyword,
                                   const char *format, ...) __attribute__((format(printf, 6, 7)));
/* Puts path and keyword before the text of a failure that does not know them. */
enum kl_status kl_schema_refuse_failed(struct kl_schema_parser *p, enum kl_status status,
                                       const char *keyword);

/* The node of the subschema target->schema, which has this path; `depth` subschemas are around it.
 */
enum kl_status kl_schema_node_at(struct kl_schema_parser *p, const struct kl_schema_target *target,
                                 int depth, int32_t *node);
/* The same for a value of a keyword, or an element or member of it by its key. */
enum kl_status kl_schema_child(struct kl_schema_parser *p, const struct kl_schema_frame *frame,
                               const char *word, const char *key, const json_t *schema,
                               int32_t *node);
/* The same for the value of a keyword, if it is there. */
enum kl_status kl_schema_parse_word(struct kl_schema_parser *p, struct kl_schema_frame *frame,
                                    enum kl_schema_word word, int32_t *node);
/* For an array of subschemas. */
enum kl_status kl_schema_parse_list(struct kl_schema_parser *p, struct kl_schema_frame *frame,
                                    enum kl_schema_word word, struct kl_range *range);
enum kl_status kl_schema_never(struct kl_schema_parser *p, int32_t *node);
/* Adds a node that must hold as well. */
enum kl_status kl_schema_also(struct kl_schema_parser *p, struct kl_schema_frame *frame,
                              int32_t node);
/* Keywords by type. */
enum kl_status kl_schema_parse_values(struct kl_schema_parser *p, struct kl_schema_frame *frame);
enum kl_status kl_schema_parse_object(struct kl_schema_parser *p, struct kl_schema_frame *frame);
enum kl_status kl_schema_parse_array(struct kl_schema_parser *p, struct kl_schema_frame *frame);
enum kl_status kl_schema_parse_dependencies(struct kl_schema_parser *p,
                                            struct kl_schema_frame *frame);
enum kl_status kl_schema_parse_unevaluated(struct kl_schema_parser *p,
                                           struct kl_schema_frame *frame);
enum kl_status kl_schema_parse_enums(struct kl_schema_parser *p, struct kl_schema_frame *frame);
/* $ref, $dynamicRef and $recursiveRef. */
enum kl_status kl_schema_parse_refs(struct kl_schema_parser *p, struct kl_schema_frame *frame);
/* A whole number from 0; larger ones become UINT32_MAX. Leaves *count if there is none. */
enum kl_status kl_schema_parse_count(struct kl_schema_parser *p, struct kl_schema_frame *frame,
                                     enum kl_schema_word word, uint32_t *count);
/* Keys: names must be an array of strings. */
enum kl_status kl_schema_parse_names(struct kl_schema_parser *p, const char *keyword,
                                     const json_t *names, struct kl_range *range);
/* value: a JSON number. */
enum kl_status kl_schema_parse_decimal(struct kl_schema_parser *p, const char *keyword,
                                       const json_t *value, struct kl_decimal *decimal);
/* The number as a JSON text, NUL-terminated. */
#define KL_NUMBER_TEXT 40
void kl_schema_number_text(const json_t *value, char text[static KL_NUMBER_TEXT]);

/* Refuses a subschema that refers to itself at the same value. */
enum kl_status kl_schema_check_cycles(struct kl_schema_parser *p);

#endif
