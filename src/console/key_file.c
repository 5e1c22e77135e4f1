#include "console/key_file.h"

#include <string.h>
#include <sys/stat.h>

#include "base/foreign_text.h"
#include "base/log.h"
#include "base/utf8.h"
#include "console/input.h"

#define MIN_KEY_LEN 8
#define MAX_KEY_LEN 512
#define BLANKS      " \t\r"

/* Cuts the next line with a key off *rest and splits it. Counts lines in *line. false: there is
 * none. */
static bool next_key(char **rest, size_t *line, struct kl_api_key *found)
{
    char *key;
    while (*rest != NULL && (key = strsep(rest, "\n")) != NULL) {
        ++*line;
        key += strspn(key, BLANKS);
        if (*key == '\0' || *key == '#')
            continue;
        char *name = key + strcspn(key, BLANKS);
        if (*name != '\0')
            *name++ = '\0';
        name += strspn(name, BLANKS);
        if (*name == '#')
            *name = '\0';
        size_t len = strlen(name);
        while (len > 0 && strchr(BLANKS, name[len - 1]) != NULL)
            name[--len] = '\0';
        *found = (struct kl_api_key){key, name};
        return true;
    }
    return false;
}

enum kl_status kl_key_name_check(const char *name, struct kl_error *err)
{
    size_t len = strlen(name);
    if (len == 0 || len > KL_MAX_KEY_NAME)
        return kl_fail(err, KL_ERR_INVALID, "the name of a key has 1 to %d bytes, not %zu",
                       KL_MAX_KEY_NAME, len);
    if (name[0] == '#' || name[0] == ' ' || name[len - 1] == ' ')
        return kl_fail(err, KL_ERR_INVALID,
                       "the name of a key begins neither with # nor with a blank, and does not end "
                       "with one: found '%s'",
                       name);
    for (size_t i = 0, n; i < len; i += n) {
        uint32_t code_point;
        bool valid;
        n = kl_utf8_decode(name + i, len - i, &code_point, &valid);
        if (!valid || kl_foreign_unsafe(code_point))
            return kl_fail(err, KL_ERR_INVALID,
                           "the name of a key is text without control characters; byte %zu of '%s' "
                           "is %s",
                           i + 1, name, valid ? "one" : "not UTF-8");
    }
    return KL_OK;
}

static enum kl_status check_key(const struct kl_api_key *key, const struct kl_api_keys *keys,
                                struct kl_error *err)
{
    size_t len = strlen(key->key);
    if (len < MIN_KEY_LEN || len > MAX_KEY_LEN)
        return kl_fail(err, KL_ERR_INVALID, "a key has %d to %d characters, this one has %zu",
                       MIN_KEY_LEN, MAX_KEY_LEN, len);
    for (size_t i = 0; i < keys->n; i++) {
        if (strcmp(keys->keys[i].key, key->key) == 0 && strcmp(keys->keys[i].name, key->name) != 0)
            return kl_fail(err, KL_ERR_INVALID,
                           "this key stands above with another name, and has one: '%s' or '%s'",
                           keys->keys[i].name, key->name);
    }
    return key->name[0] == '\0' ? KL_OK : kl_key_name_check(key->name, err);
}

enum kl_status kl_api_keys_parse(char *text, const char *path, struct kl_api_keys *keys,
                                 struct kl_error *err)
{
    struct kl_api_key key;
    size_t line = 0;
    while (next_key(&text, &line, &key)) {
        enum kl_status status = check_key(&key, keys, err);
        if (status != KL_OK) {
            kl_error_prefix(err, "%s, line %zu", path, line);
            return status;
        }
        if (keys->n == KL_MAX_API_KEYS)
            return kl_fail(err, KL_ERR_INVALID, "%s has more than %d keys", path, KL_MAX_API_KEYS);
        keys->keys[keys->n++] = key;
    }
    return KL_OK;
}

enum kl_status kl_api_keys_load(const char *path, struct kl_api_keys *keys, struct kl_error *err)
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
    return kl_api_keys_parse(keys->text.data, path, keys, err);
}

enum kl_status kl_api_keys_read(const char *path, struct kl_api_keys *keys, struct kl_error *err)
{
    enum kl_status status = kl_api_keys_load(path, keys, err);
    if (status == KL_OK && path != NULL && keys->n == 0)
        status = kl_fail(err, KL_ERR_INVALID,
                         "%s has no key; write one on each line, or use 'kinglet key add'", path);
    return status;
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
    char *rest = text->data;
    size_t line = 0;
    struct kl_api_key first;
    if (!next_key(&rest, &line, &first))
        return kl_fail(err, KL_ERR_INVALID, "%s has no key", path);
    *key = first.key;
    return KL_OK;
}
