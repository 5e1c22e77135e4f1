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
#include "console/options.h"
#include "fetch/catalogue.h"
#include "format/gguf.h"
#include "kernels/kernels.h"
#include "load/loading_stage.h"
#include "load/threads.h"
#include "model/model.h"
#include "model/plan.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

/* Is called with the progress of a stage; total 0: not known. */
struct kl_load_observer {
    void (*see)(void *context, enum kl_loading_stage stage, uint64_t done, uint64_t total);
    void *context;
};

struct kl_load_options {
    const struct kl_load_observer *observer; /* or NULL */
    const char *model;                       /* NULL: $KINGLET_MODEL, else the default */
    const char *cpu;                         /* a tier; NULL: $KINGLET_CPU, else the best */
    bool no_avx512;                          /* which then is none with 512-bit registers */
    const char *kv_type, *flash_attn;        /* NULL: the default */
    size_t threads, threads_prefill;         /* 0: as remembered, or all that may be used */
    bool measure_threads;                    /* where nothing is remembered */
    const char *chat_template;               /* a name; NULL: as the file says */
    size_t ctx_size;
    uint64_t memory; /* a hard budget in bytes; 0: the control group's limit, if it has one */
    bool pull;       /* get the model if it is not here */
};

#define KL_MAX_CTX_SIZE 131072

/* The rows of these options for a command's table; o: a struct kl_load_options. */
#define KL_MODEL_ROW(o)                                                                            \
    {                                                                                              \
        "model", 'm', KL_OPTION_STRING, "NAME|FILE",                                               \
            "a name from 'kinglet pull --list' or a GGUF file; if not given, $KINGLET_MODEL or "   \
            "qwen2.5-0.5b-instruct",                                                               \
            &(o).model, 0, 0                                                                       \
    }
#define KL_TEMPLATE_ROW(o)                                                                         \
    {                                                                                              \
        "chat-template", 0, KL_OPTION_STRING, "NAME",                                              \
            "how a conversation is written for the model: qwen2, qwen2.5, qwen2.5-gguf, qwen3, "   \
            "qwen3-gguf, qwen3-instruct-2507, qwen3-instruct-unsloth, qwen3-thinking-2507, "       \
            "smollm2 or chatml; if not given, what the model file's own template is known to be, " \
            "or chatml",                                                                           \
            &(o).chat_template, 0, 0                                                               \
    }
/* For the commands that keep to it: serve, chat and bench. */
#define KL_MEMORY_ROW(o)                                                                           \
    {                                                                                              \
        "memory", 0, KL_OPTION_BYTES, "SIZE",                                                      \
            "never hold more memory than this (512M, 2G: MiB and GiB), mapped weights included; "  \
            "what does not fit is refused at the start; if not given, the limit of the control "   \
            "group (memory.max), where there is one",                                              \
            &(o).memory, 1, (double)((uint64_t)1 << 50)                                            \
    }
#define KL_LOAD_ROWS(o)                                                                            \
    KL_MODEL_ROW(o), KL_TEMPLATE_ROW(o),                                                           \
        {"threads",                                                                                \
         't',                                                                                      \
         KL_OPTION_SIZE,                                                                           \
         "N",                                                                                      \
         "how many threads compute; if not given, what serve and chat measure at their first "     \
         "start, or one for every fast CPU that may be used",                                      \
         &(o).threads,                                                                             \
         1,                                                                                        \
         KL_POOL_MAX_THREADS},                                                                     \
        {"threads-prefill",                                                                        \
         0,                                                                                        \
         KL_OPTION_SIZE,                                                                           \
         "N",                                                                                      \
         "the same for prompts; if not given, as many",                                            \
         &(o).threads_prefill,                                                                     \
         1,                                                                                        \
         KL_POOL_MAX_THREADS},                                                                     \
        {"ctx-size",    'c', KL_OPTION_SIZE, "N", "longest conversation, in tokens",               \
         &(o).ctx_size, 16,  KL_MAX_CTX_SIZE},                                                     \
        {"kv-type",                                                                                \
         0,                                                                                        \
         KL_OPTION_STRING,                                                                         \
         "TYPE",                                                                                   \
         "how the context is kept: f16 (default), or int8, which takes half the memory (6.4 KB a " \
         "token and not 12 KB with the 0.5B models)",                                              \
         &(o).kv_type,                                                                             \
         0,                                                                                        \
         0},                                                                                       \
        {"flash-attn",                                                                             \
         0,                                                                                        \
         KL_OPTION_STRING,                                                                         \
         "on|off",                                                                                 \
         "off: attention computes all scores before the softmax, for comparisons",                 \
         &(o).flash_attn,                                                                          \
         0,                                                                                        \
         0},                                                                                       \
        {"no-avx512",                                                                              \
         0,                                                                                        \
         KL_OPTION_FLAG,                                                                           \
         NULL,                                                                                     \
         "choose kernels without 512-bit registers",                                               \
         &(o).no_avx512,                                                                           \
         0,                                                                                        \
         0},                                                                                       \
    {                                                                                              \
        "cpu", 0, KL_OPTION_STRING, "TIER",                                                        \
            "kernels to use: " KL_TIER_NAMES ", or auto for the best that this CPU has; if not "   \
            "given, $KINGLET_CPU or auto",                                                         \
            &(o).cpu, 0, 0                                                                         \
    }

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

/* Logs a plan line by line, as info, or as a warning where it does not fit: into its budget or,
 * without one, into the memory that there is. failed: it was refused. */
/* The memory that a model opened with these options may take, bytes; 0: not limited. */
uint64_t kl_load_budget(const struct kl_load_options *options);

void kl_load_log_plan(const struct kl_plan *plan, bool failed);

/* Most prompt tokens of one step. While a long prompt is read, the answers of others wait one step
 * for each token: 128 are about a third of a second on the slowest machines we care for, and enough
 * to spread the unpacking of the weights. */
#define KL_PREFILL_CHUNK 128

#endif
