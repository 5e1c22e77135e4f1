/*
 * The progress and result of loading the model: written by the thread that loads it, read by the
 * service's thread.
 *
 * The only object that both of them use. Has a lock that is held while a copy is made, and a
 * descriptor that becomes readable when loading has ended, with a model or an error.
 */
#ifndef KL_SERVICE_STARTUP_H
#define KL_SERVICE_STARTUP_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "service/served.h"

enum kl_startup_phase { KL_STARTUP_LOADING, KL_STARTUP_READY, KL_STARTUP_FAILED };

struct kl_startup_state {
    enum kl_startup_phase phase;
    const char *stage;              /* "downloading", ...: for programs and users; static */
    uint64_t done, total;           /* of the stage; total 0: not known */
    const struct kl_served *models; /* READY: [n_models], the first is open */
    size_t n_models;
    struct kl_error error; /* FAILED */
};

struct kl_startup {
    pthread_mutex_t lock;
    int fd;
    struct kl_startup_state state;
};

enum kl_status kl_startup_init(struct kl_startup *startup, struct kl_error *err);
void kl_startup_release(struct kl_startup *startup);

/* For the loading thread: reports progress, any number of times; then the result, by one of the
 * last two functions, once. A model that is opened later reports its progress, too. models:
 * outlives the service. */
void kl_startup_progress(struct kl_startup *startup, const char *stage, uint64_t done,
                         uint64_t total);
void kl_startup_ready(struct kl_startup *startup, const struct kl_served *models, size_t n_models);
void kl_startup_fail(struct kl_startup *startup, const struct kl_error *error);

/* Copies the state, for the service's thread. */
void kl_startup_read(struct kl_startup *startup, struct kl_startup_state *state);

/* Writes "downloading 42%", or only the stage where the total is not known, and returns out. */
const char *kl_startup_text(const struct kl_startup_state *state, char *out, size_t size);

#endif
