#include "base/model_name.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

/* Clients append it to a name that has only one version. */
#define LATEST ":latest"

static size_t bare_length(const char *name)
{
    size_t len = strlen(name), n = strlen(LATEST);
    return len > n && strcasecmp(name + len - n, LATEST) == 0 ? len - n : len;
}

bool kl_model_names_equal(const char *a, const char *b)
{
    size_t len = bare_length(a);
    return len == bare_length(b) && strncasecmp(a, b, len) == 0;
}
