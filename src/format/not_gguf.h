/*
 * What a file is that was taken for a model and is none: said by name, with what to do.
 */
#ifndef KL_FORMAT_NOT_GGUF_H
#define KL_FORMAT_NOT_GGUF_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Fills err for a file that does not begin as GGUF does; data: the file. Returns KL_ERR_FORMAT. */
enum kl_status kl_fail_not_gguf(const uint8_t *data, size_t size, struct kl_error *err);

#endif
