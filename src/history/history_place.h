/*
 * A chat and its file while a call works on them, and the sums of each scope. For the files of this
 * room only.
 */
#ifndef KL_HISTORY_HISTORY_PLACE_H
#define KL_HISTORY_HISTORY_PLACE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "history/chat_text.h"
#include "history/history.h"
#include "history/history_dir.h"

/* A file takes whole blocks of the disk. */
#define KL_HISTORY_BLOCK ((uint64_t)4096)
/* Bytes that replaced lines may take of a file, in addition to half of what is valid. */
#define KL_HISTORY_SLACK ((size_t)64 << 10)
/* The most bytes around the JSON in lines of chat_text.h. */
#define KL_CHAT_MESSAGE_LINE 82
#define KL_CHAT_HEAD_LINE    112
/* The largest file: all of a chat, and what was replaced. */
#define KL_HISTORY_MAX_COMPACT                                                                     \
    (KL_CHAT_MAX_BYTES + KL_CHAT_MAX_MESSAGES * KL_CHAT_MESSAGE_LINE + KL_CHAT_HEAD_LINE)
#define KL_HISTORY_MAX_FILE (KL_HISTORY_MAX_COMPACT + KL_HISTORY_MAX_COMPACT / 2 + KL_HISTORY_SLACK)

struct kl_history_scope {
    char name[KL_HISTORY_NAME_SIZE]; /* of its directory */
    uint64_t bytes, n_chats;
    uint64_t version; /* of its list: the number of changes */
};

struct kl_history {
    int dir, lock;
    uint64_t max_bytes;
    uint64_t stamp; /* of this start: versions begin again */
    struct kl_history_scope *scopes;
    size_t n_scopes;
    _Atomic(uint64_t) n_chats, bytes; /* of all scopes; read by any thread */
};

struct kl_history_place {
    struct kl_history_scope *scope; /* NULL: it has no chats yet */
    int dir, fd;                    /* of the scope and of the file; -1: there is none */
    char name[KL_HISTORY_NAME_SIZE];
    uint64_t size; /* of the file */
    char *data;
    struct kl_chat_text chat; /* points into data */
};

/* The bytes of the disk that a file takes. */
static inline uint64_t kl_history_blocks(uint64_t size)
{
    return (size + KL_HISTORY_BLOCK - 1) / KL_HISTORY_BLOCK * KL_HISTORY_BLOCK;
}

/* A sum without a part of it. Files that something else changed may be larger than what was summed
 * up. */
static inline uint64_t kl_history_less(uint64_t sum, uint64_t part)
{
    return sum > part ? sum - part : 0;
}

/* Finds or makes the sums of a scope, by the name of its directory. */
enum kl_status kl_history_add_scope(struct kl_history *h, const char *name,
                                    struct kl_history_scope **scope, struct kl_error *err);
/* Counts a file that had `before` bytes and has `after`; chats: how many there are more. */
void kl_history_count(struct kl_history *h, struct kl_history_scope *scope, uint64_t before,
                      uint64_t after, int chats);

/* Opens the directory of a scope; p->dir is -1 if it is not there. The caller leaves the place in
 * any case. */
enum kl_status kl_history_enter_scope(struct kl_history *h, uint64_t scope,
                                      struct kl_history_place *p, struct kl_error *err);
/* The same, then finds and reads a chat: p->chat.head is NULL if there is none. */
enum kl_status kl_history_enter(struct kl_history *h, uint64_t scope, const char *id,
                                struct kl_history_place *p, struct kl_error *err);
/* Creates the directory of a scope for the first of its chats, after _enter found none. */
enum kl_status kl_history_make_scope(struct kl_history *h, uint64_t scope, const char *id,
                                     struct kl_history_place *p, struct kl_error *err);
/* Reads the whole file of p->fd. */
enum kl_status kl_history_read_file(struct kl_history_place *p, struct kl_error *err);
void kl_history_leave(struct kl_history_place *p);

void kl_history_etag(const struct kl_chat_text *chat, char etag[KL_CHAT_ETAG_LEN + 1]);
/* Asks the condition of a call about the present state. */
enum kl_status kl_history_check(const struct kl_history_place *p, kl_chat_condition *condition,
                                void *context, struct kl_error *err);
/* Fails for a place without a chat: KL_ERR_NOT_FOUND; KL_ERR_FORMAT: its file is damaged. */
enum kl_status kl_history_no_chat(const struct kl_history_place *p, const char *id,
                                  struct kl_error *err);

#endif
