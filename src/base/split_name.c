#include "base/split_name.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS     5
#define SUFFIX_LEN (sizeof "-00001-of-00003.gguf" - 1)

/* Reads a number of exactly DIGITS digits. */
static bool read_number(const char *text, unsigned *out)
{
    *out = (unsigned)strtoul(text, NULL, 10);
    return strspn(text, "0123456789") == DIGITS;
}

bool kl_split_name_read(const char *name, struct kl_split_name *split)
{
    size_t len = strlen(name);
    if (len <= SUFFIX_LEN)
        return false;
    const char *suffix = name + len - SUFFIX_LEN, *of = suffix + 1 + DIGITS;
    *split = (struct kl_split_name){.prefix_len = len - SUFFIX_LEN};
    return suffix[0] == '-' && read_number(suffix + 1, &split->number) &&
           strncmp(of, "-of-", 4) == 0 && read_number(of + 4, &split->count) &&
           strcmp(of + 4 + DIGITS, ".gguf") == 0 && split->number >= 1 && split->count >= 2 &&
           split->number <= split->count;
}

bool kl_split_name_write(const char *name, size_t prefix_len, unsigned number, unsigned count,
                         char *out, size_t size)
{
    int n = snprintf(out, size, "%.*s-%05u-of-%05u.gguf", (int)prefix_len, name, number, count);
    return n >= 0 && (size_t)n < size;
}

char **kl_split_name_all(const char *name, const struct kl_split_name *split)
{
    size_t size = split->prefix_len + SUFFIX_LEN + 1;
    char **names = malloc(split->count * (sizeof *names + size));
    if (names == NULL)
        return NULL;
    for (unsigned i = 0; i < split->count; i++) {
        names[i] = (char *)(names + split->count) + i * size;
        (void)kl_split_name_write(name, split->prefix_len, i + 1, split->count, names[i], size);
    }
    return names;
}
