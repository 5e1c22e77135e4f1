#include "client/hub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/paths.h"
#include "client/file_transfer.h"
#include "json/json_limits.h"
#include "json/json_memory.h"

/* A list of 1,000 files, which is a page of Hugging Face's, has 400 kB. */
#define MAX_ANSWER   ((size_t)4 << 20)
#define MAX_SECONDS  60.0
#define MAX_DEPTH    16
#define MAX_SEGMENTS 4
#define MAX_BYTES    ((json_int_t)1 << 40)

/* ---- reading --------------------------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static void copy_sha256(const char *text, char out[65])
{
    out[0] = '\0';
    if (strncmp(text, "sha256:", 7) == 0)
        text += 7;
    if (strlen(text) != 64 || strspn(text, "0123456789abcdefABCDEF") != 64)
        return;
    for (size_t i = 0; i <= 64; i++)
        out[i] = text[i] >= 'A' && text[i] <= 'F' ? (char)(text[i] - 'A' + 'a') : text[i];
}

static bool is_gguf(const char *path)
{
    size_t len = strlen(path);
    return len > 5 && strcasecmp(path + len - 5, ".gguf") == 0;
}

/* Takes an entry of a list, if it is a GGUF file that can be named. */
static void take_entry(enum kl_hub hub, const json_t *entry, struct kl_hub_files *files)
{
    bool face = hub == KL_HUB_HUGGING_FACE;
    const json_t *lfs = json_object_get(entry, "lfs");
    const char *path = text_of(entry, face ? "path" : "Path");
    const json_t *size = json_object_get(entry, face ? "size" : "Size");
    if (files->n == KL_HUB_MAX_FILES || !is_gguf(path) ||
        !kl_path_is_plain(path, KL_HUB_PATH_SIZE - 1, MAX_SEGMENTS))
        return;
    if (face && json_is_integer(json_object_get(lfs, "size")))
        size = json_object_get(lfs, "size");
    if (!json_is_integer(size) || json_integer_value(size) < 1 ||
        json_integer_value(size) > MAX_BYTES)
        return;
    struct kl_hub_file *file = &files->items[files->n++];
    snprintf(file->path, sizeof file->path, "%s", path);
    copy_sha256(face ? text_of(lfs, "oid") : text_of(entry, "Sha256"), file->sha256);
    file->bytes = (uint64_t)json_integer_value(size);
}

/* Parses JSON of foreign origin. */
static enum kl_status parse(const char *data, size_t len, json_t **document, struct kl_error *err)
{
    enum kl_status status = kl_json_check_limits(data, len, MAX_DEPTH, KL_JSON_MAX_NODES, err);
    if (status != KL_OK)
        return status;
    json_error_t at;
    *document = kl_json_load(data, len, 0, &at);
    if (kl_json_was_short()) {
        json_decref(*document);
        return kl_fail_memory(err, "a list of files", len);
    }
    if (*document == NULL)
        return kl_fail(err, KL_ERR_FORMAT, "the answer is not JSON");
    return KL_OK;
}

enum kl_status kl_hub_read(enum kl_hub hub, const char *data, size_t len,
                           struct kl_hub_files *files, struct kl_error *err)
{
    json_t *document;
    *files = (struct kl_hub_files){0};
    enum kl_status status = parse(data, len, &document, err);
    if (status != KL_OK)
        return status;
    const json_t *list = hub == KL_HUB_HUGGING_FACE
                             ? document
                             : json_object_get(json_object_get(document, "Data"), "Files");
    if (!json_is_array(list)) {
        status = kl_fail(err, KL_ERR_FORMAT, "the answer is not a list of files");
    } else {
        files->items = calloc(KL_HUB_MAX_FILES, sizeof *files->items);
        if (files->items == NULL)
            status =
                kl_fail_memory(err, "a list of files", KL_HUB_MAX_FILES * sizeof *files->items);
        for (size_t i = 0; status == KL_OK && i < json_array_size(list); i++)
            take_entry(hub, json_array_get(list, i), files);
    }
    json_decref(document);
    return status;
}

enum kl_status kl_hub_read_manifest(const char *data, size_t len, struct kl_hub_file *model,
                                    struct kl_error *err)
{
    json_t *document;
    *model = (struct kl_hub_file){0};
    enum kl_status status = parse(data, len, &document, err);
    if (status != KL_OK)
        return status;
    const json_t *layers = json_object_get(document, "layers");
    for (size_t i = 0; i < json_array_size(layers) && model->sha256[0] == '\0'; i++) {
        const json_t *layer = json_array_get(layers, i);
        json_int_t size = json_integer_value(json_object_get(layer, "size"));
        if (strcmp(text_of(layer, "mediaType"), "application/vnd.ollama.image.model") != 0)
            continue;
        copy_sha256(text_of(layer, "digest"), model->sha256);
        model->bytes = size > 0 ? (uint64_t)size : 0;
    }
    json_decref(document);
    if (model->sha256[0] == '\0')
        status = kl_fail(err, KL_ERR_FORMAT, "the manifest names no model");
    return status;
}

void kl_hub_files_release(struct kl_hub_files *files)
{
    free(files->items);
    *files = (struct kl_hub_files){0};
}

/* ---- getting --------------------------------------------------------------------------------- */

struct answer {
    struct kl_buffer text;
    uint64_t since;
};

static enum kl_status begin(void *context, const struct kl_transfer_head *head,
                            struct kl_error *err)
{
    (void)context;
    if (head->has_length && head->length > MAX_ANSWER)
        return kl_fail(err, KL_ERR_NOT_FOUND, "the list of files is longer than %zu bytes",
                       MAX_ANSWER);
    return KL_OK;
}

static enum kl_status take(void *context, const char *data, size_t len, struct kl_error *err)
{
    struct answer *a = context;
    if (kl_seconds_since(a->since) > MAX_SECONDS)
        return kl_fail(err, KL_ERR_NOT_FOUND, "the list of files did not arrive in %.0f seconds",
                       MAX_SECONDS);
    enum kl_status status = kl_buffer_append(&a->text, data, len);
    if (status == KL_ERR_LIMIT)
        return kl_fail(err, KL_ERR_NOT_FOUND, "the list of files is longer than %zu bytes",
                       MAX_ANSWER);
    return status == KL_OK ? KL_OK : kl_fail_memory(err, "a list of files", len);
}

enum kl_status kl_hub_list(enum kl_hub hub, const char *url, size_t stall_seconds,
                           struct kl_hub_files *files, struct kl_error *err)
{
    struct answer a = {.since = kl_now_ns()};
    kl_buffer_init(&a.text, MAX_ANSWER);
    *files = (struct kl_hub_files){0};
    struct kl_transfer transfer = {
        .url = url, .stall_seconds = stall_seconds, .begin = begin, .take = take, .context = &a};
    enum kl_status status = kl_transfer_run(&transfer, err);
    if (status == KL_OK)
        status = kl_hub_read(hub, a.text.data != NULL ? a.text.data : "", a.text.len, files, err);
    kl_buffer_release(&a.text);
    if (status == KL_ERR_NOT_FOUND && (transfer.status == 401 || transfer.status == 404))
        status = kl_fail(err, KL_ERR_NOT_FOUND,
                         "there is no such repository, or it is not public (the server answered "
                         "%d)",
                         transfer.status);
    if (status != KL_OK && status != KL_ERR_MEMORY)
        err->status = status = KL_ERR_NOT_FOUND;
    return status;
}
