/*
 * The catalogue as a source of models (base/model_source.h).
 */
#ifndef KL_FETCH_CATALOGUE_SOURCE_H
#define KL_FETCH_CATALOGUE_SOURCE_H

#include "base/model_source.h"

extern const struct kl_model_source kl_catalogue_source;

#endif
