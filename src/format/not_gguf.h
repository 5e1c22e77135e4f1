/*
 * The refusal of a file that is not GGUF: names what the file is instead (a web page, a Git LFS
 * pointer, safetensors, an archive, ...) and what to do about it. Keeps no state; any thread.
 */
#ifndef KL_FORMAT_NOT_GGUF_H
#define KL_FORMAT_NOT_GGUF_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Fills err for a file that does not begin as GGUF does. data: the whole file, `size` bytes.
 * Returns KL_ERR_FORMAT. */
enum kl_status kl_fail_not_gguf(const uint8_t *data, size_t size, struct kl_error *err);

#endif
