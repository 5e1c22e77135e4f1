/*
 * Drafts: guesses of the tokens that an answer goes on with, before the model has computed them.
 *
 * A drafter belongs to a slot. It reads the tokens of its request as they become known, and follows
 * places in earlier text at which the same tokens stood: in the conversation (prompt and answer so
 * far), in answers given before in the same scope (draft_memory.h), and in a text that the request
 * brings as a prediction. The tokens there are its draft. It costs the same few lookups for each
 * token, however long the text is: the last position of each sequence of 1, 2, 4 and 8 tokens is
 * kept in a table of hashes, and a place that was right is simply followed.
 *
 * How likely a guess is right is counted for each source and length of the match, whether the guess
 * was used or not (draft_rates.h). How many guesses a pass takes is decided in draft_share.h.
 *
 * The engine thread's. Knows nothing of slots, passes and requests; reads no clock, so that the
 * same tokens give the same drafts. The text of an answer depends on no draft.
 */
#ifndef KL_ENGINE_DRAFT_H
#define KL_ENGINE_DRAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "engine/draft_memory.h"
#include "engine/draft_rates.h"
#include "engine/pass_costs.h"

/* Most tokens that a drafter reads at once: a tenth of a millisecond. */
#define KL_DRAFT_PIECE 2048

/* A place in earlier text whose tokens are guessed to come next. */
struct kl_draft_place {
    bool found;
    uint64_t at;     /* of the next token: an index of text, or a place of the memory */
    size_t length;   /* tokens before it that are equal to the latest ones, as far as known */
    size_t before;   /* the length when it was last wrong */
    size_t n_misses; /* wrong guesses since the place was found or last right */
};

struct kl_drafter {
    const struct kl_draft_memory *memory; /* shared by all drafters, as the next */
    struct kl_draft_rates *rates;         /* of all requests */
    struct kl_draft_rates own;            /* of this request */
    struct kl_draft_place places[KL_N_DRAFT_SOURCES];
    int32_t *text; /* [room] the prediction, -1, prompt and answer so far */
    size_t n_text, room;
    uint32_t *table; /* [1 << table_bits] where a hash occurred last: the index behind it in text */
    unsigned table_bits;
};

/* The texts of a request. Nothing changes while it runs, but that n_tokens grows. */
struct kl_draft_input {
    const int32_t *tokens; /* [n_tokens] prompt, and answer so far */
    size_t n_prompt, n_tokens;
    const int32_t *prediction; /* [n_prediction] a text that the answer may be like */
    size_t n_prediction;
    uint64_t scope;
};

/* A guess, and the probability that it and all before it are right. */
struct kl_draft {
    int32_t token;
    float chance;
};

/* ctx_size: most tokens of a request, and of its prediction. To be released even if it fails. */
enum kl_status kl_drafter_open(struct kl_drafter *drafter, size_t ctx_size,
                               const struct kl_draft_memory *memory, struct kl_draft_rates *rates,
                               struct kl_error *err);
void kl_drafter_release(struct kl_drafter *drafter);
size_t kl_drafter_bytes(size_t ctx_size);

/* Forgets everything: another request, which may be one that was begun before. */
void kl_drafter_begin(struct kl_drafter *drafter);

/* Reads at most KL_DRAFT_PIECE of the tokens that were not read yet. */
void kl_drafter_read(struct kl_drafter *drafter, const struct kl_draft_input *input);

/* Guesses the tokens after the last of input, at most max and at most KL_DRAFT_MAX; returns how
 * many, and where they come from. 0 as long as not all of input was read. */
size_t kl_draft(const struct kl_drafter *drafter, const struct kl_draft_input *input,
                struct kl_draft *out, size_t max, enum kl_draft_source *source);

#endif
