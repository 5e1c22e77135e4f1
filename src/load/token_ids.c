#include "load/token_ids.h"

#include <stdlib.h>
#include <string.h>

#include "base/foreign_text.h"

/* Bytes of a wrong word that an error quotes. */
#define MAX_SHOWN 40

enum kl_status kl_token_ids_parse(const char *text, size_t n_vocab, struct kl_tokens *out,
                                  struct kl_error *err)
{
    static const char blanks[] = " \t\r\n";
    for (text += strspn(text, blanks); *text != '\0'; text += strspn(text, blanks)) {
        size_t len = strcspn(text, blanks);
        size_t digits = strspn(text, "0123456789");
        unsigned long long id = digits == len && len <= 10 ? strtoull(text, NULL, 10) : n_vocab;
        if (id >= n_vocab) {
            char shown[3 * MAX_SHOWN + 1];
            kl_foreign_line(text, len < MAX_SHOWN ? len : MAX_SHOWN, shown, sizeof shown);
            return kl_fail(err, KL_ERR_INVALID,
                           "\"%s\" is not a token id; token ids are whole numbers below %zu", shown,
                           n_vocab);
        }
        if (kl_tokens_push(out, (int32_t)id) != KL_OK)
            return kl_fail_memory(err, "token ids", (out->len + 1) * sizeof(int32_t));
        text += len;
    }
    return KL_OK;
}
