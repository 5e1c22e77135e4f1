/*
 * Model files that lie on this computer already: those of `kinglet pull OWNER/REPO`, and those that
 * Hugging Face's programs and Ollama keep. They are used where they are; nothing is copied or
 * written.
 *
 *   models/OWNER/REPO/FILE                             in kinglet's cache directory
 *   $HF_HUB_CACHE, $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub or ~/.cache/huggingface/hub:
 *     models--OWNER--REPO/snapshots/COMMIT/FILE
 *   $OLLAMA_MODELS, ~/.ollama/models or /usr/share/ollama/.ollama/models:
 *     manifests/HOST/OWNER/MODEL/TAG, blobs/sha256-HEX
 *
 * A name from outside never leaves these directories. How many files are looked at is bounded. Any
 * thread; uses the file system only.
 */
#ifndef KL_FETCH_OTHER_CACHES_H
#define KL_FETCH_OTHER_CACHES_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "fetch/repository.h"

/* The directory of kinglet's files of a repository, whether it exists or not. */
bool kl_repository_directory(const struct kl_repository *repository, char out[PATH_MAX]);

/* Finds NAME.gguf, or the first part of NAME, in kinglet's directory or in that of a repository
 * there; upper and lower case letters are equal. */
bool kl_find_own(const char *name, char out[PATH_MAX]);

/* Finds the file that a name means, with all parts if it is the first of several: in kinglet's
 * directory, in Hugging Face's, in Ollama's. */
bool kl_find_repository(const struct kl_repository *repository, char out[PATH_MAX]);

/* A file of a repository of which all is known. */
struct kl_known_file {
    const char *repository, *name, *sha256;
    uint64_t bytes;
};

/* Finds a known file in Hugging Face's directory, where a link names the SHA-256 of its content. */
bool kl_find_hugging_face_file(const struct kl_known_file *file, char out[PATH_MAX]);

/* Finds a model of Ollama's by its name there: MODEL, MODEL:TAG or OWNER/MODEL:TAG. */
bool kl_find_ollama(const char *name, char out[PATH_MAX]);

#endif
