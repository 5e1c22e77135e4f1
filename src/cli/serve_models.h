/*
 * The models of kinglet serve, as its server sees them (struct kl_served), each with the cache of
 * its rules.
 *
 * Threads: _find and _release belong to the main thread, _load to the one that loads. The opener
 * runs on a worker's thread, after _load.
 */
#ifndef KL_CLI_SERVE_MODELS_H
#define KL_CLI_SERVE_MODELS_H

#include "load/model_set.h"
#include "load/prefixes.h"
#include "server/server.h"

struct kl_serve_models {
    struct kl_model_set set; /* found by kl_model_set_find */
    const struct kl_aliases *aliases;
    const struct kl_precompute_texts *warm_texts; /* for each that answers */
    size_t rule_bytes;                            /* compiled rules of each */
    /* Adds what the server takes, whatever it serves, to the plan of the first. */
    void (*plan_program)(const void *context, struct kl_plan *plan);
    const void *plan_context;
    struct kl_server *server;
    struct kl_load_observer observer;
    struct kl_served served[KL_MAX_MODELS];
    struct kl_rule_cache *rules[KL_MAX_MODELS];
};

/* Opens the first model, and reads the facts of the others; fills served. */
enum kl_status kl_serve_models_load(struct kl_serve_models *models, struct kl_server *server,
                                    struct kl_error *err);

/* Returns what opens and closes the models for the server. */
struct kl_model_opener kl_serve_models_opener(struct kl_serve_models *models);

/* Closes all models, after the server. */
void kl_serve_models_release(struct kl_serve_models *models);

#endif
