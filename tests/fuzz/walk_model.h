/*
 * Opens a model file as the program would, and walks over all it got.
 */
#ifndef KL_TESTS_WALK_MODEL_H
#define KL_TESTS_WALK_MODEL_H

#include "base/error.h"

enum walk_depth { WALK_GGUF, WALK_TOKENIZER, WALK_MODEL /* with a forward pass */ };

extern unsigned walk_checksum; /* of all that was read, so that no read is optimised away */

enum kl_status walk_file(const char *path, enum walk_depth depth, struct kl_error *err);

#endif
