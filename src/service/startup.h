/*
 * How far the start is: the thread that loads the model says it, the server's thread hears it.
 *
 * The one thing both of them touch. A lock that is held for a copy, and a descriptor that becomes
 * readable when the start is over, one way or the other.
 */
#ifndef KL_SERVICE_STARTUP_H
#define KL_SERVICE_STARTUP_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "server/server.h"

enum kl_startup_phase { KL_STARTUP_LOADING, KL_STARTUP_READY, KL_STARTUP_FAILED };

struct kl_startup_state {
    enum kl_startup_phase phase;
    enum kl_loading_stage stage;
    uint64_t done, total;    /* of the stage; total 0: not known */
    struct kl_served served; /* READY */
    struct kl_error error;   /* FAILED */
};

struct kl_startup {
    pthread_mutex_t lock;
    int fd;
    struct kl_startup_state state;
};

enum kl_status kl_startup_init(struct kl_startup *startup, struct kl_error *err);
void kl_startup_release(struct kl_startup *startup);

/* The loading thread's. After one of the last two there is nothing more to say. */
void kl_startup_tell(struct kl_startup *startup, enum kl_loading_stage stage, uint64_t done,
                     uint64_t total);
void kl_startup_ready(struct kl_startup *startup, const struct kl_served *served);
void kl_startup_fail(struct kl_startup *startup, const struct kl_error *error);

/* The server's: a copy of all. */
void kl_startup_read(struct kl_startup *startup, struct kl_startup_state *state);

/* "downloading", ...: for programs; clients may show their own words for each. */
const char *kl_loading_stage_name(enum kl_loading_stage stage);

/* "downloading 42%", or without the share where that is not known. */
const char *kl_startup_text(const struct kl_startup_state *state, char *out, size_t size);

#endif
