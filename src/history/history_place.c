#include "history/history_place.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- scopes ---------------------------------------------------------------------------------- */

static struct kl_history_scope *find_scope(struct kl_history *h, const char *name)
{
    for (size_t i = 0; i < h->n_scopes; i++) {
        if (strcmp(h->scopes[i].name, name) == 0)
            return &h->scopes[i];
    }
    return NULL;
}

enum kl_status kl_history_add_scope(struct kl_history *h, const char *name,
                                    struct kl_history_scope **scope, struct kl_error *err)
{
    *scope = find_scope(h, name);
    if (*scope != NULL)
        return KL_OK;
    if (h->n_scopes == KL_HISTORY_MAX_SCOPES)
        return kl_fail(err, KL_ERR_BUSY,
                       "the history has chats of %d keys, which is the most; remove directories of "
                       "keys that are not used any more",
                       KL_HISTORY_MAX_SCOPES);
    struct kl_history_scope *scopes = realloc(h->scopes, (h->n_scopes + 1) * sizeof *scopes);
    if (scopes == NULL)
        return kl_fail_memory(err, "the history", (h->n_scopes + 1) * sizeof *scopes);
    h->scopes = scopes;
    *scope = &scopes[h->n_scopes++];
    **scope = (struct kl_history_scope){0};
    memcpy((*scope)->name, name, KL_HISTORY_NAME_SIZE);
    return KL_OK;
}

void kl_history_count(struct kl_history *h, struct kl_history_scope *scope, uint64_t before,
                      uint64_t after, int chats)
{
    uint64_t less = kl_history_blocks(before), more = kl_history_blocks(after);
    scope->bytes = kl_history_less(scope->bytes, less) + more;
    scope->version++;
    atomic_store(&h->bytes, kl_history_less(atomic_load(&h->bytes), less) + more);
    if (chats < 0 && scope->n_chats == 0)
        return;
    scope->n_chats += (uint64_t)(int64_t)chats;
    atomic_fetch_add(&h->n_chats, (uint64_t)(int64_t)chats);
}

/* ---- one chat -------------------------------------------------------------------------------- */

void kl_history_leave(struct kl_history_place *p)
{
    kl_chat_text_release(&p->chat);
    free(p->data);
    if (p->fd >= 0)
        close(p->fd);
    if (p->dir >= 0)
        close(p->dir);
}

enum kl_status kl_history_enter_scope(struct kl_history *h, uint64_t scope,
                                      struct kl_history_place *p, struct kl_error *err)
{
    char name[KL_HISTORY_NAME_SIZE];
    *p = (struct kl_history_place){.dir = -1, .fd = -1};
    kl_history_scope_name(scope, name);
    p->scope = find_scope(h, name);
    enum kl_status status = kl_history_scope_open(h->dir, name, false, &p->dir, err);
    if (status == KL_OK && p->scope == NULL) /* it could not be opened at the start */
        status = kl_history_add_scope(h, name, &p->scope, err);
    return status == KL_ERR_NOT_FOUND ? KL_OK : status;
}

enum kl_status kl_history_make_scope(struct kl_history *h, uint64_t scope, const char *id,
                                     struct kl_history_place *p, struct kl_error *err)
{
    char name[KL_HISTORY_NAME_SIZE];
    kl_history_scope_name(scope, name);
    kl_history_chat_name(scope, id, p->name);
    enum kl_status status = kl_history_add_scope(h, name, &p->scope, err);
    if (status == KL_OK)
        status = kl_history_scope_open(h->dir, name, true, &p->dir, err);
    return status == KL_ERR_NOT_FOUND
               ? kl_fail(err, KL_ERR_IO,
                         "the directory of the history is gone; restart the server, or restore it")
               : status;
}

enum kl_status kl_history_read_file(struct kl_history_place *p, struct kl_error *err)
{
    size_t len;
    if (p->size > KL_HISTORY_MAX_FILE)
        return kl_fail(err, KL_ERR_FORMAT,
                       "the file %.64s of the history has %" PRIu64 " bytes, and this program "
                       "writes at most %zu; remove it",
                       p->name, p->size, KL_HISTORY_MAX_FILE);
    p->data = malloc((size_t)p->size + 1);
    if (p->data == NULL)
        return kl_fail_memory(err, "a chat", p->size);
    enum kl_status status = kl_history_file_read(p->fd, 0, p->data, (size_t)p->size, &len, err);
    return status == KL_OK ? kl_chat_text_read(p->data, len, &p->chat, err) : status;
}

enum kl_status kl_history_enter(struct kl_history *h, uint64_t scope, const char *id,
                                struct kl_history_place *p, struct kl_error *err)
{
    enum kl_status status = kl_history_enter_scope(h, scope, p, err);
    if (status != KL_OK || p->dir < 0)
        return status;
    kl_history_chat_name(scope, id, p->name);
    status = kl_history_file_open(p->dir, p->name, &p->fd, &p->size, err);
    if (status == KL_ERR_NOT_FOUND)
        return KL_OK;
    return status == KL_OK ? kl_history_read_file(p, err) : status;
}

void kl_history_etag(const struct kl_chat_text *chat, char etag[KL_CHAT_ETAG_LEN + 1])
{
    memcpy(etag, chat->etag, KL_CHAT_ETAG_LEN);
    etag[KL_CHAT_ETAG_LEN] = '\0';
}

enum kl_status kl_history_check(const struct kl_history_place *p, kl_chat_condition *condition,
                                void *context, struct kl_error *err)
{
    char etag[KL_CHAT_ETAG_LEN + 1];
    if (p->chat.head != NULL)
        kl_history_etag(&p->chat, etag);
    if (condition == NULL || condition(context, p->chat.head != NULL ? etag : NULL))
        return KL_OK;
    return kl_fail(err, KL_ERR_INVALID, "the chat is not in the state that the request names");
}

enum kl_status kl_history_no_chat(const struct kl_history_place *p, const char *id,
                                  struct kl_error *err)
{
    if (p->fd >= 0)
        return kl_fail(err, KL_ERR_FORMAT,
                       "the file of chat %.36s is damaged: write the chat again, or delete it", id);
    return kl_fail(err, KL_ERR_NOT_FOUND, "there is no chat %.36s", id);
}
