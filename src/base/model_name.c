#include "base/model_name.h"

#include <string.h>
#include <strings.h>

#define LATEST ":latest"
#define ENDING ".gguf"

size_t kl_model_name_len(const char *name)
{
    size_t len = strlen(name), n = strlen(LATEST);
    return len > n && strcasecmp(name + len - n, LATEST) == 0 ? len - n : len;
}

/* The same without ".gguf", too. */
static size_t bare_len(const char *name)
{
    size_t len = kl_model_name_len(name), n = strlen(ENDING);
    return len > n && strncasecmp(name + len - n, ENDING, n) == 0 ? len - n : len;
}

bool kl_model_names_equal(const char *a, const char *b)
{
    size_t len = bare_len(a);
    return len == bare_len(b) && strncasecmp(a, b, len) == 0;
}
