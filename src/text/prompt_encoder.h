/*
 * Prompts that have most of their text in common to tokens: each part of it is encoded once.
 *
 * What a segment (encoder.h) is encoded to depends on nothing around it, so the segments of one
 * prompt serve the next. A prompt is examined with a limit: the segments that are not known
 * yet are encoded, the last one first, until all are or there are more tokens than that. Work is
 * done in steps. It ignores the meaning of a prompt. The struct is the caller's, for one thread
 * at a time.
 */
#ifndef KL_TEXT_PROMPT_ENCODER_H
#define KL_TEXT_PROMPT_ENCODER_H

#include "text/chat_template.h"
#include "text/encoder.h"

/* Initialise with {.encoder.tokenizer}; release it. */
struct kl_prompt_encoder {
    struct kl_encoder encoder;
    size_t n_begun_bytes; /* of text, of all segments that were begun: what was not known */

    /* of this prompt */
    size_t n_tokens; /* all of them when the prompt is complete; else a lower bound */
    size_t limit;
    struct kl_prompt_part *parts; /* [n_parts] in the order of the text */
    size_t n_parts, parts_allocated;
    size_t n_left; /* of the parts, from the first on: not examined yet */
    bool in_part;  /* the encoder has the last of these */

    /* of all */
    struct kl_known_segment *known; /* [n_known] */
    size_t n_known, known_allocated;
    uint32_t *slots; /* [n_slots]: open addressing; an index of known plus 1; 0: empty */
    size_t n_slots;
    struct kl_buffer text;   /* of the known segments */
    struct kl_tokens tokens; /* of the known segments */
};

/* Begins with a prompt, of which up to limit (SIZE_MAX / 2 at most) tokens are wanted; its text
 * must stay until it is complete or another one is begun. KL_ERR_MEMORY, or KL_ERR_LIMIT: it is
 * longer than any text may be. */
enum kl_status kl_prompt_encoder_begin(struct kl_prompt_encoder *encoder,
                                       const struct kl_prompt *prompt, size_t limit);

/* Continues until *effort, about one for each byte, is used up or it is *done: the prompt is
 * complete (n_tokens <= limit), or has more than that. */
enum kl_status kl_prompt_encoder_step(struct kl_prompt_encoder *encoder, size_t *effort,
                                      bool *done);

/* Appends the tokens of a prompt that is complete. */
enum kl_status kl_prompt_encoder_copy(const struct kl_prompt_encoder *encoder,
                                      struct kl_tokens *out);

void kl_prompt_encoder_release(struct kl_prompt_encoder *encoder);

#endif
