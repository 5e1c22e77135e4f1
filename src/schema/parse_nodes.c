#include "schema/schema_parse.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/utf8.h"

static void copy_cut(char *to, size_t room, const char *from)
{
    size_t n = strlen(from);
    if (n >= room) {
        n = room - 1;
        n -= kl_utf8_incomplete_tail(from, n);
    }
    memcpy(to, from, n);
    to[n] = '\0';
}

static void name_refusal(struct kl_schema_refusal *refusal, const char *path, const char *keyword)
{
    if (refusal == NULL)
        return;
    copy_cut(refusal->path, sizeof(refusal->path), path);
    copy_cut(refusal->keyword, sizeof(refusal->keyword), keyword);
}

static enum kl_status refuse(struct kl_schema_refusal *refusal, struct kl_error *err,
                             enum kl_status status, const char *path, const char *keyword,
                             const char *format, va_list arguments)
{
    char text[256];
    vsnprintf(text, sizeof(text), format, arguments);
    name_refusal(refusal, path, keyword);
    if (keyword[0] == '\0')
        return kl_fail(err, status, "the schema at %.200s %s", path, text);
    return kl_fail(err, status, "the schema at %.200s: \"%s\" %s", path, keyword, text);
}

enum kl_status kl_schema_refuse_at(struct kl_schema_refusal *refusal, struct kl_error *err,
                                   enum kl_status status, const char *path, const char *keyword,
                                   const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    status = refuse(refusal, err, status, path, keyword, format, arguments);
    va_end(arguments);
    return status;
}

enum kl_status kl_schema_refuse(struct kl_schema_parser *p, enum kl_status status,
                                const char *keyword, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    status = refuse(p->refusal, p->err, status, p->path, keyword, format, arguments);
    va_end(arguments);
    return status;
}

enum kl_status kl_schema_refuse_failed(struct kl_schema_parser *p, enum kl_status status,
                                       const char *keyword)
{
    if (status == KL_OK || status == KL_ERR_MEMORY)
        return status;
    name_refusal(p->refusal, p->path, keyword);
    kl_error_prefix(p->err, "the schema at %.200s, \"%s\"", p->path, keyword);
    return status;
}

/* A path of at most as many bytes as a refusal has room for. */
struct path {
    char text[sizeof(((struct kl_schema_refusal *)0)->path)];
    size_t n;
};

/* Appends the text; as a token of a JSON pointer, '~' and '/' in it are escaped. */
static void append(struct path *path, const char *text, bool is_token)
{
    size_t room = sizeof(path->text) - 1;
    for (; *text != '\0' && path->n < room; text++) {
        if (is_token && (*text == '~' || *text == '/') && path->n + 1 < room) {
            path->text[path->n++] = '~';
            path->text[path->n++] = *text == '~' ? '0' : '1';
        } else {
            path->text[path->n++] = *text;
        }
    }
    if (*text != '\0')
        path->n -= kl_utf8_incomplete_tail(path->text, path->n);
    path->text[path->n] = '\0';
}

/* The nodes of true and false are shared. */
static enum kl_status boolean_node(struct kl_schema_parser *p, bool value, int32_t *node)
{
    int32_t *known = value ? &p->any_node : &p->never_node;
    enum kl_status status = KL_OK;
    if (*known == KL_NO_NODE) {
        struct kl_schema_node made;
        kl_schema_node_init(&made);
        made.types = value ? KL_JSON_ANY : 0;
        status = kl_schema_add_node(&p->builder, &made, known);
    }
    *node = *known;
    return status;
}

enum kl_status kl_schema_never(struct kl_schema_parser *p, int32_t *node)
{
    return boolean_node(p, false, node);
}

enum kl_status kl_schema_also(struct kl_schema_parser *p, struct kl_schema_frame *frame,
                              int32_t node)
{
    if (frame->n_all_of == frame->room_all_of) {
        size_t wider = frame->room_all_of == 0 ? 8 : frame->room_all_of * 2;
        int32_t *grown = realloc(frame->all_of, wider * sizeof(*grown));
        if (grown == NULL)
            return kl_fail_memory(p->err, "a schema", wider * sizeof(*grown));
        frame->all_of = grown;
        frame->room_all_of = wider;
    }
    frame->all_of[frame->n_all_of++] = node;
    return KL_OK;
}

/* Finds the node of an object, or adds one that is to be parsed: then *is_new. */
static enum kl_status node_of(struct kl_schema_parser *p, const json_t *schema,
                              struct kl_schema_waiting **found, bool *is_new)
{
    uint64_t hash = kl_hash64(&schema, sizeof(schema), 0);
    uint32_t index;
    *is_new = false;
    for (size_t at = 0; kl_hash_index_next(&p->memo, hash, &at, &index);)
        if (p->queue[index].schema == schema) {
            *found = &p->queue[index];
            return KL_OK;
        }
    if (p->n_queue == p->room_queue) {
        size_t wider = p->room_queue == 0 ? 64 : p->room_queue * 2;
        void *grown = realloc(p->queue, wider * sizeof(*p->queue));
        if (grown == NULL)
            return kl_fail_memory(p->err, "a schema", wider * sizeof(*p->queue));
        p->queue = grown;
        p->room_queue = wider;
    }
    struct kl_schema_waiting waiting = {.schema = schema};
    struct kl_schema_node made;
    kl_schema_node_init(&made);
    enum kl_status status = kl_schema_add_node(&p->builder, &made, &waiting.node);
    if (status != KL_OK)
        return status;
    *is_new = true;
    *found = &p->queue[p->n_queue];
    p->queue[p->n_queue++] = waiting;
    return kl_hash_index_add(&p->memo, hash, (uint32_t)(p->n_queue - 1), p->err);
}

enum kl_status kl_schema_node_at(struct kl_schema_parser *p, const struct kl_schema_target *target,
                                 int depth, int32_t *node)
{
    if (json_is_boolean(target->schema))
        return boolean_node(p, json_is_true(target->schema), node);
    const char *path = target->path.bytes;
    if (!json_is_object(target->schema))
        return kl_schema_refuse_at(p->refusal, p->err, KL_ERR_INVALID, path, "",
                                   "must be an object or a boolean");
    if (depth > KL_SCHEMA_MAX_DEPTH)
        return kl_schema_refuse_at(p->refusal, p->err, KL_ERR_LIMIT, path, "",
                                   "is nested deeper than %d subschemas", KL_SCHEMA_MAX_DEPTH);
    struct kl_schema_waiting *waiting = NULL;
    bool is_new;
    enum kl_status status = node_of(p, target->schema, &waiting, &is_new);
    if (status != KL_OK)
        return status;
    *node = waiting->node;
    if (!is_new)
        return KL_OK;
    waiting->base = target->base;
    waiting->depth = depth;
    struct path cut = {.n = 0};
    append(&cut, path, false);
    struct kl_schema_text text;
    status = kl_schema_add_text(&p->builder, cut.text, cut.n, &text);
    if (status == KL_OK)
        waiting->path = text.bytes;
    return status;
}

enum kl_status kl_schema_child(struct kl_schema_parser *p, const struct kl_schema_frame *frame,
                               const char *word, const char *key, const json_t *schema,
                               int32_t *node)
{
    struct path path = {.n = 0};
    append(&path, frame->node.path, false);
    append(&path, "/", false);
    append(&path, word, false);
    if (key != NULL) {
        append(&path, "/", false);
        append(&path, key, true);
    }
    struct kl_schema_target target = {
        .schema = schema, .base = frame->base, .path = {path.text, (uint32_t)path.n}};
    return kl_schema_node_at(p, &target, frame->depth + 1, node);
}

enum kl_status kl_schema_parse_word(struct kl_schema_parser *p, struct kl_schema_frame *frame,
                                    enum kl_schema_word word, int32_t *node)
{
    const json_t *value = frame->words.value[word];
    if (value == NULL)
        return KL_OK;
    return kl_schema_child(p, frame, kl_schema_word_name(word), NULL, value, node);
}

enum kl_status kl_schema_parse_list(struct kl_schema_parser *p, struct kl_schema_frame *frame,
                                    enum kl_schema_word word, struct kl_range *range)
{
    const json_t *value = frame->words.value[word];
    if (value == NULL)
        return KL_OK;
    const char *name = kl_schema_word_name(word);
    size_t n = json_array_size(value);
    if (!json_is_array(value))
        return kl_schema_refuse(p, KL_ERR_INVALID, name, "must be an array of schemas");
    if (n == 0 && word != KL_WORD_ITEMS && word != KL_WORD_PREFIX_ITEMS)
        return kl_schema_refuse(p, KL_ERR_INVALID, name, "must have at least one schema");
    int32_t *nodes = malloc((n + 1) * sizeof(*nodes));
    if (nodes == NULL)
        return kl_fail_memory(p->err, "a schema", n * sizeof(*nodes));
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < n && status == KL_OK; i++) {
        char key[24];
        snprintf(key, sizeof(key), "%zu", i);
        status = kl_schema_child(p, frame, name, key, json_array_get(value, i), &nodes[i]);
    }
    if (status == KL_OK)
        status = kl_schema_add_node_list(&p->builder, nodes, n, range);
    free(nodes);
    return status;
}
