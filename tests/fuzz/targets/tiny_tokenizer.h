/*
 * The tokenizer of the tiny test model (KINGLET_TEST_TINY_MODEL), opened once and kept.
 */
#ifndef KL_TESTS_FUZZ_TINY_TOKENIZER_H
#define KL_TESTS_FUZZ_TINY_TOKENIZER_H

#include "text/tokenizer.h"

const struct kl_gguf *tiny_gguf(void);
const struct kl_tokenizer *tiny_tokenizer(void);

#endif
