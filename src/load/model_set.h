/*
 * Several models of one process: finds them by name and in a directory, reads their facts, and
 * opens and closes each with an engine. All engines share one thread, one pool, and one memory
 * budget.
 *
 * Threads: kl_model_set_find and _release belong to one thread; the others to one thread at a time,
 * which may wait.
 */
#ifndef KL_LOAD_MODEL_SET_H
#define KL_LOAD_MODEL_SET_H

#include <stdatomic.h>
#include <stddef.h>
#include <sys/stat.h>

#include "engine/engine.h"
#include "engine/engine_thread.h"
#include "load/aliases.h"
#include "load/load.h"

#define KL_MODEL_SET_MAX 64

struct kl_model_set_options {
    struct kl_load_options load;          /* of each, but for its name and its chat template */
    struct kl_string_list chat_templates; /* NAME, of the only model, or NAME=MODEL */
    struct kl_engine_choice engine;       /* of each model */
    uint64_t cache_disk;                  /* for the prompts of all models */
};

/* One model. Fields that are set while it is open are 0 otherwise. */
struct kl_set_model {
    char *word;                /* as it was given; owned; NULL: the default of the catalogue */
    bool of_dir;               /* found in the directory */
    const char *chat_template; /* as the options say, or NULL */
    struct kl_model_location location;
    struct kl_model_facts facts;          /* as clients know it from the start on */
    const struct kl_chat_template *known; /* as well */
    struct kl_names names;                /* aliases */
    struct kl_loaded loaded;
    struct kl_page_store *page_store;
    struct kl_engine *engine;

    /* the set's: the last loading that failed, and its file then */
    uint64_t failed_ns; /* 0: none */
    struct stat failed_file;
    struct kl_error failed;
};

struct kl_model_set {
    struct kl_model_set_options options;
    struct kl_set_model *models; /* [n] */
    size_t n;
    struct kl_engine_thread *thread;
    struct kl_threads threads;      /* as chosen for the first */
    uint64_t program_bytes;         /* planned for what is no model's; set by the caller */
    _Atomic(uint64_t) disk_written; /* by the page stores of all models */
};

/* Finds models without reading them: those named by words, then the GGUF files of dir (NULL: none),
 * sorted by name; without either the default. KL_ERR_INVALID: two have the same name, or a chat
 * template is not known, or not said for which of several models it is; KL_ERR_LIMIT: they are too
 * many; KL_ERR_NOT_FOUND: one is not on this computer (the first may be downloaded later). To be
 * released in any case. */
enum kl_status kl_model_set_find(struct kl_model_set *set,
                                 const struct kl_model_set_options *options,
                                 const struct kl_string_list *words, const char *dir,
                                 struct kl_error *err);
void kl_model_set_release(struct kl_model_set *set);

/* Loads a model. The first one, at the start, as one that is alone: it may be downloaded, and the
 * threads are measured. Any other, or the first one again: next to others, which have planned that
 * number of bytes in addition to the program; *cancelled ends it early. A file that could not be
 * loaded is not read again for KL_MODEL_SET_RETRY_SECONDS, unless it has changed: the error is the
 * same. KL_ERR_UNSUPPORTED: it was replaced by a file of another model since the start. */
#define KL_MODEL_SET_RETRY_SECONDS 10
enum kl_status kl_model_set_load_first(struct kl_model_set *set, struct kl_error *err);
enum kl_status kl_model_set_load(struct kl_model_set *set, size_t i, uint64_t others,
                                 const _Atomic(bool) *cancelled, struct kl_error *err);
/* Opens the engine of a model that is loaded, with what its plan leaves. */
enum kl_status kl_model_set_open_engine(struct kl_model_set *set, size_t i, struct kl_error *err);
/* Closes the engine and the model, as far as they are open. */
void kl_model_set_close(struct kl_model_set *set, size_t i);

/* Called for each model after the first, once its facts are read; it cannot compute. */
typedef void kl_model_set_fn(void *context, size_t i, const struct kl_set_model *model);

/* Reads the facts of all models after the first, and the aliases of all. Files of the directory
 * that are no models are left out, with a warning. */
enum kl_status kl_model_set_look(struct kl_model_set *set, const struct kl_aliases *aliases,
                                 kl_model_set_fn *see, void *context, struct kl_error *err);

/* Computes the digests of all files that are not known yet; see kl_file_facts_digest. */
void kl_model_set_digests(struct kl_model_set *set, const _Atomic(bool) *stop);

#endif
