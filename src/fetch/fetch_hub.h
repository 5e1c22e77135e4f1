/*
 * Downloads a model of a repository on Hugging Face or ModelScope, and lists what one has.
 *
 * The list of files, with the SHA-256 of each, comes from the first of the two hubs that has the
 * repository; the bytes come from either, and must have that SHA-256. Blocks the calling thread.
 */
#ifndef KL_FETCH_FETCH_HUB_H
#define KL_FETCH_FETCH_HUB_H

#include <stdio.h>

#include "client/hub.h"
#include "fetch/fetch.h"
#include "fetch/repository.h"

struct kl_hub_list {
    struct kl_hub_files files;
    enum kl_hub hub; /* that sent the list */
    size_t chosen;   /* the file that the name means; files.n: none */
};

/* Gets the list of a repository. KL_ERR_NOT_FOUND: neither hub has it; each failure is one line on
 * stderr. Release the list after KL_OK. */
enum kl_status kl_hub_list_get(const struct kl_repository *repository, size_t stall_seconds,
                               struct kl_hub_list *list, struct kl_error *err);

void kl_hub_list_release(struct kl_hub_list *list);

/* Prints the models of a list: size, what speaks against running it here, and which is chosen. */
void kl_hub_list_print(const struct kl_hub_list *list, FILE *out);

/* Downloads the file that a name means, with all its parts, and writes the path of the (first)
 * file. Without a quant in the name, prints the list if there is a choice. */
enum kl_status kl_fetch_repository(const struct kl_repository *repository, size_t stall_seconds,
                                   const struct kl_progress_observer *observer, char path[PATH_MAX],
                                   struct kl_error *err);

/* The same for the address of a file there, as a browser shows it or copies it
 * (".../blob/main/FILE",
 * ".../resolve/main/FILE"). KL_ERR_UNSUPPORTED: it is not such an address. */
enum kl_status kl_fetch_hub_address(const char *url, size_t stall_seconds, char path[PATH_MAX],
                                    struct kl_error *err);

#endif
