/*
 * The hyper-parameters of a GGUF file, each checked against a closed range before use.
 */
#ifndef KL_MODEL_CONFIG_H
#define KL_MODEL_CONFIG_H

#include "model/model.h"

/* `architecture` is general.architecture of the file and the prefix of its keys. */
enum kl_status kl_config_read(const struct kl_gguf *gguf, const char *architecture,
                              struct kl_config *config, struct kl_error *err);

#endif
