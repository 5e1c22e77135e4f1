#include "base/model_name.h"

#include <string.h>
#include <strings.h>

#define LATEST ":latest"

size_t kl_model_name_len(const char *name)
{
    size_t len = strlen(name), n = strlen(LATEST);
    return len > n && strcasecmp(name + len - n, LATEST) == 0 ? len - n : len;
}

bool kl_model_names_equal(const char *a, const char *b)
{
    size_t len = kl_model_name_len(a);
    return len == kl_model_name_len(b) && strncasecmp(a, b, len) == 0;
}
