#include "history/history.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "history/deletions.h"
#include "history/history_head.h"
#include "history/history_place.h"

/* ---- the directory --------------------------------------------------------------------------- */

struct summing {
    struct kl_history *history;
    struct kl_history_scope *scope;
    enum kl_status status;
    struct kl_error *err;
};

static void sum_file(void *context, int dir, const char *name)
{
    struct summing *s = context;
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
        kl_history_count(s->history, s->scope, 0, (uint64_t)st.st_size, 1);
}

static void sum_scope(void *context, int dir, const char *name)
{
    struct summing *s = context;
    struct kl_error err;
    int scope_dir;
    if (s->status != KL_OK)
        return;
    if (kl_history_scope_open(dir, name, false, &scope_dir, &err) != KL_OK) {
        kl_warning("%s", err.text);
        return;
    }
    s->status = kl_history_add_scope(s->history, name, &s->scope, s->err);
    if (s->status == KL_OK)
        s->status = kl_history_each(scope_dir, sum_file, s, s->err);
    close(scope_dir);
}

enum kl_status kl_history_open(const struct kl_history_options *options,
                               struct kl_history **history, struct kl_error *err)
{
    struct timespec now;
    *history = NULL;
    struct kl_history *h = calloc(1, sizeof *h);
    if (h == NULL)
        return kl_fail_memory(err, "the history", sizeof *h);
    clock_gettime(CLOCK_REALTIME, &now);
    h->stamp = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    h->max_bytes = options->max_bytes;
    struct summing s = {.history = h, .err = err};
    s.status = kl_history_dir_open(options->path, &h->dir, &h->lock, err);
    if (s.status == KL_OK)
        s.status = kl_history_each(h->dir, sum_scope, &s, err);
    if (s.status != KL_OK) {
        kl_history_close(h);
        return s.status;
    }
    *history = h;
    return KL_OK;
}

void kl_history_close(struct kl_history *h)
{
    if (h == NULL)
        return;
    if (h->lock >= 0)
        close(h->lock);
    if (h->dir >= 0)
        close(h->dir);
    free(h->scopes);
    free(h);
}

void kl_history_read_stats(const struct kl_history *h, struct kl_history_stats *stats)
{
    *stats = (struct kl_history_stats){.n_chats = atomic_load(&h->n_chats),
                                       .bytes = atomic_load(&h->bytes),
                                       .max_bytes = h->max_bytes};
}

/* ---- calls ----------------------------------------------------------------------------------- */

enum kl_status kl_history_get(struct kl_history *h, uint64_t scope, const char *id,
                              kl_chat_condition *condition, void *context, struct kl_buffer *out,
                              char etag[KL_CHAT_ETAG_LEN + 1], struct kl_error *err)
{
    struct kl_history_place p;
    enum kl_status status = kl_history_enter(h, scope, id, &p, err);
    if (status == KL_OK && p.chat.head == NULL)
        status = kl_history_no_chat(&p, id, err);
    if (status == KL_OK) {
        kl_history_etag(&p.chat, etag);
        status = kl_history_check(&p, condition, context, err);
    }
    if (status == KL_OK && kl_chat_text_document(&p.chat, out) != KL_OK)
        status = kl_fail_memory(err, "a chat", p.size);
    kl_history_leave(&p);
    return status;
}

enum kl_status kl_history_delete(struct kl_history *h, uint64_t scope, const char *id,
                                 kl_chat_condition *condition, void *context, struct kl_error *err)
{
    struct kl_history_place p;
    enum kl_status status = kl_history_enter(h, scope, id, &p, err);
    if (status == KL_OK && p.fd < 0)
        status = kl_history_no_chat(&p, id, err);
    if (status == KL_OK)
        status = kl_history_check(&p, condition, context, err);
    if (status == KL_OK)
        status = kl_history_file_remove(p.dir, p.name, err);
    if (status == KL_OK) {
        kl_history_count(h, p.scope, p.size, 0, -1);
        kl_deletions_note(p.dir, id, true);
    }
    kl_history_leave(&p);
    return status;
}

/* ---- the list -------------------------------------------------------------------------------- */

/* Where a head line usually is, in bytes from the end of a file. */
#define TAIL ((size_t)8 << 10)
/* A row has 210 bytes without its title. */
#define MAX_LIST (KL_HISTORY_MAX_CHATS * ((size_t)KL_HISTORY_MAX_TITLE + 256))

struct row {
    double changed;
    size_t begin, len; /* in the text of all rows */
};

struct listing {
    struct kl_buffer text;
    struct row *rows;
    size_t n_rows;
    enum kl_status status;
    struct kl_error *err;
};

/* Finds the head of the file that is open, in its tail or, where that is too short, in all of it.
 */
static enum kl_status read_head(struct kl_history_place *p, struct kl_error *err)
{
    size_t len = p->size < TAIL ? (size_t)p->size : TAIL;
    p->data = malloc(len + 1);
    if (p->data == NULL)
        return kl_fail_memory(err, "a chat", len);
    enum kl_status status = kl_history_file_read(p->fd, p->size - len, p->data, len, &len, err);
    if (status != KL_OK || kl_chat_text_last_head(p->data, len, &p->chat))
        return status;
    free(p->data);
    p->data = NULL;
    return kl_history_read_file(p, err);
}

static void list_file(void *context, int dir, const char *name)
{
    struct listing *l = context;
    struct kl_history_place p = {.dir = -1, .fd = -1};
    struct row *row = &l->rows[l->n_rows];
    if (l->status != KL_OK || l->n_rows == KL_HISTORY_MAX_CHATS)
        return;
    memcpy(p.name, name, sizeof p.name);
    row->begin = l->text.len;
    enum kl_status status = kl_history_file_open(dir, name, &p.fd, &p.size, l->err);
    if (status == KL_OK)
        status = read_head(&p, l->err);
    if (status == KL_OK && p.chat.head == NULL)
        status = kl_fail(l->err, KL_ERR_FORMAT, "the file %.64s of the history is damaged", name);
    if (status == KL_OK) {
        status = kl_history_head_entry(&p.chat, &l->text, &row->changed, l->err);
        row->len = l->text.len - row->begin;
        l->n_rows += status == KL_OK;
    }
    kl_history_leave(&p);
    if (status == KL_ERR_MEMORY)
        l->status = status;
    else if (status != KL_OK)
        kl_warning("%s; the list of chats is without it", l->err->text);
}

static int compare_rows(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    if (x->changed != y->changed)
        return x->changed > y->changed ? -1 : 1;
    return x->begin < y->begin ? -1 : 1; /* no two begin at the same place */
}

static enum kl_status print_list(struct listing *l, const struct kl_buffer *deleted,
                                 struct kl_buffer *out)
{
    enum kl_status status = kl_buffer_append_string(out, "{\"object\":\"list\",\"data\":[");
    qsort(l->rows, l->n_rows, sizeof *l->rows, compare_rows);
    for (size_t i = 0; i < l->n_rows && status == KL_OK; i++) {
        if (i > 0)
            status = kl_buffer_append(out, ",", 1);
        if (status == KL_OK)
            status = kl_buffer_append(out, l->text.data + l->rows[i].begin, l->rows[i].len);
    }
    if (status == KL_OK)
        status = kl_buffer_append_string(out, "],\"deleted\":[");
    for (size_t at = 0; at < deleted->len && status == KL_OK; at += KL_DELETION_LINE)
        status = kl_buffer_append_format(out, "%s\"%.*s\"", at > 0 ? "," : "", KL_CHAT_ID_LEN,
                                         deleted->data + at);
    return status == KL_OK ? kl_buffer_append_string(out, "]}") : status;
}

static enum kl_status list(struct kl_history_place *p, struct kl_buffer *out, struct kl_error *err)
{
    struct listing l = {.err = err};
    struct kl_buffer deleted;
    kl_buffer_init(&deleted, (size_t)KL_HISTORY_MAX_DELETIONS * KL_DELETION_LINE);
    kl_buffer_init(&l.text, MAX_LIST);
    l.rows = calloc(KL_HISTORY_MAX_CHATS, sizeof *l.rows);
    if (l.rows == NULL)
        return kl_fail_memory(err, "the list of chats", KL_HISTORY_MAX_CHATS * sizeof *l.rows);
    enum kl_status status = p->dir >= 0 ? kl_history_each(p->dir, list_file, &l, err) : KL_OK;
    if (status == KL_OK)
        status = l.status;
    if (status == KL_OK && p->dir >= 0)
        status = kl_deletions_read(p->dir, &deleted, err);
    if (status == KL_OK && print_list(&l, &deleted, out) != KL_OK)
        status = kl_fail_memory(err, "the list of chats", out->len);
    kl_buffer_release(&deleted);
    kl_buffer_release(&l.text);
    free(l.rows);
    return status;
}

enum kl_status kl_history_list(struct kl_history *h, uint64_t scope, kl_chat_condition *condition,
                               void *context, struct kl_buffer *out,
                               char etag[KL_CHAT_ETAG_LEN + 1], struct kl_error *err)
{
    struct kl_history_place p;
    enum kl_status status = kl_history_enter_scope(h, scope, &p, err);
    /* a change of any chat is one of the list */
    snprintf(etag, KL_CHAT_ETAG_LEN + 1, "%016" PRIx64 "%016" PRIx64, h->stamp,
             p.scope != NULL ? p.scope->version : 0);
    if (status == KL_OK && condition != NULL && !condition(context, etag))
        status = kl_fail(err, KL_ERR_INVALID, "the list is in the state that the request names");
    if (status == KL_OK)
        status = list(&p, out, err);
    kl_history_leave(&p);
    return status;
}
