#include "json/json_text.h"

#include "base/buffer.h"
#include "base/utf8.h"
#include "json/json_memory.h"

json_t *kl_json_text(const char *text, size_t len)
{
    if (kl_utf8_valid(text, len))
        return json_stringn(text, len);

    struct kl_buffer clean;
    kl_buffer_init(&clean, 3 * len + 1);
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < len && status == KL_OK;) {
        uint32_t code_point;
        bool valid;
        char encoded[4];
        i += kl_utf8_decode(text + i, len - i, &code_point, &valid);
        status = kl_buffer_append(&clean, encoded, kl_utf8_encode(code_point, encoded));
    }
    json_t *result = status == KL_OK ? json_stringn(clean.data, clean.len) : NULL;
    if (status != KL_OK)
        kl_json_tell_short();
    kl_buffer_release(&clean);
    return result;
}
