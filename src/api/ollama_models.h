/*
 * A model as Ollama's API describes it.
 *
 * Pure functions on any thread; the caller owns what they return, NULL: no memory.
 */
#ifndef KL_API_OLLAMA_MODELS_H
#define KL_API_OLLAMA_MODELS_H

#include <jansson.h>

#include "service/served.h"

/* Returns {"parent_model","format","family","families","parameter_size","quantization_level"}. */
json_t *kl_ollama_details_json(const struct kl_served *served);

/* Returns the list of what a model can do, in Ollama's words: "completion", "tools", "insert",
 * "thinking", "embedding"; the last one for those that were made for it, though each can embed. */
json_t *kl_ollama_capabilities_json(const struct kl_served *served);

/* Returns a time of the file as a string (RFC 3339). seconds: since 1970. */
json_t *kl_ollama_time_json(int64_t seconds);

#endif
