/*
 * All live answers (live_answer.h): found by their ID, with the memory that each takes.
 *
 * Memory is that of the store of answers (answer_store.h), of which live ones take at most a half,
 * and those of one API key (without one: of one address) a quarter. Where that is short, ended
 * answers that nothing reads are forgotten, the oldest first: of the owner whose share is used up,
 * otherwise of the one that takes most.
 *
 * Owner: the service. Thread rule: everything runs on the loop's thread.
 */
#ifndef KL_SERVICE_LIVE_LIST_H
#define KL_SERVICE_LIVE_LIST_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/exchange.h"
#include "service/answer_store.h"
#include "service/event_log.h"

/* The most answers, so that walks over them are short. */
#define KL_LIVE_ANSWERS 256
#define KL_LIVE_ID_SIZE 37

struct kl_live_answers;
struct kl_live_reader;

/* Calls to the owner of an answer, its generation. */
struct kl_live_events {
    /* Stops the work: writes this error as its end. The answer has ended when it returns. */
    void (*stop)(void *work, const struct kl_api_error *error);
    /* A reader came or left. */
    void (*readers_changed)(void *work);
    /* An answer is without a reader now: kl_live_answers_expire is to be called after
     * KL_LIVE_ALONE_NS. */
    void (*alone)(void *context);
};

enum kl_live_fault {
    KL_LIVE_SOUND,
    KL_LIVE_FULL,     /* it takes more than KL_LIVE_BYTES */
    KL_LIVE_BUSY,     /* others leave no room for more of it */
    KL_LIVE_NO_MEMORY /* there was none for a piece of it */
};

struct kl_live_answer {
    struct kl_exchange exchange; /* for the generation: what it writes becomes the log */
    char id[KL_LIVE_ID_SIZE];    /* lower case */
    uint64_t scope;
    struct in6_addr address; /* of the client that asked for it */
    struct kl_live_answers *all;
    void *work; /* the generation; NULL: it has ended */

    const char *type; /* Content-Type; NULL: not known yet */
    bool is_document;
    bool has_ended;    /* all of it is in the log */
    bool is_forgotten; /* it cannot be found any more, and goes with its last reader */
    bool in_reserve;   /* an error is written as its end, behind these events: */
    uint64_t n_before_error;
    enum kl_live_fault fault;
    struct kl_event_log log;
    size_t bytes;      /* counted for it */
    size_t n_held;     /* kept for its request: of these, once `client` has left */
    uint64_t alone_ns; /* since when it has had no reader, if it has none */
    struct kl_live_reader *readers, *client; /* the one that asked for it; NULL: it has left */
    struct kl_live_answer *older, *newer;
};

struct kl_live_answers {
    struct kl_answer_store *store;
    const struct kl_live_events *events;
    void *context;
    size_t most_running; /* of one owner: a part of the places for requests; 0: not known yet */
    size_t n, bytes;
    struct kl_live_answer *oldest, *newest;
};

/* Returns the answer of that ID and scope; NULL: there is none. */
struct kl_live_answer *kl_live_find(const struct kl_live_answers *all, uint64_t scope,
                                    const char *id);

/* Returns how many run, and sets *n_ended to how many are kept. */
size_t kl_live_answers_count(const struct kl_live_answers *all, size_t *n_ended);

/* Returns whether its owner, this answer counted, has more that run than one may: those whose
 * clients have left keep their places, and one owner could take all. */
bool kl_live_is_one_too_many(const struct kl_live_answer *live);

/* For live_answer.c: adds an answer, which is counted from now on. */
void kl_live_link(struct kl_live_answer *live);

/* Removes and frees one that nothing uses; or only if it was forgotten and nothing uses it. */
void kl_live_free(struct kl_live_answer *live);
void kl_live_free_if_unused(struct kl_live_answer *live);

/* Counts what it takes with a log of this size, before memory for that is taken. Returns false if
 * there is no room: then nothing has changed. */
bool kl_live_count(struct kl_live_answer *live, size_t log_bytes);

#endif
