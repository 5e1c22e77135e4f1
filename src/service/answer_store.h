/*
 * Kept answers: those that a client can read again by their ID, and continue a conversation from.
 *
 * A record is made when its request is read, so that an answer is known here before it is complete,
 * and it is found by its ID from kl_answer_record_keep on. It has the texts of one turn and a share
 * of the record that it continues: a conversation takes memory once, not once for each turn, and
 * stays whole while its last answer is kept. The store knows nothing of what the texts mean.
 *
 * The memory of all records, kept or not, is bounded. Where it is short, one is removed: of the
 * scope that takes most, the one that was not used for the longest time, among those that nothing
 * uses or continues. So one client cannot push out the answers of all others. A record of another
 * scope (API key) is not found.
 *
 * Thread rule: any thread may call any function; a lock is held for a walk over the records, never
 * across anything that takes time. The texts of a record do not change once it is kept.
 */
#ifndef KL_SERVICE_ANSWER_STORE_H
#define KL_SERVICE_ANSWER_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

struct kl_answer_store;
struct kl_answer_owner;

/* Random, as 32 lower-case hex digits: an ID cannot be guessed. */
#define KL_ANSWER_ID_SIZE 33

/* The most records, so that walks over them are short. */
#define KL_ANSWER_STORE_RECORDS 4096

struct kl_answer_text {
    char *data; /* NUL-terminated; NULL: none */
    size_t len;
};

struct kl_answer_record {
    char id[KL_ANSWER_ID_SIZE];
    struct kl_answer_record *previous; /* a share; NULL: the conversation begins here */
    struct kl_answer_text fields;      /* of the request, for its answer; none once it is kept */
    struct kl_answer_text items;       /* of this turn: those of the request, then the answer's */
    size_t n_input;                    /* bytes of items that are the request's */
    struct kl_answer_text document;    /* the whole answer; none before it is kept */
    bool is_wanted; /* the request asks to keep its answer: the caller's, set once it is made */

    /* the store's */
    struct kl_answer_store *store;
    struct kl_answer_owner *owner;
    size_t n_shares, bytes;
    bool is_kept;
    struct kl_answer_record *older, *newer; /* of its owner's kept ones */
};

/* max_bytes: of all records. */
enum kl_status kl_answer_store_open(size_t max_bytes, struct kl_answer_store **store,
                                    struct kl_error *err);
/* After all shares were released. NULL is allowed. */
void kl_answer_store_close(struct kl_answer_store *store);

/* The largest record: a quarter of the store. */
size_t kl_answer_store_most_bytes(const struct kl_answer_store *store);

/* Makes a record with a new ID, of copies of fields and items; a share of `previous` is taken,
 * NULL: none. The caller owns a share of *record. KL_ERR_LIMIT: it is larger than one may be;
 * KL_ERR_BUSY: the records of requests that run or wait leave no room for it; KL_ERR_MEMORY. */
enum kl_status kl_answer_record_new(struct kl_answer_store *store, uint64_t scope,
                                    struct kl_answer_record *previous, const char *fields,
                                    const char *items, struct kl_answer_record **record,
                                    struct kl_error *err);

/* Gives up a share. NULL is allowed. */
void kl_answer_record_release(struct kl_answer_record *record);

/* Keeps the answer of a record, which is found from now on. `items` are added to those of the
 * request, behind a comma. Errors as for _new; then it is not kept. */
enum kl_status kl_answer_record_keep(struct kl_answer_record *record, const char *items,
                                     const char *document, struct kl_error *err);

/* Returns a share of the kept record of that ID, which now counts as used; NULL: there is none. */
struct kl_answer_record *kl_answer_store_find(struct kl_answer_store *store, uint64_t scope,
                                              const char *id);

/* Forgets the kept record of that ID; those that continue it stay whole. false: there is none. */
bool kl_answer_store_delete(struct kl_answer_store *store, uint64_t scope, const char *id);

/* Appends the items of a conversation up to this kept record, the oldest first, with commas between
 * turns. Older turns are left out where all would take more than max_bytes; returns how many.
 * Takes no lock. *status: KL_ERR_MEMORY. */
size_t kl_answer_record_items(const struct kl_answer_record *record, size_t max_bytes,
                              struct kl_buffer *out, enum kl_status *status);

/* Counts memory for other answers (live_answer.h) as taken; kept records make room for it.
 * KL_ERR_BUSY: there is none. _return gives it back. */
enum kl_status kl_answer_store_take(struct kl_answer_store *store, size_t bytes,
                                    struct kl_error *err);
void kl_answer_store_return(struct kl_answer_store *store, size_t bytes);

struct kl_answer_store_stats {
    size_t n_records, n_kept, bytes, max_bytes;
    uint64_t n_removed; /* since the start, because memory was short */
};
void kl_answer_store_read(struct kl_answer_store *store, struct kl_answer_store_stats *stats);

#endif
