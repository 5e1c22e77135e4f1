/*
 * Embeddings: the texts of a request, given to the engine a few at a time, and the document of
 * their vectors.
 *
 * A request may have thousands of texts. All requests together have as many of them in the engine
 * as it has slots, and take turns, so they neither fill its queue nor wait for each other's end.
 * Vectors are written into the document in order, as they come. A document that grows beyond
 * KL_EMBEDDING_WHOLE bytes is sent in pieces, and the work pauses while the client does not read
 * them, so no request holds more than that; a failure then cuts the connection. The tokens of texts
 * that wait count as held by the connection, as its body did before.
 *
 * A dialect sets `embedding` of its request (generation_request.h), adds the texts to `raw`, and
 * has kl_embedding_document as its document. The rest is that of any generation: preparation,
 * admission, deadline, the client that leaves.
 *
 * Thread rule: the loop's thread, except kl_embedding_work_fit.
 */
#ifndef KL_SERVICE_EMBEDDING_WORK_H
#define KL_SERVICE_EMBEDDING_WORK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "http/api_error.h"
#include "service/dialect.h"
#include "service/generation_request.h"

/* Texts of one request, as OpenAI limits them. */
#define KL_MAX_EMBEDDINGS 2048
/* A document up to this size is sent as a whole, with its length and, until then, with an error of
 * its own if something fails. */
#define KL_EMBEDDING_WHOLE ((size_t)256 << 10)

struct kl_embedding_work;
struct kl_service;

/* Writes the document of a dialect. Each appends to *out, and returns its status. */
struct kl_embedding_format {
    enum kl_status (*begin)(const struct kl_generation *g, struct kl_buffer *out);
    /* vector: [n] f32, finite; of text `index`, in order */
    enum kl_status (*vector)(const struct kl_generation *g, size_t index, const float *vector,
                             size_t n, struct kl_buffer *out);
    /* kl_generation_prompt_tokens(g) is the number of all tokens. */
    enum kl_status (*end)(const struct kl_generation *g, struct kl_buffer *out);
};

/* The answer format of dialects for embeddings. */
extern const struct kl_answer_format kl_embedding_document;

/* The fields of its request. */
const struct kl_embedding_fields *kl_embedding_work_fields(const struct kl_embedding_work *work);

/* Makes the encoded texts [n] ready for the engine: adds the tokens that the model wants around a
 * text, and cuts or refuses those that do not fit into ctx_size. raw: the request's. On the
 * worker's thread. */
enum kl_status kl_embedding_work_fit(const struct kl_generation_request *request,
                                     const struct kl_tokenizer *tokenizer, size_t ctx_size,
                                     struct kl_tokens *texts, size_t n, struct kl_api_error *error);

/* Begins the work of a generation whose request was admitted; takes the texts of its preparation.
 */
enum kl_status kl_embedding_work_begin(struct kl_generation *g, struct kl_api_error *error);
/* Continues with what the engine has done. KL_OK: all is well, and g->n_open is 0 when all vectors
 * are written or its deadline has passed. */
enum kl_status kl_embedding_work_poll(struct kl_generation *g, struct kl_api_error *error);
void kl_embedding_work_free(struct kl_generation *g); /* cancels what the engine has of it */

/* Gives further texts of all generations to the engine, in turns, as long as there is room. Returns
 * a generation that failed, with *error, which the caller ends before it calls this again; NULL:
 * none. */
struct kl_generation *kl_embeddings_submit(struct kl_service *service, struct kl_api_error *error);

#endif
