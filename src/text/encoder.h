/*
 * Encoding in steps: spans to segments, and the text of one segment to tokens a piece at a time.
 *
 * The added tokens of special spans cut a text into segments. What a segment is encoded to depends
 * on nothing around it; within one, text is normalised, cut into pieces and merged as a whole. So
 * the steps only say where work may pause, and the tokens are the same. kl_tokenizer_encode does
 * all of it at once. The structs are the caller's, each for one thread at a time.
 */
#ifndef KL_TEXT_ENCODER_H
#define KL_TEXT_ENCODER_H

#include "base/buffer.h"
#include "text/bpe.h"
#include "text/tokenizer.h"

/* Many times the longest context. Positions in a piece have 32 bits and a piece takes up to 20
 * bytes of memory for each byte. */
#define KL_ENCODER_MAX_TEXT ((size_t)64 << 20)

/* ---- segments -------------------------------------------------------------------------------- */

struct kl_segment {
    int32_t id;       /* an added token; -1: a text, which is not empty */
    const char *text; /* of either; points into the spans */
    size_t len;
};

/* Reads spans that are adjacent in memory. Initialise with the first three. */
struct kl_segment_reader {
    const struct kl_tokenizer *tokenizer;
    const struct kl_span *spans;
    size_t n_spans;
    size_t span, at; /* the position */
};

/* The next segment; false: there are no more. */
bool kl_segment_next(struct kl_segment_reader *reader, struct kl_segment *segment);

/* ---- one text -------------------------------------------------------------------------------- */

/* Initialise with {.tokenizer}; release it. */
struct kl_encoder {
    const struct kl_tokenizer *tokenizer;
    const char *text; /* the caller's, until it is encoded */
    size_t len;
    size_t n_normal;      /* bytes of text that are normalised */
    struct kl_buffer nfc; /* or only repaired, where the model wants text as it is */
    size_t at;            /* bytes of nfc that are encoded */
    size_t piece;         /* length of the long piece that is being merged there; 0: none */
    struct kl_bpe_scratch scratch;
};

/* Starts a text; one that was not complete is abandoned. KL_ERR_LIMIT: more than
 * KL_ENCODER_MAX_TEXT. */
enum kl_status kl_encoder_begin(struct kl_encoder *encoder, const char *text, size_t len);

/* Continues until *effort, about one for each byte, is used up, or *out has more than max_tokens,
 * or all is encoded: *done. New ids are appended to *out. Every call makes progress when *effort is
 * not 0, and pieces that belong together may take some hundred bytes more. KL_ERR_MEMORY; or
 * KL_ERR_FORMAT: the tables are mapped, and were changed meanwhile. */
enum kl_status kl_encoder_step(struct kl_encoder *encoder, size_t *effort, size_t max_tokens,
                               struct kl_tokens *out, bool *done);

/* Describes in *err the status that one of the two above returned, and returns it. */
enum kl_status kl_encoder_fail(const struct kl_tokenizer *tokenizer, enum kl_status status,
                               struct kl_error *err);

void kl_encoder_release(struct kl_encoder *encoder);

#endif
