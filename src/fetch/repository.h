/*
 * Names of repositories on model hubs, OWNER/REPO or OWNER/REPO:QUANT, and which of the files of
 * one such a name means. Pure functions; any thread.
 */
#ifndef KL_FETCH_REPOSITORY_H
#define KL_FETCH_REPOSITORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KL_REPOSITORY_SIZE 200 /* OWNER/REPO, of which each has at most 96 bytes */
#define KL_QUANT_SIZE      32

struct kl_repository {
    char name[KL_REPOSITORY_SIZE]; /* "OWNER/REPO"; empty: none */
    char quant[KL_QUANT_SIZE];     /* "Q4_K_M", as it was written; empty: none given */
};

/* Reads a name. Takes "hf.co/" and "huggingface.co/" before it, as Ollama does, and ignores a quant
 * "latest". false: it is no such name. */
bool kl_repository_read(const char *text, struct kl_repository *out);

/* Which of n files a name means: the first whose name has the quant between '-', '.' or '_' and
 * '-' or '.'; without a quant, Q4_K_M, or else Q8_0, or else the first. Of a model in several files
 * it is the first part; files that are no model of their own (mmproj, imatrix) are passed over.
 * Upper and lower case letters are equal. name_of: the path of the i-th. Returns n if there is
 * none. */
size_t kl_repository_choose(const char *quant, size_t n,
                            const char *(*name_of)(const void *context, size_t i),
                            const void *context);

/* Whether a file may be chosen at all: it is a model or the first part of one. */
bool kl_repository_is_model(const char *path);

/* Why a file with this name does not run, in a few words; NULL: nothing speaks against it. */
const char *kl_repository_unsupported(const char *path);

#endif
