/*
 * The text of a file with API keys. Whatever it has, keys and names are within their bounds, and
 * a file written of them has the same ones.
 */
#include <string.h>

#include "base/buffer.h"
#include "console/key_file.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct kl_api_keys keys, again;
    struct kl_buffer text, written;
    struct kl_error err = {0};
    kl_buffer_init(&text, size + 1);
    kl_buffer_init(&written, size * 2 + 1);
    keys.n = again.n = 0;
    PROMISE(kl_buffer_append(&text, data, size) == KL_OK);
    enum kl_status status = kl_api_keys_parse(text.data, "keys", &keys, &err);
    PROMISE(status == KL_OK || (status == KL_ERR_INVALID && err.text[0] != '\0'));
    PROMISE(keys.n <= KL_MAX_API_KEYS);
    PROMISE(kl_buffer_append(&written, "", 0) == KL_OK);
    for (size_t i = 0; i < keys.n; i++) {
        const char *key = keys.keys[i].key, *name = keys.keys[i].name;
        PROMISE(strlen(key) >= 8 && strlen(key) <= 512 && strpbrk(key, " \t\r\n") == NULL);
        PROMISE(name[0] == '\0' || kl_key_name_check(name, &err) == KL_OK);
        PROMISE(kl_buffer_append_format(&written, "%s %s\n", key, name) == KL_OK);
    }
    PROMISE(kl_api_keys_parse(written.data, "written", &again, &err) == KL_OK);
    PROMISE(again.n == keys.n);
    for (size_t i = 0; i < keys.n; i++) {
        PROMISE(strcmp(again.keys[i].key, keys.keys[i].key) == 0);
        PROMISE(strcmp(again.keys[i].name, keys.keys[i].name) == 0);
    }
    kl_buffer_release(&text);
    kl_buffer_release(&written);
    return 0;
}
