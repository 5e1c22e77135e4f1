#include "history/deletions.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "history/history_dir.h"

#define NAME      "deleted"
#define MAX_BYTES ((size_t)KL_HISTORY_MAX_DELETIONS * KL_DELETION_LINE)

/* The bytes of whole lines with the form of an ID. */
static size_t valid_len(const char *data, size_t len)
{
    size_t at = 0;
    while (at + KL_DELETION_LINE <= len &&
           strspn(data + at, "0123456789abcdef-") == KL_CHAT_ID_LEN &&
           data[at + KL_CHAT_ID_LEN] == '\n')
        at += KL_DELETION_LINE;
    return at;
}

enum kl_status kl_deletions_read(int scope_dir, struct kl_buffer *lines, struct kl_error *err)
{
    uint64_t size;
    size_t len = 0;
    int fd;
    enum kl_status status = kl_history_file_open(scope_dir, NAME, &fd, &size, err);
    if (status != KL_OK) /* something else of that name is replaced by the next change */
        return status == KL_ERR_NOT_FOUND || status == KL_ERR_FORMAT ? KL_OK : status;
    char *data = malloc(MAX_BYTES + 1);
    status = data != NULL ? kl_history_file_read(fd, 0, data, MAX_BYTES, &len, err)
                          : kl_fail_memory(err, "the deleted chats", MAX_BYTES);
    if (status == KL_OK) {
        data[len] = '\0';
        if (kl_buffer_append(lines, data, valid_len(data, len)) != KL_OK)
            status = kl_fail_memory(err, "the deleted chats", MAX_BYTES);
    }
    free(data);
    close(fd);
    return status;
}

/* Appends the lines but that of this ID, and but the oldest if there is no room for one more. */
static enum kl_status copy_others(const struct kl_buffer *lines, const char *id,
                                  struct kl_buffer *kept)
{
    enum kl_status status = KL_OK;
    for (size_t at = 0; at < lines->len && status == KL_OK; at += KL_DELETION_LINE) {
        if (memcmp(lines->data + at, id, KL_CHAT_ID_LEN) != 0)
            status = kl_buffer_append(kept, lines->data + at, KL_DELETION_LINE);
    }
    if (status == KL_OK && kept->len == MAX_BYTES)
        kl_buffer_consume(kept, KL_DELETION_LINE);
    return status;
}

void kl_deletions_note(int scope_dir, const char *id, bool is_deleted)
{
    struct kl_error err;
    struct kl_buffer lines, kept;
    kl_buffer_init(&lines, MAX_BYTES);
    kl_buffer_init(&kept, MAX_BYTES);
    enum kl_status status = kl_deletions_read(scope_dir, &lines, &err);
    if (status == KL_OK) {
        status = copy_others(&lines, id, &kept);
        if (status == KL_OK && is_deleted)
            status = kl_buffer_append_format(&kept, "%.*s\n", KL_CHAT_ID_LEN, id);
        if (status != KL_OK)
            status = kl_fail_memory(&err, "the deleted chats", MAX_BYTES);
    }
    if (status == KL_OK && (is_deleted || kept.len < lines.len))
        status = kl_history_file_replace(scope_dir, NAME, &kept, &err);
    if (status != KL_OK)
        kl_warning("%s; devices are not told that chat %.36s was %s", err.text, id,
                   is_deleted ? "deleted" : "brought back");
    kl_buffer_release(&lines);
    kl_buffer_release(&kept);
}
