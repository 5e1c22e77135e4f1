/*
 * A model that is served, and the names by which requests may ask for it.
 *
 * All that a kl_served points to belongs to the thread that loaded the model, and outlives the
 * service. Pure functions.
 */
#ifndef KL_SERVICE_SERVED_H
#define KL_SERVICE_SERVED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/model_facts.h"
#include "engine/engine.h"
#include "grammar/rule_cache.h"
#include "http/api_error.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

struct kl_served {
    struct kl_engine *engine;             /* NULL: the model is not open */
    const struct kl_tokenizer *tokenizer; /* NULL as well */
    struct kl_rule_cache *rules;          /* the worker's thread uses it */
    const struct kl_chat_template *chat_template;
    enum kl_chat_by chat_template_by;

    /* Shown by /v1/models and /health, valid UTF-8. Requests may use any of these names. */
    const char *model_name;     /* "qwen2.5-0.5b-instruct" */
    const char *model_file;     /* base name of the file, or NULL */
    const char *const *aliases; /* further names */
    size_t n_aliases;
    int64_t model_created;              /* seconds since 1970, or 0 */
    uint64_t model_bytes;               /* size of the file, or 0 */
    const struct kl_model_facts *facts; /* of the file, or NULL */
    size_t ctx_size;                    /* tokens */
    uint64_t planned_bytes;             /* the memory that it may take while it is open */
};

/* Returns the name under which to report the model that a request asks for by `name`, or NULL if it
 * is not this model: an alias in its own spelling; the model's name for that name, the name of the
 * file, "default", and no name (NULL or ""). */
const char *kl_served_find_name(const struct kl_served *served, const char *name);

/* Whether the vocabulary has the tokens of gaps (fill-in-the-middle). false for a model that was
 * never open. */
bool kl_served_has_gaps(const struct kl_served *served);

/* Refuses any other name with a 404 that names the model, instead of silently answering with a
 * model other than the one asked for. */
enum kl_status kl_served_check_name(const struct kl_served *served, const char *name,
                                    struct kl_api_error *error);

/* The same as Ollama does it, with its words: no name is a 400. */
enum kl_status kl_served_check_tag(const struct kl_served *served, const char *name,
                                   struct kl_api_error *error);

#endif
