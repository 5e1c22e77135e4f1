/*
 * Normalises chat templates of model files: each has one normal form, of bounded size, which does
 * not depend on spaces around the content of a tag.
 */
#include <string.h>

#include "fuzz.h"
#include "text/template_form.h"

static enum kl_status form(const char *text, size_t len, struct kl_buffer *out)
{
    kl_buffer_init(out, KL_TEMPLATE_MAX_FORM);
    return kl_template_form(text, len, out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct kl_buffer found, again;
    enum kl_status status = form(text, size, &found);
    PROMISE(status == KL_OK || status == KL_ERR_UNSUPPORTED);
    PROMISE(form(text, size, &again) == status);
    if (status == KL_OK)
        PROMISE(found.len == again.len &&
                (found.len == 0 || memcmp(found.data, again.data, found.len) == 0));
    kl_buffer_release(&found);
    kl_buffer_release(&again);
    return 0;
}
