/*
 * What every command that needs a model begins with: finding it, opening it stage by stage, and
 * logging each stage with its time.
 */
#ifndef KL_LOAD_LOAD_H
#define KL_LOAD_LOAD_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "fetch/catalogue.h"
#include "format/gguf.h"
#include "kernels/kernels.h"
#include "load/load_options.h"
#include "load/threads.h"
#include "model/model.h"
#include "model/plan.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

enum kl_load_depth { KL_LOAD_TOKENIZER, KL_LOAD_MODEL };

/* Wall time of each stage, seconds. */
struct kl_load_times {
    double file, tokenizer, weights;
};

struct kl_loaded {
    struct kl_model_location location;
    struct kl_gguf *gguf;
    struct kl_tokenizer *tokenizer;
    const struct kl_chat_template *chat_template; /* not with KL_LOAD_TOKENIZER */
    enum kl_chat_by chat_template_by;
    struct kl_model *model;    /* NULL with KL_LOAD_TOKENIZER */
    size_t n_threads;          /* the larger one of the next two */
    struct kl_threads threads; /* not with KL_LOAD_TOKENIZER */
    size_t ctx_size;           /* as asked for, but not more than the model was made for */
    char packed_dir[PATH_MAX]; /* where what is made of models is kept; empty: nowhere */
    bool prepared;             /* the weights were packed by this start, and not there already */
    struct kl_load_times times;
    struct kl_plan plan; /* what is held now, and the budget; not with KL_LOAD_TOKENIZER */
};

/* KL_ERR_NOT_FOUND means the model: it is not here and could not be had. */
enum kl_status kl_load(struct kl_loaded *loaded, const struct kl_load_options *options,
                       enum kl_load_depth depth, struct kl_error *err);
void kl_unload(struct kl_loaded *loaded);

/* As kl_report, for an error of kl_load: KL_ERR_NOT_FOUND becomes KL_EXIT_NO_MODEL. */
int kl_load_report(const char *command, const struct kl_error *err);

/* The memory that a model opened with these options may take, bytes; 0: not limited. */
uint64_t kl_load_budget(const struct kl_load_options *options);

/* Logs a plan line by line, as info, or as a warning where it does not fit: into its budget or,
 * without one, into the memory that is free. failed: the plan was refused. */
void kl_load_log_plan(const struct kl_plan *plan, bool failed);

/* Most prompt tokens of one step. While a long prompt is read, the answers of others wait one step
 * for each token: 128 are about a third of a second on the slowest machines we care for, and enough
 * to spread the unpacking of the weights. */
#define KL_PREFILL_CHUNK 128

#endif
