/*
 * The lists that model hubs send, and Ollama's manifests: they are refused with a text, or every
 * file in them has a plain path, a size, and a SHA-256 or none. The first byte selects the kind.
 */
#include <string.h>

#include "base/paths.h"
#include "client/hub.h"
#include "fuzz.h"

static void check_sha256(const char *sha256, bool required)
{
    size_t len = strlen(sha256);
    PROMISE((len == 0 && !required) || len == 64);
    PROMISE(strspn(sha256, "0123456789abcdef") == len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kl_hub_files files;
    struct kl_hub_file model;
    struct kl_error err = {0};
    uint8_t kind = take_byte(&data, &size) % 3;
    const char *text = (const char *)data;
    if (kind == 2) {
        if (kl_hub_read_manifest(text, size, &model, &err) == KL_OK)
            check_sha256(model.sha256, true);
        else
            PROMISE(strlen(err.text) > 10);
        return 0;
    }
    if (kl_hub_read((enum kl_hub)kind, text, size, &files, &err) != KL_OK) {
        PROMISE(strlen(err.text) > 10);
        return 0;
    }
    PROMISE(files.n <= KL_HUB_MAX_FILES);
    for (size_t i = 0; i < files.n; i++) {
        const struct kl_hub_file *file = &files.items[i];
        PROMISE(kl_path_is_plain(file->path, KL_HUB_PATH_SIZE - 1, 4));
        PROMISE(strstr(file->path, "..") == NULL || strstr(file->path, "/.") == NULL);
        PROMISE(file->bytes > 0);
        check_sha256(file->sha256, false);
    }
    kl_hub_files_release(&files);
    return 0;
}
