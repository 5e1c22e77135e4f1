#include "console/key_file.h"

#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "console/input.h"

#define MIN_KEY_LEN 8
#define MAX_KEY_LEN 512

enum kl_status kl_api_keys_read(const char *path, struct kl_api_keys *keys, struct kl_error *err)
{
    struct stat st;
    kl_buffer_init(&keys->text, KL_KEY_FILE_CAP);
    keys->n = 0;
    if (path == NULL)
        return KL_OK;
    enum kl_status status = kl_read_text(path, &keys->text, err);
    if (status != KL_OK)
        return status;
    if (stat(path, &st) == 0 && (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        kl_warning("other users can read the key file %s; run chmod 600 on it", path);

    char *rest = keys->text.data, *key;
    size_t line = 0;
    while (rest != NULL && (key = strsep(&rest, "\n")) != NULL) {
        line++;
        key += strspn(key, " \t\r");
        size_t len = strcspn(key, " \t\r");
        if (len == 0 || key[0] == '#')
            continue;
        key[len] = '\0';
        if (len < MIN_KEY_LEN || len > MAX_KEY_LEN)
            return kl_fail(err, KL_ERR_INVALID,
                           "%s, line %zu: a key has %d to %d characters, this one has %zu", path,
                           line, MIN_KEY_LEN, MAX_KEY_LEN, len);
        if (keys->n == KL_MAX_API_KEYS)
            return kl_fail(err, KL_ERR_INVALID, "%s has more than %d keys", path, KL_MAX_API_KEYS);
        keys->keys[keys->n++] = key;
    }
    if (keys->n == 0)
        return kl_fail(err, KL_ERR_INVALID, "%s has no key; write one on each line", path);
    return KL_OK;
}

void kl_api_keys_release(struct kl_api_keys *keys)
{
    kl_buffer_release(&keys->text);
}

enum kl_status kl_read_key(const char *path, struct kl_buffer *text, const char **key,
                           struct kl_error *err)
{
    *key = NULL;
    if (path == NULL)
        return KL_OK;
    enum kl_status status = kl_read_text(path, text, err);
    if (status != KL_OK)
        return status;
    char *rest = text->data, *line;
    while (*key == NULL && (line = strsep(&rest, "\n")) != NULL) {
        line += strspn(line, " \t\r");
        line[strcspn(line, " \t\r")] = '\0';
        if (line[0] != '\0' && line[0] != '#')
            *key = line;
    }
    return *key != NULL ? KL_OK : kl_fail(err, KL_ERR_INVALID, "%s has no key", path);
}
