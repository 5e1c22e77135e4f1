/*
 * Judges texts by a schema, token by token, as an answer would be: the work of `kinglet schema`.
 *
 * Before each token the mask is computed and then the token accepted; both must agree. Everything
 * but the tables of the tokenizer is made for each trial, so times are those of a first request.
 *
 * Blocks; one thread. It does not read files (trial_set.h) and prints nothing (trial_report.h).
 */
#ifndef KL_SCHEMA_TRIAL_H
#define KL_SCHEMA_TRIAL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "grammar/token_trie.h"
#include "schema/python_json.h"
#include "schema/schema.h"

/* Shared by all trials. */
struct kl_trial_tools {
    const struct kl_tokenizer *tokenizer;
    const struct kl_token_trie *trie;
    enum kl_schema_reading reading;
};

struct kl_trial_instance {
    bool accepted;
    size_t tokens;     /* of the whole text, without the end token */
    size_t stopped_at; /* not accepted: the byte of the text that the rule refuses; its length,
                          where only the end is refused */
};

/* The most masks of one trial: 80 MB of times. */
#define KL_TRIAL_MAX_MASKS 10000000

struct kl_trial {
    struct kl_error error;            /* KL_OK, or the schema was refused, or a limit was reached */
    struct kl_schema_refusal refusal; /* with an error: what was refused */
    double compile_us;                /* from the tree of the schema to a matcher that is ready */
    size_t states;
    struct kl_trial_instance *instances; /* [n_instances]; none with an error */
    size_t n_instances;
    double *mask_us; /* [n_masks], unordered: the time of each mask and of accepting its token */
    size_t n_masks, masks_room;
};

/* texts: written by kl_python_json. KL_OK also where *trial has an error. KL_ERR_MEMORY;
 * KL_ERR_LIMIT: too many tokens; KL_ERR_FORMAT: mask and accept disagree, which is a bug of this
 * program. Release *trial in any case. */
enum kl_status kl_trial_run(const struct kl_trial_tools *tools, const json_t *schema,
                            const struct kl_json_span *texts, size_t n_texts,
                            struct kl_trial *trial, struct kl_error *err);
void kl_trial_release(struct kl_trial *trial);

#endif
