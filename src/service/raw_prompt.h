/*
 * Prompts that a request gives as they are, as texts and ids of tokens, without a chat template.
 *
 * A request has one or several prompts, each a sequence of parts. The dialect collects them while
 * it parses; once there is a model, they are encoded in steps, like conversations
 * (context_policy.h). They are never shortened: a prompt that is longer than the context is
 * refused; but for what is around a gap to fill in (kl_raw_input_gap).
 *
 * Thread rule: belongs to its request; used by the worker's thread.
 */
#ifndef KL_SERVICE_RAW_PROMPT_H
#define KL_SERVICE_RAW_PROMPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "http/api_error.h"
#include "text/fim.h"
#include "text/prompt_encoder.h"

enum kl_raw_kind { KL_RAW_TEXT, KL_RAW_IDS, KL_RAW_FIM };

/* How a part is cut in a prompt that is too long. */
enum kl_raw_cut {
    KL_RAW_KEPT,
    KL_RAW_BEFORE, /* a gap: its beginning is left out */
    KL_RAW_BEHIND, /* a gap: its end is left out */
    KL_RAW_EXTRA   /* texts of other files, left out first, from the first one on */
};

struct kl_raw_part {
    enum kl_raw_kind kind;
    enum kl_raw_cut cut;
    /* KL_RAW_TEXT: belongs to the source of the request; special: special tokens are recognised */
    const char *text;
    size_t len;
    bool special;
    size_t ids_at, n_ids;  /* KL_RAW_IDS: in `ids` */
    enum kl_fim_token fim; /* KL_RAW_FIM; text: instead of a token that the model lacks, or NULL */
};

/* A gap in a text, for the model to fill in. */
struct kl_raw_file {
    const char *name, *text;
    size_t name_len, text_len;
};
struct kl_raw_gap {
    const char *prefix, *line, *suffix; /* line: what is directly before the gap; may be NULL */
    size_t prefix_len, line_len, suffix_len;
    const struct kl_raw_file *files; /* [n_files] other files that belong to it */
    size_t n_files;
};

/* The parts of all prompts. {0}: none, the request has a conversation. */
struct kl_raw_input {
    struct kl_raw_part *parts; /* [n_parts] */
    size_t n_parts;
    size_t *begins; /* [n_prompts]: the first part of each */
    size_t n_prompts;
    int32_t *ids; /* [n_ids] */
    size_t n_ids;
    bool may_be_empty; /* without it, an empty prompt becomes the token that begins texts */
    bool adds_bos;     /* a text gets the token that the file wants before texts, if any */
    const char *field; /* for errors: the name of the request's field, static; NULL: "prompt" */
};

/* Begin a prompt, and append parts to the last one. text is not copied, ids are. KL_ERR_MEMORY. */
enum kl_status kl_raw_input_begin(struct kl_raw_input *input);
enum kl_status kl_raw_input_text(struct kl_raw_input *input, const char *text, size_t len,
                                 bool special);
enum kl_status kl_raw_input_ids(struct kl_raw_input *input, const int32_t *ids, size_t n);
enum kl_status kl_raw_input_fim(struct kl_raw_input *input, enum kl_fim_token fim);

/* Appends a prompt that asks for the text of a gap, in the order that models of code are trained
 * with: other files, prefix and line, suffix. None of these texts may contain special tokens. If
 * there is no room for all of it, then the suffix gets a quarter of the room and the prefix the
 * rest, each what the other leaves as well, and the files what both leave; line is never cut. Texts
 * are not copied. KL_ERR_MEMORY. */
enum kl_status kl_raw_input_gap(struct kl_raw_input *input, const struct kl_raw_gap *gap);

void kl_raw_input_release(struct kl_raw_input *input);

/* The tokens of the prompts as they are encoded. Release it in any case. */
struct kl_raw_encoding {
    struct kl_tokens *prompts; /* [n_prompts] of the input */
    size_t n_prompts;

    const struct kl_raw_input *input;
    struct kl_prompt_encoder encoder;
    struct kl_span span;
    struct kl_prompt prompt; /* of one span; owns nothing */
    size_t limit, room;      /* tokens of a prompt, and of one with a gap */
    size_t *lens;            /* [n_parts] their tokens */
    size_t at, part;         /* the prompt and the part that are being encoded */
    bool encoding;
};

/* input must outlive the encoding. limit: the most tokens of a prompt; SIZE_MAX / 2: any. room: of
 * one with a gap, which is cut to it. */
enum kl_status kl_raw_encoding_begin(struct kl_raw_encoding *e, const struct kl_raw_input *input,
                                     const struct kl_tokenizer *tokenizer, size_t limit,
                                     size_t room, struct kl_api_error *error);

/* Continues until *effort (about one per byte) is used up or all prompts are encoded (*done). A
 * 400: a prompt is too long, an id is not one of the vocabulary, the model cannot fill in. */
enum kl_status kl_raw_encoding_step(struct kl_raw_encoding *e, size_t *effort, bool *done,
                                    struct kl_api_error *error);

void kl_raw_encoding_release(struct kl_raw_encoding *e);

#endif
