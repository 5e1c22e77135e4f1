/*
 * Opens a model by name, for every command that needs one: finds or downloads the file, opens
 * tokenizer and weights, chooses kernels and threads, and logs each stage with its time.
 *
 * Blocks; any one thread. Does not create an engine.
 */
#ifndef KL_LOAD_LOAD_H
#define KL_LOAD_LOAD_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "engine/engine.h"
#include "engine/pass_costs.h"
#include "fetch/catalogue.h"
#include "format/gguf.h"
#include "kernels/kernels.h"
#include "load/load_options.h"
#include "load/threads.h"
#include "model/model.h"
#include "model/plan.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

enum kl_load_depth {
    KL_LOAD_TOKENIZER, /* the file and the tokenizer only */
    KL_LOAD_SHAPE,     /* the file, its template and a model that cannot compute: for its facts */
    KL_LOAD_AHEAD,     /* everything but the weights, which are neither packed nor read; keeps
                          nothing on the disk. For what is known before the first use */
    KL_LOAD_MODEL      /* everything */
};

/* Wall time of each stage, seconds. */
struct kl_load_times {
    double file, tokenizer, weights;
};

/* Fields marked (model) are not set by KL_LOAD_TOKENIZER; of them only the template, model and
 * ctx_size by KL_LOAD_SHAPE. */
struct kl_loaded {
    struct kl_model_location location;
    struct kl_gguf *gguf;
    uint64_t file_bytes; /* size of the model file, or of all its parts */
    struct kl_tokenizer *tokenizer;
    const struct kl_chat_template *chat_template; /* (model) */
    enum kl_chat_by chat_template_by;             /* (model) */
    struct kl_model *model;                       /* (model), otherwise NULL */
    struct kl_threads threads;                    /* (model) */
    size_t n_threads;                             /* (model) the larger number of threads */
    struct kl_pass_costs pass_costs;              /* (model) */
    size_t ctx_size;           /* as in the options, but at most what the model was made for */
    char packed_dir[PATH_MAX]; /* directory of packed weights and tables; empty: none */
    bool prepared;             /* this start packed the weights */
    struct kl_load_times times;
    struct kl_plan plan; /* (model) the memory that is held now, and the budget */
    uint64_t own_bytes;  /* (model) of this: for the model, and not for the program and others */
};

/* Loads a model. KL_ERR_NOT_FOUND: it is not on this computer and cannot be downloaded. After any
 * error there is nothing to unload. */
enum kl_status kl_load(struct kl_loaded *loaded, const struct kl_load_options *options,
                       enum kl_load_depth depth, struct kl_error *err);

/* Whether the file was made for embeddings, and has no chat template (nor did the options give
 * one): such a model is asked for no answers. (model) */
bool kl_load_only_embeds(const struct kl_loaded *loaded);

/* Closes everything. An engine on this model must be closed before. */
void kl_unload(struct kl_loaded *loaded);

/* As kl_report, for an error of kl_load: KL_ERR_NOT_FOUND becomes KL_EXIT_NO_MODEL. */
int kl_load_report(const char *command, const struct kl_error *err);

/* The memory that a model opened with these options may take, bytes; 0: not limited. */
uint64_t kl_load_budget(const struct kl_load_options *options);

/* Logs a plan line by line: as warnings if it was refused (failed), or if less memory is free than
 * it needs; otherwise as info. */
void kl_load_log_plan(const struct kl_plan *plan, bool failed);

/* The most prompt rows of one step. During the prefill of a long prompt each token of the other
 * answers waits one step: 128 rows take about a third of a second on the slowest supported machines
 * and are enough to spread the cost of unpacking the weights. */
#define KL_PREFILL_CHUNK 128

/* An engine as an operator chooses it, whatever its model. */
struct kl_engine_choice {
    size_t parallel, queue, draft_max;
    size_t rule_bytes;  /* 0: the engine's default */
    uint64_t cache_ram; /* 0: no prefix cache */
};

/* Returns the options of the engine of a loaded model, without a page store. plan: the model's, or
 * a copy of it; kl_engine_open adds its lines. */
struct kl_engine_options kl_load_engine_options(const struct kl_loaded *loaded,
                                                const struct kl_engine_choice *choice,
                                                struct kl_plan *plan);

#endif
