/*
 * Changes of a chat: the new state is made in memory, held against the limits, and appended to the
 * file or written as a new one.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "history/deletions.h"
#include "history/history_head.h"
#include "history/history_place.h"
#include "json/json_memory.h"

/* A chat as it will be. */
struct future {
    struct kl_chat_text chat; /* its table of messages is that of the place, or `fresh` */
    struct kl_chat_text fresh;
    char *head;
    struct kl_chat_message *given; /* the messages of the change */
    size_t n_given;
    char etag[KL_CHAT_ETAG_LEN + 1];
    bool rewrites;
    struct kl_buffer lines;
    uint64_t size; /* of the file */
};

static void release(struct future *f)
{
    for (size_t i = 0; i < f->n_given; i++)
        free((char *)(uintptr_t)f->given[i].json);
    free(f->given);
    free(f->head);
    kl_chat_text_release(&f->fresh);
    kl_buffer_release(&f->lines);
}

/* Prints the messages of a change. */
static enum kl_status print_messages(const json_t *messages, struct future *f, struct kl_error *err)
{
    size_t n = json_array_size(messages);
    f->given = n > 0 ? calloc(n, sizeof *f->given) : NULL;
    if (n > 0 && f->given == NULL)
        return kl_fail_memory(err, "the messages of a chat", n * sizeof *f->given);
    for (; f->n_given < n; f->n_given++) {
        const json_t *m = json_array_get(messages, f->n_given);
        char *text = json_dumps(m, JSON_COMPACT | JSON_REAL_PRECISION(17));
        if (kl_json_was_short() || text == NULL) {
            free(text);
            return kl_fail_memory(err, "the messages of a chat", 0);
        }
        f->given[f->n_given] = (struct kl_chat_message){json_string_value(json_object_get(m, "id")),
                                                        text, strlen(text)};
    }
    return KL_OK;
}

/* The ETag follows from all that was ever written: the same name is never that of another state. */
static void make_etag(const struct kl_chat_text *before, struct future *f)
{
    char hex[65];
    struct kl_sha256 h;
    kl_sha256_init(&h);
    if (before != NULL)
        kl_sha256_update(&h, before->etag, KL_CHAT_ETAG_LEN);
    kl_sha256_update(&h, f->head, strlen(f->head));
    for (size_t i = 0; i < f->n_given; i++)
        kl_sha256_update(&h, f->given[i].json, f->given[i].len + 1);
    kl_sha256_finish_hex(&h, hex);
    memcpy(f->etag, hex, KL_CHAT_ETAG_LEN);
    f->chat.etag = f->etag;
}

static enum kl_status check_size(struct future *f, struct kl_error *err)
{
    if (f->chat.head_len > KL_CHAT_MAX_HEAD_BYTES)
        return kl_fail(err, KL_ERR_LIMIT,
                       "the chat without its messages would have %zu bytes; the limit is %zu",
                       f->chat.head_len, KL_CHAT_MAX_HEAD_BYTES);
    f->chat.bytes = kl_chat_text_bytes(&f->chat);
    if (f->chat.bytes > KL_CHAT_MAX_BYTES)
        return kl_fail(err, KL_ERR_LIMIT,
                       "the chat would have %" PRIu64 " bytes; the limit is %zu; begin another one",
                       f->chat.bytes, KL_CHAT_MAX_BYTES);
    return KL_OK;
}

/* Makes the new state. Messages are replaced in the table of the place, whose chat is then that
 * state, too. */
static enum kl_status imagine(struct kl_history_place *p, const char *id,
                              const struct kl_chat_change *change, struct future *f,
                              struct kl_error *err)
{
    bool all = change->replaces && (change->messages != NULL || p->chat.head == NULL);
    f->head = kl_history_head_make(p->chat.head, p->chat.head_len, change->head, change->replaces,
                                   id, change->now_ms, err);
    if (f->head == NULL)
        return err->status;
    enum kl_status status = print_messages(change->messages, f, err);
    struct kl_chat_text *table = all ? &f->fresh : &p->chat;
    for (size_t i = 0; i < f->n_given && status == KL_OK; i++)
        status = kl_chat_text_add(table, &f->given[i], err);
    if (status != KL_OK)
        return status;
    f->chat = *table;
    f->chat.head = f->head;
    f->chat.head_len = strlen(f->head);
    make_etag(all ? NULL : &p->chat, f);
    f->rewrites = all;
    return check_size(f, err);
}

/* The size of a file that has only what is valid. */
static uint64_t compact_size(const struct future *f)
{
    return f->chat.bytes + f->chat.n_messages * KL_CHAT_MESSAGE_LINE + KL_CHAT_HEAD_LINE;
}

/* Prints the lines that are to be written: all, or those that are new. */
static enum kl_status print_lines(struct future *f, struct kl_error *err)
{
    const struct kl_chat_message *messages = f->rewrites ? f->chat.messages : f->given;
    size_t n = f->rewrites ? f->chat.n_messages : f->n_given;
    enum kl_status status = KL_OK;
    kl_buffer_clear(&f->lines);
    for (size_t i = 0; i < n && status == KL_OK; i++)
        status = kl_chat_text_message_line(&messages[i], &f->lines);
    if (status == KL_OK)
        status = kl_chat_text_head_line(&f->chat, &f->lines);
    return status == KL_OK ? KL_OK : kl_fail_memory(err, "a chat", f->lines.len);
}

/* ---- limits ---------------------------------------------------------------------------------- */

/* The bytes that a scope may take. */
static uint64_t share_of(const struct kl_history *h, uint64_t scope)
{
    return scope == 0 ? h->max_bytes : h->max_bytes / 4;
}

/* Checks a file of `size` bytes in place of the present one against the limits. A change that makes
 * it smaller always fits. */
static enum kl_status check_room(const struct kl_history *h, const struct kl_history_place *p,
                                 uint64_t scope, uint64_t size, struct kl_error *err)
{
    static const char advice[] = "delete chats, or start the server with a larger --history-size";
    uint64_t before = kl_history_blocks(p->fd >= 0 ? p->size : 0), after = kl_history_blocks(size);
    uint64_t of_scope = kl_history_less(p->scope->bytes, before);
    uint64_t all = kl_history_less(atomic_load(&h->bytes), before);
    if (after <= before)
        return KL_OK;
    if (of_scope + after > share_of(h, scope))
        return kl_fail(err, KL_ERR_BUSY,
                       "the history is full: the other chats of this key take %" PRIu64
                       " bytes, this one needs %" PRIu64 ", and the limit is %" PRIu64 "; %s",
                       of_scope, after, share_of(h, scope), advice);
    if (all + after > h->max_bytes)
        return kl_fail(err, KL_ERR_BUSY,
                       "the history is full: the other chats of all keys take %" PRIu64
                       " bytes, this one needs %" PRIu64 ", and the limit is %" PRIu64 "; %s",
                       all, after, h->max_bytes, advice);
    return KL_OK;
}

/* Decides whether the file is appended to or written anew, and whether it fits. */
static enum kl_status plan(const struct kl_history *h, const struct kl_history_place *p,
                           uint64_t scope, struct future *f, struct kl_error *err)
{
    if (p->chat.head == NULL && p->scope->n_chats >= KL_HISTORY_MAX_CHATS)
        return kl_fail(err, KL_ERR_BUSY,
                       "the history is full: there are %d chats, which is the most of one key; "
                       "delete some",
                       KL_HISTORY_MAX_CHATS);
    uint64_t compact = compact_size(f);
    enum kl_status status = print_lines(f, err);
    f->size = f->rewrites ? f->lines.len : p->chat.valid + f->lines.len;
    if (status == KL_OK && !f->rewrites &&
        (f->size > compact + compact / 2 + KL_HISTORY_SLACK ||
         (f->size > compact && check_room(h, p, scope, f->size, err) != KL_OK))) {
        f->rewrites = true;
        status = print_lines(f, err);
        f->size = f->lines.len;
    }
    return status == KL_OK ? check_room(h, p, scope, f->size, err) : status;
}

static enum kl_status write_lines(const struct kl_history_place *p, const struct future *f,
                                  struct kl_error *err)
{
    return f->rewrites ? kl_history_file_replace(p->dir, p->name, &f->lines, err)
                       : kl_history_file_append(p->fd, p->chat.valid, &f->lines, err);
}

enum kl_status kl_history_change(struct kl_history *h, uint64_t scope, const char *id,
                                 const struct kl_chat_change *change, struct kl_chat_entry *entry,
                                 struct kl_error *err)
{
    struct kl_history_place p;
    struct future f = {0};
    double changed;
    *entry = (struct kl_chat_entry){0};
    kl_buffer_init(&f.lines, KL_HISTORY_MAX_FILE);
    kl_buffer_init(&entry->entry, KL_CHAT_MAX_HEAD_BYTES);
    enum kl_status status = kl_history_enter(h, scope, id, &p, err);
    if (status == KL_OK && p.chat.head == NULL && !change->replaces)
        status = kl_history_no_chat(&p, id, err);
    entry->created = p.chat.head == NULL;
    bool is_new = p.fd < 0;
    if (status == KL_OK)
        status = kl_history_check(&p, change->condition, change->context, err);
    if (status == KL_OK)
        status = imagine(&p, id, change, &f, err);
    if (status == KL_OK)
        status = kl_history_head_entry(&f.chat, &entry->entry, &changed, err);
    if (status == KL_OK && p.dir < 0)
        status = kl_history_make_scope(h, scope, id, &p, err);
    if (status == KL_OK)
        status = plan(h, &p, scope, &f, err);
    if (status == KL_OK)
        status = write_lines(&p, &f, err);
    if (status == KL_OK) {
        kl_history_count(h, p.scope, is_new ? 0 : p.size, f.size, is_new ? 1 : 0);
        kl_history_etag(&f.chat, entry->etag);
    }
    if (status == KL_OK && entry->created)
        kl_deletions_note(p.dir, id, false);
    kl_history_leave(&p);
    release(&f);
    return status;
}
