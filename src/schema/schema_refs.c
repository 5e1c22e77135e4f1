#include "schema/schema_refs.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/hash.h"
#include "schema/schema.h"
#include "schema/schema_uri.h"

#define MAX_URI ((size_t)1 << 20)

static uint64_t hash_address(const json_t *schema)
{
    return kl_hash64(&schema, sizeof(schema), 0);
}

static enum kl_status fail_append(struct kl_schema_refs *refs, enum kl_status status)
{
    if (status == KL_ERR_LIMIT)
        return kl_fail(refs->builder->err, status,
                       "an identifier or a $ref of the schema is longer than %zu bytes", MAX_URI);
    return kl_fail_memory(refs->builder->err, "an identifier of a schema", MAX_URI);
}

/* Makes room for one more element of resources or anchors. */
static enum kl_status grow(struct kl_schema_refs *refs, void **array, size_t *room, size_t n,
                           size_t size)
{
    if (n < *room)
        return KL_OK;
    size_t wider = *room == 0 ? 16 : *room * 2;
    void *grown = realloc(*array, wider * size);
    if (grown == NULL)
        return kl_fail_memory(refs->builder->err, "the names of a schema", wider * size);
    *array = grown;
    *room = wider;
    return KL_OK;
}

static enum kl_status add_resource(struct kl_schema_refs *refs, const char *uri,
                                   const json_t *schema, uint32_t around, bool is_base,
                                   uint32_t *index)
{
    void *array = refs->resources;
    enum kl_status status =
        grow(refs, &array, &refs->room_resources, refs->n_resources, sizeof(*refs->resources));
    refs->resources = array;
    struct kl_schema_resource resource = {.schema = schema};
    if (status == KL_OK)
        status = kl_schema_add_text(refs->builder, uri, strlen(uri), &resource.uri);
    if (status != KL_OK)
        return status;
    *index = (uint32_t)refs->n_resources++;
    resource.base = is_base ? *index : around;
    refs->resources[*index] = resource;
    if (is_base)
        status =
            kl_hash_index_add(&refs->by_schema, hash_address(schema), *index, refs->builder->err);
    if (status == KL_OK)
        status = kl_hash_index_add(&refs->by_uri, kl_hash64(uri, strlen(uri), 0), *index,
                                   refs->builder->err);
    return status;
}

static uint64_t hash_anchor(uint32_t resource, const char *name)
{
    return kl_hash64(name, strlen(name), resource + 1);
}

static enum kl_status add_anchor(struct kl_schema_refs *refs, const char *name,
                                 const json_t *schema, uint32_t resource, bool is_dynamic)
{
    void *array = refs->anchors;
    enum kl_status status =
        grow(refs, &array, &refs->room_anchors, refs->n_anchors, sizeof(*refs->anchors));
    refs->anchors = array;
    if (status != KL_OK)
        return status;
    uint32_t index = (uint32_t)refs->n_anchors++;
    refs->anchors[index] = (struct kl_schema_anchor){
        .name = name, .schema = schema, .resource = resource, .is_dynamic = is_dynamic};
    return kl_hash_index_add(&refs->by_anchor, hash_anchor(resource, name), index,
                             refs->builder->err);
}

/* An identifier: an anchor if it is a fragment alone (drafts up to 7), else a resource. */
static enum kl_status add_id(struct kl_schema_refs *refs, const char *id, const json_t *schema,
                             bool is_base, uint32_t *base)
{
    if (id[0] == '#' && refs->draft < KL_DRAFT_2019)
        return id[1] == '\0' ? KL_OK : add_anchor(refs, id + 1, schema, *base, false);
    struct kl_buffer uri;
    kl_buffer_init(&uri, MAX_URI);
    enum kl_status status = kl_schema_uri_resolve(refs->resources[*base].uri.bytes, id, &uri);
    uint32_t index = *base;
    if (status == KL_OK)
        status = add_resource(refs, uri.data, schema, *base, is_base, &index);
    else
        status = fail_append(refs, status);
    kl_buffer_release(&uri);
    if (is_base)
        *base = index;
    return status;
}

static const char *string_of(const struct kl_schema_words *words, enum kl_schema_word word)
{
    return json_string_value(words->value[word]);
}

/* Adds the names of one subschema; *base: the resource that it stands in, and then the one that its
 * subschemas stand in. */
static enum kl_status add_names(struct kl_schema_refs *refs, const json_t *schema,
                                const struct kl_schema_words *words, uint32_t *base)
{
    bool is_old = refs->draft != KL_DRAFT_ANY && refs->draft <= KL_DRAFT_7;
    if (is_old && words->value[KL_WORD_REF] != NULL) /* has no siblings */
        return KL_OK;
    enum kl_status status = KL_OK;
    const char *id = string_of(words, KL_WORD_DOLLAR_ID), *old_id = string_of(words, KL_WORD_ID);
    if (id != NULL)
        status = add_id(refs, id, schema, true, base);
    if (status == KL_OK && old_id != NULL)
        status = add_id(refs, old_id, schema, refs->draft == KL_DRAFT_4, base);
    if (status == KL_OK && string_of(words, KL_WORD_ANCHOR) != NULL)
        status = add_anchor(refs, string_of(words, KL_WORD_ANCHOR), schema, *base, false);
    if (status == KL_OK && string_of(words, KL_WORD_DYNAMIC_ANCHOR) != NULL)
        status = add_anchor(refs, string_of(words, KL_WORD_DYNAMIC_ANCHOR), schema, *base, true);
    if (json_is_true(words->value[KL_WORD_RECURSIVE_ANCHOR]))
        refs->resources[*base].is_dynamic = true;
    return status;
}

static enum kl_status walk(struct kl_schema_refs *refs, const json_t *schema, uint32_t base,
                           int depth);

static enum kl_status walk_word(struct kl_schema_refs *refs, enum kl_word_holds holds,
                                const json_t *value, uint32_t base, int depth)
{
    if (holds == KL_HOLDS_VALUE)
        return KL_OK;
    enum kl_status status = KL_OK;
    const char *key;
    json_t *element;
    size_t i;
    if (holds == KL_HOLDS_MEMBERS || holds == KL_HOLDS_DEPENDENCIES)
        json_object_foreach((json_t *)value, key, element)
        {
            status = walk(refs, element, base, depth + 1);
            if (status != KL_OK)
                return status;
        }
    else if (json_is_array(value))
        json_array_foreach(value, i, element)
        {
            status = walk(refs, element, base, depth + 1);
            if (status != KL_OK)
                return status;
        }
    else
        status = walk(refs, value, base, depth + 1);
    return status;
}

static enum kl_status walk(struct kl_schema_refs *refs, const json_t *schema, uint32_t base,
                           int depth)
{
    if (!json_is_object(schema))
        return KL_OK;
    if (depth > KL_SCHEMA_MAX_DEPTH)
        return kl_fail(refs->builder->err, KL_ERR_LIMIT,
                       "the schema is nested deeper than %d subschemas", KL_SCHEMA_MAX_DEPTH);
    struct kl_schema_words words;
    kl_schema_words_of(schema, refs->draft, &words);
    enum kl_status status = add_names(refs, schema, &words, &base);
    for (enum kl_schema_word word = 0; word < KL_N_WORDS && status == KL_OK; word++)
        if (words.value[word] != NULL)
            status = walk_word(refs, kl_schema_word_holds(word), words.value[word], base, depth);
    return status;
}

enum kl_status kl_schema_refs_open(struct kl_schema_refs *refs, struct kl_schema_builder *builder,
                                   enum kl_draft draft, const json_t *document)
{
    *refs = (struct kl_schema_refs){.draft = draft, .builder = builder};
    uint32_t base;
    enum kl_status status = add_resource(refs, "", document, 0, true, &base);
    return status != KL_OK ? status : walk(refs, document, base, 0);
}

void kl_schema_refs_release(struct kl_schema_refs *refs)
{
    free(refs->resources);
    free(refs->anchors);
    kl_hash_index_release(&refs->by_schema);
    kl_hash_index_release(&refs->by_uri);
    kl_hash_index_release(&refs->by_anchor);
}

uint32_t kl_schema_refs_base(const struct kl_schema_refs *refs, const json_t *schema, uint32_t base)
{
    uint32_t index;
    bool is_found = false;
    /* The document may be there twice: without a name, and then with its own. */
    for (size_t at = 0; kl_hash_index_next(&refs->by_schema, hash_address(schema), &at, &index);)
        if (refs->resources[index].schema == schema && (!is_found || index > base)) {
            base = index;
            is_found = true;
        }
    return base;
}

/* Follows a decoded JSON pointer (RFC 6901) from target->schema on. */
static void follow(const struct kl_schema_refs *refs, char *pointer,
                   struct kl_schema_target *target)
{
    while (*pointer == '/' && target->schema != NULL) {
        char *token = ++pointer, *to = token;
        for (; *pointer != '\0' && *pointer != '/'; pointer++) {
            if (pointer[0] == '~' && (pointer[1] == '0' || pointer[1] == '1'))
                *to++ = *++pointer == '0' ? '~' : '/';
            else
                *to++ = *pointer;
        }
        bool is_last = *pointer == '\0';
        *to = '\0';
        if (json_is_object(target->schema)) {
            target->schema = json_object_get(target->schema, token);
        } else {
            char *end;
            unsigned long index = strtoul(token, &end, 10);
            bool is_index = *token >= '0' && *token <= '9' && *end == '\0';
            target->schema = is_index ? json_array_get(target->schema, index) : NULL;
        }
        if (target->schema != NULL)
            target->base = kl_schema_refs_base(refs, target->schema, target->base);
        if (is_last)
            return;
        *pointer = '/';
    }
    if (*pointer != '\0')
        target->schema = NULL;
}

/* Sets target to the resource with this URI. */
static void find_resource(const struct kl_schema_refs *refs, const struct kl_buffer *uri,
                          struct kl_schema_target *target)
{
    uint32_t index;
    for (size_t at = 0;
         kl_hash_index_next(&refs->by_uri, kl_hash64(uri->data, uri->len, 0), &at, &index);)
        if (strcmp(refs->resources[index].uri.bytes, uri->data) == 0) {
            target->schema = refs->resources[index].schema;
            target->base = index;
            return;
        }
}

static void find_anchor(const struct kl_schema_refs *refs, const char *name,
                        struct kl_schema_target *target)
{
    uint32_t index, resource = target->base;
    target->schema = NULL;
    for (size_t at = 0;
         kl_hash_index_next(&refs->by_anchor, hash_anchor(resource, name), &at, &index);) {
        const struct kl_schema_anchor *anchor = &refs->anchors[index];
        if (anchor->resource == resource && strcmp(anchor->name, name) == 0) {
            target->schema = anchor->schema;
            target->anchor = anchor;
            return;
        }
    }
}

enum kl_status kl_schema_refs_find(struct kl_schema_refs *refs, uint32_t base,
                                   const char *reference, struct kl_schema_target *target)
{
    *target = (struct kl_schema_target){0};
    struct kl_buffer uri, fragment;
    kl_buffer_init(&uri, MAX_URI);
    kl_buffer_init(&fragment, MAX_URI);
    const char *after = kl_schema_uri_fragment(reference);
    enum kl_status status = kl_schema_uri_resolve(refs->resources[base].uri.bytes, reference, &uri);
    if (status == KL_OK)
        status = kl_schema_uri_decode(after == NULL ? "" : after, &fragment);
    if (status != KL_OK) {
        status = fail_append(refs, status);
        goto done;
    }
    find_resource(refs, &uri, target);
    if (target->schema != NULL && fragment.len != 0 && fragment.data[0] != '/')
        find_anchor(refs, fragment.data, target);
    /* A path for messages: the reference as it is, if it leads from the beginning of the document;
     * else with the name of the resource. */
    kl_buffer_clear(&uri);
    if (target->schema != NULL) {
        const struct kl_schema_resource *resource = &refs->resources[target->base];
        status = kl_buffer_append_format(
            &uri, "%s#%s", resource->schema == refs->resources[0].schema ? "" : resource->uri.bytes,
            after == NULL ? "" : after);
        if (status == KL_OK)
            status = kl_schema_add_text(refs->builder, uri.data, uri.len, &target->path);
        else
            status = fail_append(refs, status);
        target->base = resource->base;
        if (fragment.len != 0 && fragment.data[0] == '/')
            follow(refs, fragment.data, target);
        else if (target->schema != NULL && target->anchor == NULL)
            target->base = kl_schema_refs_base(refs, target->schema, target->base);
    }
done:
    kl_buffer_release(&uri);
    kl_buffer_release(&fragment);
    return status;
}

size_t kl_schema_refs_dynamic(const struct kl_schema_refs *refs, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < refs->n_anchors; i++)
        n += refs->anchors[i].is_dynamic && strcmp(refs->anchors[i].name, name) == 0;
    return n;
}

size_t kl_schema_refs_recursive(const struct kl_schema_refs *refs)
{
    size_t n = 0;
    for (size_t i = 0; i < refs->n_resources; i++)
        n += refs->resources[i].is_dynamic;
    return n;
}
