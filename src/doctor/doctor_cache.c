#include <stdio.h>
#include <string.h>

#include "console/terminal.h"
#include "doctor/doctor.h"
#include "load/cache_contents.h"

#define WORTH_A_REMARK ((uint64_t)1 << 30) /* bytes that no process uses */

void kl_doctor_cache(struct kl_findings *findings)
{
    static struct kl_cache_contents contents; /* 300 KB */
    struct kl_error err = {0};
    if (kl_cache_contents_read(&contents, &err) != KL_OK) {
        struct kl_finding *found = kl_found(findings, KL_WARNING, "cache", "%s", err.text);
        kl_found_cost(found, "weights are packed at each start, and computed prompts are not kept");
        return;
    }
    char text[300] = "", size[32];
    uint64_t unused = 0;
    for (int kind = 0; kind < KL_CACHE_KINDS; kind++) {
        uint64_t bytes = 0;
        size_t n = 0;
        for (size_t i = 0; i < contents.n; i++) {
            const struct kl_cache_item *item = &contents.items[i];
            if ((int)item->kind != kind)
                continue;
            bytes += item->bytes;
            unused += item->in_use || kind == KL_CACHE_MODEL ? 0 : item->bytes;
            n++;
        }
        size_t used = strlen(text);
        if (n > 0)
            snprintf(text + used, sizeof text - used, "%s%s %s (%zu)", used > 0 ? ", " : "",
                     kl_cache_kind_name((enum kl_cache_kind)kind),
                     kl_format_bytes((double)bytes, size, sizeof size), n);
    }
    bool much = unused > WORTH_A_REMARK;
    struct kl_finding *found = kl_found(findings, much ? KL_NOTE : KL_GOOD, "cache",
                                        "%.80s: %s; %s of it is not in use now", contents.path,
                                        text[0] != '\0' ? text : "empty",
                                        kl_format_bytes((double)unused, size, sizeof size));
    if (much)
        kl_found_remedy(found, "kinglet cache clean frees it; it is created again when needed");
}
