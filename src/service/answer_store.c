#include "service/answer_store.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* The records of one scope. */
struct kl_answer_owner {
    uint64_t scope;
    size_t n_records, bytes;
    struct kl_answer_owner *next;
};

struct kl_answer_store {
    size_t max_bytes;
    pthread_mutex_t lock; /* guards all that follows, and the store's members of the records */
    size_t n_records, n_kept, bytes;
    uint64_t n_removed;
    struct kl_answer_owner *owners;
    /* Kept records by their last use. One is older than the one it continues: so the oldest of a
     * conversation is its end, which nothing continues. */
    struct kl_answer_record *oldest, *newest;
};

enum kl_status kl_answer_store_open(size_t max_bytes, struct kl_answer_store **out,
                                    struct kl_error *err)
{
    struct kl_answer_store *s = *out = calloc(1, sizeof *s);
    if (s == NULL)
        return kl_fail_memory(err, "the store of answers", sizeof *s);
    s->max_bytes = max_bytes;
    pthread_mutex_init(&s->lock, NULL);
    return KL_OK;
}

size_t kl_answer_store_most_bytes(const struct kl_answer_store *s)
{
    return s->max_bytes / 4;
}

/* ---- with the lock --------------------------------------------------------------------------- */

static void unlink_kept(struct kl_answer_store *s, struct kl_answer_record *r)
{
    *(r->newer != NULL ? &r->newer->older : &s->newest) = r->older;
    *(r->older != NULL ? &r->older->newer : &s->oldest) = r->newer;
    r->newer = r->older = NULL;
    r->is_kept = false;
    s->n_kept--;
}

static void link_newest(struct kl_answer_store *s, struct kl_answer_record *r)
{
    r->older = s->newest;
    *(r->older != NULL ? &r->older->newer : &s->oldest) = r;
    s->newest = r;
    r->is_kept = true;
    s->n_kept++;
}

/* Makes a conversation the last one that was used. */
static void touch(struct kl_answer_store *s, struct kl_answer_record *r)
{
    for (; r != NULL; r = r->previous) {
        if (!r->is_kept)
            continue;
        unlink_kept(s, r);
        link_newest(s, r);
    }
}

/* Returns the records of a scope; NULL: no memory. */
static struct kl_answer_owner *find_owner(struct kl_answer_store *s, uint64_t scope)
{
    struct kl_answer_owner *o = s->owners;
    while (o != NULL && o->scope != scope)
        o = o->next;
    if (o != NULL)
        return o;
    o = calloc(1, sizeof *o);
    if (o != NULL) {
        o->scope = scope;
        o->next = s->owners;
        s->owners = o;
    }
    return o;
}

static void drop_unused_owner(struct kl_answer_store *s, struct kl_answer_owner *owner)
{
    struct kl_answer_owner **at = &s->owners;
    if (owner->n_records > 0)
        return;
    while (*at != owner)
        at = &(*at)->next;
    *at = owner->next;
    free(owner);
}

/* Counts bytes that a record takes more, or less. */
static void count_bytes(struct kl_answer_record *r, size_t more, size_t less)
{
    r->bytes = r->bytes + more - less;
    r->owner->bytes = r->owner->bytes + more - less;
    r->store->bytes = r->store->bytes + more - less;
}

static void free_record(struct kl_answer_record *r)
{
    free(r->fields.data);
    free(r->items.data);
    free(r->document.data);
    free(r);
}

/* Gives up a share of a record: if it was the last one, also its share of the one it continues. */
static void drop_share(struct kl_answer_record *r)
{
    while (r != NULL && --r->n_shares == 0) {
        struct kl_answer_record *previous = r->previous;
        struct kl_answer_store *s = r->store;
        count_bytes(r, 0, r->bytes);
        s->n_records--;
        r->owner->n_records--;
        drop_unused_owner(s, r->owner);
        free_record(r);
        r = previous;
    }
}

/* Removes a record that nothing uses; false: there is none. */
static bool remove_one(struct kl_answer_store *s)
{
    struct kl_answer_record *best = NULL;
    for (struct kl_answer_record *r = s->oldest; r != NULL; r = r->newer) {
        if (r->n_shares == 1 && (best == NULL || r->owner->bytes > best->owner->bytes))
            best = r;
    }
    if (best == NULL)
        return false;
    unlink_kept(s, best);
    drop_share(best);
    s->n_removed++;
    return true;
}

static enum kl_status make_room(struct kl_answer_store *s, size_t n_records, size_t bytes,
                                struct kl_error *err)
{
    while (s->n_records + n_records > KL_ANSWER_STORE_RECORDS || s->bytes + bytes > s->max_bytes) {
        if (!remove_one(s))
            return kl_fail(err, KL_ERR_BUSY,
                           "the answers of the requests that run and wait take %zu bytes of %zu, "
                           "which leaves no room for %zu more: try again later",
                           s->bytes, s->max_bytes, bytes);
    }
    return KL_OK;
}

/* ---- records --------------------------------------------------------------------------------- */

static enum kl_status check_size(const struct kl_answer_store *s, size_t bytes,
                                 struct kl_error *err)
{
    if (bytes <= kl_answer_store_most_bytes(s))
        return KL_OK;
    return kl_fail(err, KL_ERR_LIMIT, "it takes %zu bytes of memory to keep, expected at most %zu",
                   bytes, kl_answer_store_most_bytes(s));
}

static enum kl_status make_id(char id[KL_ANSWER_ID_SIZE], struct kl_error *err)
{
    uint64_t words[2];
    ssize_t n;
    do
        n = getrandom(words, sizeof words, 0);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof words)
        return kl_fail(err, KL_ERR_IO, "the system gives no random bytes for an ID");
    snprintf(id, KL_ANSWER_ID_SIZE, "%016llx%016llx", (unsigned long long)words[0],
             (unsigned long long)words[1]);
    return KL_OK;
}

/* Returns false without memory. */
static bool copy_text(const char *text, struct kl_answer_text *out)
{
    out->len = strlen(text);
    out->data = malloc(out->len + 1);
    if (out->data != NULL)
        memcpy(out->data, text, out->len + 1);
    return out->data != NULL;
}

enum kl_status kl_answer_record_new(struct kl_answer_store *s, uint64_t scope,
                                    struct kl_answer_record *previous, const char *fields,
                                    const char *items, struct kl_answer_record **out,
                                    struct kl_error *err)
{
    size_t bytes = sizeof(struct kl_answer_record) + strlen(fields) + strlen(items);
    enum kl_status status = check_size(s, bytes, err);
    if (status != KL_OK)
        return status;
    struct kl_answer_record *r = calloc(1, sizeof *r);
    if (r == NULL)
        return kl_fail_memory(err, "a kept answer", bytes);
    if (!copy_text(fields, &r->fields) || !copy_text(items, &r->items))
        status = kl_fail_memory(err, "a kept answer", bytes);
    if (status == KL_OK)
        status = make_id(r->id, err);
    if (status != KL_OK) {
        free_record(r);
        return status;
    }
    r->n_input = r->items.len;
    r->store = s;
    r->n_shares = 1;
    pthread_mutex_lock(&s->lock);
    status = make_room(s, 1, bytes, err);
    if (status == KL_OK && (r->owner = find_owner(s, scope)) == NULL)
        status = kl_fail_memory(err, "a kept answer", sizeof *r->owner);
    if (status == KL_OK) {
        r->previous = previous;
        if (previous != NULL)
            previous->n_shares++;
        s->n_records++;
        r->owner->n_records++;
        count_bytes(r, bytes, 0);
    }
    pthread_mutex_unlock(&s->lock);
    if (status == KL_OK)
        *out = r;
    else
        free_record(r);
    return status;
}

void kl_answer_record_release(struct kl_answer_record *r)
{
    if (r == NULL)
        return;
    struct kl_answer_store *s = r->store;
    pthread_mutex_lock(&s->lock);
    drop_share(r);
    pthread_mutex_unlock(&s->lock);
}

/* Puts the texts of the answer into the record, which has been counted for them. */
static enum kl_status add_answer(struct kl_answer_record *r, const char *items, size_t n_items,
                                 const char *document, struct kl_error *err)
{
    size_t comma = r->items.len > 0 && n_items > 0;
    struct kl_answer_text text = {0};
    char *all = malloc(r->items.len + comma + n_items + 1);
    if (all == NULL || !copy_text(document, &text)) {
        free(all);
        return kl_fail_memory(err, "a kept answer", r->items.len + n_items);
    }
    memcpy(all, r->items.data, r->items.len);
    if (comma)
        all[r->items.len] = ',';
    memcpy(all + r->items.len + comma, items, n_items + 1);
    free(r->items.data);
    r->items = (struct kl_answer_text){all, r->items.len + comma + n_items};
    free(r->fields.data);
    r->fields = (struct kl_answer_text){0};
    r->document = text;
    return KL_OK;
}

enum kl_status kl_answer_record_keep(struct kl_answer_record *r, const char *items,
                                     const char *document, struct kl_error *err)
{
    struct kl_answer_store *s = r->store;
    size_t n_items = strlen(items), less = r->fields.len;
    size_t more = (r->items.len > 0 && n_items > 0) + n_items + strlen(document);
    enum kl_status status = check_size(s, r->bytes + more - less, err);
    if (status != KL_OK)
        return status;
    pthread_mutex_lock(&s->lock);
    status = make_room(s, 0, more, err);
    if (status == KL_OK)
        count_bytes(r, more, 0);
    pthread_mutex_unlock(&s->lock);
    if (status != KL_OK)
        return status;

    status = add_answer(r, items, n_items, document, err);
    pthread_mutex_lock(&s->lock);
    count_bytes(r, 0, status == KL_OK ? less : more);
    if (status == KL_OK) {
        r->n_shares++;
        link_newest(s, r);
        touch(s, r);
    }
    pthread_mutex_unlock(&s->lock);
    return status;
}

/* ---- memory of others ------------------------------------------------------------------------ */

enum kl_status kl_answer_store_take(struct kl_answer_store *s, size_t bytes, struct kl_error *err)
{
    pthread_mutex_lock(&s->lock);
    enum kl_status status = make_room(s, 0, bytes, err);
    if (status == KL_OK)
        s->bytes += bytes;
    pthread_mutex_unlock(&s->lock);
    return status;
}

void kl_answer_store_return(struct kl_answer_store *s, size_t bytes)
{
    pthread_mutex_lock(&s->lock);
    s->bytes -= bytes;
    pthread_mutex_unlock(&s->lock);
}

/* ---- kept records ---------------------------------------------------------------------------- */

/* Returns the kept record of that ID, without a share. */
static struct kl_answer_record *find_kept(const struct kl_answer_store *s, uint64_t scope,
                                          const char *id)
{
    struct kl_answer_record *r = s->newest;
    while (r != NULL && (r->owner->scope != scope || strcmp(r->id, id) != 0))
        r = r->older;
    return r;
}

struct kl_answer_record *kl_answer_store_find(struct kl_answer_store *s, uint64_t scope,
                                              const char *id)
{
    pthread_mutex_lock(&s->lock);
    struct kl_answer_record *r = find_kept(s, scope, id);
    if (r != NULL) {
        r->n_shares++;
        touch(s, r);
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

bool kl_answer_store_delete(struct kl_answer_store *s, uint64_t scope, const char *id)
{
    pthread_mutex_lock(&s->lock);
    struct kl_answer_record *r = find_kept(s, scope, id);
    if (r != NULL) {
        unlink_kept(s, r);
        drop_share(r);
    }
    pthread_mutex_unlock(&s->lock);
    return r != NULL;
}

size_t kl_answer_record_items(const struct kl_answer_record *record, size_t max_bytes,
                              struct kl_buffer *out, enum kl_status *status)
{
    size_t n = 0, n_all = 0, bytes = 0, begin = out->len;
    bool fits = true;
    for (const struct kl_answer_record *r = record; r != NULL; r = r->previous, n_all++) {
        bytes += r->items.len + 1;
        fits = fits && bytes <= max_bytes;
        n += fits;
    }
    const struct kl_answer_record **turns = calloc(n + 1, sizeof *turns);
    *status = turns != NULL ? KL_OK : KL_ERR_MEMORY;
    if (turns == NULL)
        return 0;
    for (size_t i = n; i-- > 0; record = record->previous)
        turns[i] = record;
    for (size_t i = 0; i < n && *status == KL_OK; i++) {
        if (out->len > begin && turns[i]->items.len > 0)
            *status = kl_buffer_append(out, ",", 1);
        if (*status == KL_OK)
            *status = kl_buffer_append(out, turns[i]->items.data, turns[i]->items.len);
    }
    free(turns);
    return n_all - n;
}

void kl_answer_store_read(struct kl_answer_store *s, struct kl_answer_store_stats *stats)
{
    pthread_mutex_lock(&s->lock);
    *stats = (struct kl_answer_store_stats){.n_records = s->n_records,
                                            .n_kept = s->n_kept,
                                            .bytes = s->bytes,
                                            .max_bytes = s->max_bytes,
                                            .n_removed = s->n_removed};
    pthread_mutex_unlock(&s->lock);
}

void kl_answer_store_close(struct kl_answer_store *s)
{
    if (s == NULL)
        return;
    while (s->newest != NULL) {
        struct kl_answer_record *r = s->newest;
        unlink_kept(s, r);
        drop_share(r);
    }
    pthread_mutex_destroy(&s->lock);
    free(s);
}
