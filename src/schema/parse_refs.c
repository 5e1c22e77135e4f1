/* $ref, $dynamicRef and $recursiveRef. */
#include <string.h>

#include "schema/schema_parse.h"
#include "schema/schema_uri.h"

static enum kl_status parse_ref(struct kl_schema_parser *p, struct kl_schema_frame *frame,
                                enum kl_schema_word word)
{
    const json_t *value = frame->words.value[word];
    const char *name = kl_schema_word_name(word), *reference = json_string_value(value);
    if (value == NULL)
        return KL_OK;
    if (reference == NULL)
        return kl_schema_refuse(p, KL_ERR_INVALID, name, "must be a string");
    struct kl_schema_target target;
    enum kl_status status = kl_schema_refs_find(&p->refs, frame->base, reference, &target);
    if (status != KL_OK)
        return status;
    if (target.schema == NULL && reference[0] == '#')
        return kl_schema_refuse(p, KL_ERR_INVALID, name, "leads nowhere: \"%.100s\"", reference);
    if (target.schema == NULL)
        return kl_schema_refuse(p, KL_ERR_UNSUPPORTED, name,
                                "leads out of this document, where nothing is fetched from: "
                                "\"%.100s\"; put it into $defs",
                                reference);
    if (!json_is_object(target.schema) && !json_is_boolean(target.schema))
        return kl_schema_refuse(p, KL_ERR_INVALID, name,
                                "leads to something that is not a schema: \"%.100s\"", reference);
    /* A dynamic one is like a static one if there is one place that it can lead to. */
    if ((word == KL_WORD_DYNAMIC_REF && target.anchor != NULL && target.anchor->is_dynamic &&
         kl_schema_refs_dynamic(&p->refs, target.anchor->name) > 1) ||
        (word == KL_WORD_RECURSIVE_REF && kl_schema_refs_recursive(&p->refs) > 1))
        return kl_schema_refuse(p, KL_ERR_UNSUPPORTED, name,
                                "is not supported where it can lead to several places");
    int32_t node;
    status = kl_schema_node_at(p, &target, 0, &node);
    return status == KL_OK ? kl_schema_also(p, frame, node) : status;
}

enum kl_status kl_schema_parse_refs(struct kl_schema_parser *p, struct kl_schema_frame *frame)
{
    enum kl_status status = parse_ref(p, frame, KL_WORD_REF);
    if (status == KL_OK)
        status = parse_ref(p, frame, KL_WORD_DYNAMIC_REF);
    return status == KL_OK ? parse_ref(p, frame, KL_WORD_RECURSIVE_REF) : status;
}
