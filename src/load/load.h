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
    KL_LOAD_MODEL      /* everything */
};

/* Wall time of each stage, seconds. */
struct kl_load_times {
    double file, tokenizer, weights;
};

/* Fields marked (model) are set by KL_LOAD_MODEL only. */
struct kl_loaded {
    struct kl_model_location location;
    struct kl_gguf *gguf;
    uint64_t file_bytes; /* size of the model file */
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
};

/* Loads a model. KL_ERR_NOT_FOUND: it is not on this computer and cannot be downloaded. After any
 * error there is nothing to unload. */
enum kl_status kl_load(struct kl_loaded *loaded, const struct kl_load_options *options,
                       enum kl_load_depth depth, struct kl_error *err);

/* Closes everything. An engine on this model must be closed before. */
void kl_unload(struct kl_loaded *loaded);

/* As kl_report, for an error of kl_load: KL_ERR_NOT_FOUND becomes KL_EXIT_NO_MODEL. */
int kl_load_report(const char *command, const struct kl_error *err);

/* The memory that a model opened with these options may take, bytes; 0: not limited. */
uint64_t kl_load_budget(const struct kl_load_options *options);

/* Logs a plan line by line: as warnings if it was refused (failed), or if --memory is not given and
 * less memory is free than the plan needs; otherwise as info. */
void kl_load_log_plan(const struct kl_plan *plan, bool failed);

/* The most prompt rows of one step. During the prefill of a long prompt each token of the other
 * answers waits one step: 128 rows take about a third of a second on the slowest supported machines
 * and are enough to spread the cost of unpacking the weights. */
#define KL_PREFILL_CHUNK 128

#endif
