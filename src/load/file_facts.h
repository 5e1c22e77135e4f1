/*
 * The facts of a model file that its server reports to clients (base/model_facts.h).
 */
#ifndef KL_LOAD_FILE_FACTS_H
#define KL_LOAD_FILE_FACTS_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/model_facts.h"
#include "load/load.h"

/* Fills *facts of a loaded model. Its digest is final if the catalogue or an earlier start knows
 * it. */
void kl_file_facts_read(const struct kl_loaded *loaded, struct kl_model_facts *facts);

/* Computes the SHA-256 of the file, unless it is known, makes it facts->digest, and remembers it
 * for later starts. Reads the whole file, at a low priority that the calling thread keeps, without
 * leaving it in the page cache. Ends early, without a result, when *stop becomes true. */
void kl_file_facts_digest(const struct kl_model_location *model, struct kl_model_facts *facts,
                          const _Atomic(bool) *stop);

#endif
