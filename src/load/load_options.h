/*
 * How a command wants its model opened, and the rows of these options for its command line.
 *
 * Plain values; the strings belong to the caller (argv, literals) and outlive the model.
 */
#ifndef KL_LOAD_LOAD_OPTIONS_H
#define KL_LOAD_LOAD_OPTIONS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "console/options.h"

#define KL_MAX_CTX_SIZE 131072
/* With the token before them, the two tiles of 4 rows of a product. bench/drafts reads it here. */
#define KL_DEFAULT_DRAFT_MAX 7

enum kl_load_stage {
    KL_LOAD_DOWNLOADING, /* done and total in bytes */
    KL_LOAD_OPENING,     /* the file, the tokenizer */
    KL_LOAD_PACKING,     /* the weights, at the first start; bytes */
    KL_LOAD_READING,     /* the weights; bytes */
    KL_LOAD_MEASURING    /* which number of threads is fastest, at the first start; turns */
};

/* "downloading", "opening", ...; static. */
const char *kl_load_stage_name(enum kl_load_stage stage);

/* Receives the progress of kl_load, in the thread that loads; total 0: not known. */
struct kl_load_observer {
    void (*notify)(void *context, enum kl_load_stage stage, uint64_t done, uint64_t total);
    void *context;
};

struct kl_load_options {
    const struct kl_load_observer *observer; /* or NULL */
    const char *model;                       /* NULL: $KINGLET_MODEL, else the default */
    const char *cpu;                         /* a tier; NULL: $KINGLET_CPU, else the best */
    bool no_avx512;                          /* the best, but without 512-bit registers */
    const char *kv_type, *flash_attn;        /* NULL: the default */
    size_t threads, threads_prefill;         /* 0: as measured before, or one for each CPU */
    bool measure_threads;                    /* if no earlier result is kept */
    const char *chat_template;               /* a name; NULL: as the file says */
    size_t ctx_size;                         /* tokens */
    size_t draft_max;                        /* guessed tokens of a pass; 0: no drafts */
    uint64_t memory; /* a hard budget in bytes; 0: the control group's limit, if it has one */
    /* Of a model that is opened next to others: what these and the program have planned, bytes; 0:
     * it is the first. Without a budget the memory that is free is one. */
    uint64_t others;
    const _Atomic(bool) *cancelled; /* ends packing early; NULL: nothing does */
    bool pull;                      /* download the model if it is not on this computer */
};

/* The values of --chat-template. */
#define KL_CHAT_TEMPLATE_NAMES                                                                     \
    "qwen2, qwen2.5, qwen2.5-gguf, qwen3, qwen3-gguf, qwen3-instruct-2507, "                       \
    "qwen3-instruct-unsloth, qwen3-thinking-2507, smollm2, llama3.2, deepseek-r1-distill, "        \
    "deepseek-r1-distill-first or chatml"

/* Append option rows that fill *options. The first: --model alone; the second: all options of a
 * command that opens a model, --model first; the third: these without --model and
 * --chat-template; the fourth: --chat-template; the fifth: --memory, for commands that keep to it;
 * the sixth: --draft-max, for those that answer. */
void kl_load_add_model_option(struct kl_option_table *table, struct kl_load_options *options);
void kl_load_add_options(struct kl_option_table *table, struct kl_load_options *options);
void kl_load_add_opening_options(struct kl_option_table *table, struct kl_load_options *options);
void kl_load_add_template_option(struct kl_option_table *table, struct kl_load_options *options);
void kl_load_add_memory_option(struct kl_option_table *table, struct kl_load_options *options);
void kl_load_add_draft_option(struct kl_option_table *table, struct kl_load_options *options);

#endif
