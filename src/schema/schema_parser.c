#include "schema/schema_parser.h"

#include <stdlib.h>
#include <string.h>

#include "schema/schema_parse.h"

/* allOf, anyOf, oneOf, not, if. */
static enum kl_status parse_logic(struct kl_schema_parser *p, struct kl_schema_frame *frame)
{
    struct kl_schema_node *node = &frame->node;
    struct kl_range all_of = {0};
    enum kl_status status = kl_schema_parse_list(p, frame, KL_WORD_ALL_OF, &all_of);
    for (uint32_t i = 0; i < all_of.n && status == KL_OK; i++)
        status = kl_schema_also(p, frame, p->graph->node_lists[all_of.first + i]);
    if (status == KL_OK)
        status = kl_schema_parse_list(p, frame, KL_WORD_ANY_OF, &node->any_of);
    if (status == KL_OK)
        status = kl_schema_parse_list(p, frame, KL_WORD_ONE_OF, &node->one_of);
    if (status == KL_OK)
        status = kl_schema_parse_word(p, frame, KL_WORD_NOT, &node->not_node);
    if (status == KL_OK && frame->words.value[KL_WORD_IF] != NULL &&
        (frame->words.value[KL_WORD_THEN] != NULL || frame->words.value[KL_WORD_ELSE] != NULL)) {
        status = kl_schema_parse_word(p, frame, KL_WORD_IF, &node->if_node);
        if (status == KL_OK)
            status = kl_schema_parse_word(p, frame, KL_WORD_THEN, &node->then_node);
        if (status == KL_OK)
            status = kl_schema_parse_word(p, frame, KL_WORD_ELSE, &node->else_node);
    }
    return status;
}

/* Sets the types of one name; 0: there is no such type. */
static uint8_t type_of(const char *name)
{
    static const struct {
        const char *name;
        uint8_t types;
    } known[] = {{"string", KL_JSON_STRING}, {"object", KL_JSON_OBJECT},
                 {"array", KL_JSON_ARRAY},   {"integer", KL_JSON_INTEGER},
                 {"number", KL_JSON_NUMBER}, {"boolean", KL_JSON_FALSE | KL_JSON_TRUE},
                 {"null", KL_JSON_NULL}};
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
        if (strcmp(known[i].name, name) == 0)
            return known[i].types;
    return 0;
}

static enum kl_status parse_type(struct kl_schema_parser *p, struct kl_schema_frame *frame)
{
    const json_t *value = frame->words.value[KL_WORD_TYPE];
    if (value == NULL)
        return KL_OK;
    bool is_list = json_is_array(value);
    size_t n = is_list ? json_array_size(value) : 1;
    unsigned types = 0;
    for (size_t i = 0; i < n; i++) {
        const char *name = json_string_value(is_list ? json_array_get(value, i) : value);
        unsigned type = name == NULL ? 0 : type_of(name);
        if (type == 0)
            return kl_schema_refuse(p, KL_ERR_INVALID, "type", "has no type %s%.40s%s",
                                    name == NULL ? "" : "\"", name == NULL ? "like this" : name,
                                    name == NULL ? "" : "\"");
        types |= type;
    }
    if (n == 0)
        return kl_schema_refuse(p, KL_ERR_INVALID, "type", "must name at least one type");
    if (json_is_true(frame->words.value[KL_WORD_NULLABLE]))
        types |= KL_JSON_NULL;
    frame->node.types = (uint8_t)types;
    return KL_OK;
}

static enum kl_status fill(struct kl_schema_parser *p, struct kl_schema_frame *frame)
{
    enum kl_status status = kl_schema_parse_refs(p, frame);
    bool is_old = p->draft != KL_DRAFT_ANY && p->draft <= KL_DRAFT_7;
    if (status == KL_OK && !(is_old && frame->words.value[KL_WORD_REF] != NULL)) {
        status = parse_type(p, frame);
        if (status == KL_OK)
            status = kl_schema_parse_enums(p, frame);
        if (status == KL_OK)
            status = kl_schema_parse_values(p, frame);
        if (status == KL_OK)
            status = kl_schema_parse_object(p, frame);
        if (status == KL_OK)
            status = kl_schema_parse_array(p, frame);
        if (status == KL_OK)
            status = kl_schema_parse_dependencies(p, frame);
        if (status == KL_OK)
            status = parse_logic(p, frame);
        if (status == KL_OK)
            status = kl_schema_parse_unevaluated(p, frame);
    }
    if (status == KL_OK)
        status = kl_schema_add_node_list(&p->builder, frame->all_of, frame->n_all_of,
                                         &frame->node.all_of);
    return status;
}

static enum kl_status parse_waiting(struct kl_schema_parser *p)
{
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < p->n_queue && status == KL_OK; i++) {
        struct kl_schema_waiting waiting = p->queue[i];
        struct kl_schema_frame frame = {
            .base = kl_schema_refs_base(&p->refs, waiting.schema, waiting.base),
            .depth = waiting.depth};
        kl_schema_words_of(waiting.schema, p->draft, &frame.words);
        kl_schema_node_init(&frame.node);
        frame.node.is_draft4 = p->draft == KL_DRAFT_4;
        p->path = frame.node.path = waiting.path;
        status = fill(p, &frame);
        p->graph->nodes[waiting.node] = frame.node;
        free(frame.all_of);
    }
    return status;
}

static enum kl_status find_draft(struct kl_schema_parser *p, const json_t *schema)
{
    static const struct {
        const char *part;
        enum kl_draft draft;
    } known[] = {{"draft-04/", KL_DRAFT_4},
                 {"draft-06/", KL_DRAFT_6},
                 {"draft-07/", KL_DRAFT_7},
                 {"draft/2019-09/", KL_DRAFT_2019},
                 {"draft/2020-12/", KL_DRAFT_2020}};
    const char *name = json_string_value(json_object_get(schema, "$schema"));
    p->draft = KL_DRAFT_ANY;
    if (name == NULL || strstr(name, "//json-schema.org/") == NULL)
        return KL_OK;
    if (strstr(name, "draft-03/") != NULL)
        return kl_schema_refuse(p, KL_ERR_UNSUPPORTED, "$schema",
                                "is draft 3, which is not supported; use draft 4 or later");
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
        if (strstr(name, known[i].part) != NULL)
            p->draft = known[i].draft;
    return KL_OK;
}

static enum kl_status parse_document(struct kl_schema_parser *p, const json_t *schema)
{
    struct kl_schema_target document = {.schema = schema, .path = {"#", 1}};
    enum kl_status status = find_draft(p, schema);
    if (status == KL_OK)
        status = kl_schema_refs_open(&p->refs, &p->builder, p->draft, schema);
    if (status == KL_OK)
        status = kl_schema_node_at(p, &document, 0, &p->graph->root);
    if (status == KL_OK)
        status = parse_waiting(p);
    return status == KL_OK ? kl_schema_check_cycles(p) : status;
}

enum kl_status kl_schema_parse(const json_t *schema, struct kl_schema_graph *graph,
                               struct kl_schema_refusal *refusal, struct kl_error *err)
{
    *graph = (struct kl_schema_graph){0};
    struct kl_schema_parser p = {.graph = graph,
                                 .refusal = refusal,
                                 .err = err,
                                 .path = "#",
                                 .any_node = KL_NO_NODE,
                                 .never_node = KL_NO_NODE};
    if (refusal != NULL)
        *refusal = (struct kl_schema_refusal){0};
    enum kl_status status = kl_schema_builder_open(&p.builder, graph, err);
    if (status == KL_OK)
        status = parse_document(&p, schema);
    kl_schema_refs_release(&p.refs);
    kl_hash_index_release(&p.memo);
    free(p.queue);
    kl_schema_builder_close(&p.builder);
    if (status != KL_OK)
        kl_schema_graph_release(graph);
    return status;
}
