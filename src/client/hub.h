/*
 * The lists of files that model hubs send: which GGUF files a repository has, how long they are,
 * and the SHA-256 of each; and the manifest of a model in Ollama's directory.
 *
 *   Hugging Face  GET /api/models/OWNER/REPO/tree/main?recursive=1   lfs.oid is the SHA-256
 *   ModelScope    GET /api/v1/models/OWNER/REPO/repo/files           Sha256
 *   Ollama        manifests/HOST/OWNER/MODEL/TAG                     layers[].digest
 *
 * All that comes from outside is bounded: an answer, its JSON, the number of files and their names,
 * which are plain (base/paths.h), in at most four segments. Entries that are not so are left out.
 * Blocks the calling thread. Does not choose or download.
 */
#ifndef KL_CLIENT_HUB_H
#define KL_CLIENT_HUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum kl_hub { KL_HUB_HUGGING_FACE, KL_HUB_MODELSCOPE };

#define KL_HUB_MAX_FILES 512
#define KL_HUB_PATH_SIZE 192

struct kl_hub_file {
    char path[KL_HUB_PATH_SIZE]; /* in the repository */
    char sha256[65];             /* lower case; empty: the hub does not say */
    uint64_t bytes;
};

struct kl_hub_files {
    struct kl_hub_file *items; /* [n], owned */
    size_t n;
};

/* Gets and reads a list. KL_ERR_NOT_FOUND: the hub cannot be reached, does not have the repository
 * or sends no such list. Release *files after KL_OK. */
enum kl_status kl_hub_list(enum kl_hub hub, const char *url, size_t stall_seconds,
                           struct kl_hub_files *files, struct kl_error *err);
void kl_hub_files_release(struct kl_hub_files *files);

/* Reads a list that has arrived. */
enum kl_status kl_hub_read(enum kl_hub hub, const char *data, size_t len,
                           struct kl_hub_files *files, struct kl_error *err);

/* Reads a manifest of Ollama: the SHA-256 and the size of its layer with the model. */
enum kl_status kl_hub_read_manifest(const char *data, size_t len, struct kl_hub_file *model,
                                    struct kl_error *err);

#endif
