#include "api/token_columns.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "json/json_memory.h"

/* A row: the lengths of its texts, then the texts. */

enum kl_status kl_columns_append(struct kl_buffer *table, json_t *const *values, size_t n)
{
    char *texts[KL_MAX_COLUMNS] = {0};
    uint32_t lens[KL_MAX_COLUMNS] = {0};
    size_t begin = table->len;
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < n; i++) {
        texts[i] = json_dumps(values[i], JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(10));
        lens[i] = texts[i] != NULL ? (uint32_t)strlen(texts[i]) : 0;
        json_decref(values[i]);
        if (texts[i] == NULL)
            status = KL_ERR_MEMORY;
    }
    if (kl_json_was_short())
        status = KL_ERR_MEMORY;
    if (status == KL_OK)
        status = kl_buffer_append(table, lens, n * sizeof *lens);
    for (size_t i = 0; i < n; i++) {
        if (status == KL_OK)
            status = kl_buffer_append(table, texts[i], lens[i]);
        free(texts[i]);
    }
    if (status != KL_OK)
        table->len = begin;
    return status;
}

void kl_columns_print(const struct kl_buffer *table, size_t n, size_t column,
                      struct kl_printer *out)
{
    for (size_t at = 0; at < table->len;) {
        uint32_t lens[KL_MAX_COLUMNS];
        memcpy(lens, table->data + at, n * sizeof *lens);
        if (at > 0)
            kl_print_bytes(out, ",", 1);
        at += n * sizeof *lens;
        for (size_t i = 0; i < n; i++) {
            if (i == column)
                kl_print_bytes(out, table->data + at, lens[i]);
            at += lens[i];
        }
    }
}

bool kl_print_open_object(struct kl_printer *out, json_t *object)
{
    char *text = object != NULL ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(10)) : NULL;
    bool empty = json_object_size(object) == 0;
    json_decref(object);
    if (text != NULL)
        kl_print_bytes(out, text, strlen(text) - 1);
    free(text);
    return !empty;
}
