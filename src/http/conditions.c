#include "http/conditions.h"

#include <stddef.h>
#include <string.h>

bool kl_etag_listed(const char *list, const char *etag, bool weakly)
{
    if (etag == NULL)
        return false;
    if (strcmp(list, "*") == 0)
        return true;
    for (const char *at = list + strspn(list, ", \t"); *at != '\0'; at += strspn(at, ", \t")) {
        bool weak = strncmp(at, "W/", 2) == 0;
        at += weak ? 2 : 0;
        const char *end = *at == '"' ? strchr(at + 1, '"') : NULL;
        if (end == NULL)
            return false;
        size_t len = (size_t)(end - at - 1);
        if ((weakly || !weak) && strlen(etag) == len && strncmp(at + 1, etag, len) == 0)
            return true;
        at = end + 1;
    }
    return false;
}
