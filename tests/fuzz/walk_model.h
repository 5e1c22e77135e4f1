/*
 * Opens a model file like the program, and reads everything in it.
 */
#ifndef KL_TESTS_WALK_MODEL_H
#define KL_TESTS_WALK_MODEL_H

#include "base/error.h"

enum walk_depth { WALK_GGUF, WALK_TOKENIZER, WALK_MODEL /* with a forward pass */ };

extern unsigned walk_checksum; /* of all bytes read, so that no read is optimised away */

enum kl_status walk_file(const char *path, enum walk_depth depth, struct kl_error *err);

#endif
