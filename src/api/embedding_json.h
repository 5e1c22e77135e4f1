/*
 * Vectors as text: JSON numbers that read back as the same floats, or base64 of their bytes.
 * Some 30 ns a number, so a vector can be written between two turns of the loop.
 */
#ifndef KL_API_EMBEDDING_JSON_H
#define KL_API_EMBEDDING_JSON_H

#include <stddef.h>

#include "base/buffer.h"

/* Appends "[0.1,-0.25]". vector: [n] f32, finite; 9 digits each, which tell all floats apart. */
enum kl_status kl_vector_numbers(const float *vector, size_t n, struct kl_buffer *out);

/* Appends the base64 (RFC 4648) of the little-endian f32 as a JSON string, as OpenAI's libraries
 * ask for it. */
enum kl_status kl_vector_base64(const float *vector, size_t n, struct kl_buffer *out);

#endif
