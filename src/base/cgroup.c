#include "base/cgroup.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/system_files.h"

/* Whether a list like "cpu,memory" names a controller. */
static bool lists(const char *controllers, const char *wanted)
{
    size_t len = strlen(wanted);
    for (const char *c = controllers; *c != '\0'; c += strspn(c, ",")) {
        size_t n = strcspn(c, ",");
        if (n == len && memcmp(c, wanted, len) == 0)
            return true;
        c += n;
    }
    return false;
}

/* Visits mount/own/path and its parents up to mount. Inside a container the path may be that of the
 * host, which does not exist here; then the mount is the group of the container, visited last. */
static void visit_levels(const char *mount, char *path,
                         void (*visit)(void *context, const char *directory), void *context)
{
    char directory[PATH_MAX];
    for (;;) {
        size_t len = strlen(path);
        while (len > 0 && path[len - 1] == '/')
            path[--len] = '\0';
        int n = snprintf(directory, sizeof directory, "%s%s", mount, path);
        if (n > 0 && (size_t)n < sizeof directory)
            visit(context, directory);
        char *slash = strrchr(path, '/');
        if (slash == NULL)
            return;
        *slash = '\0';
    }
}

void kl_cgroup_visit(const char *root, const char *process, const char *controller,
                     void (*visit)(void *context, const char *directory), void *context)
{
    char name[PATH_MAX], text[KL_SYSTEM_TEXT_SIZE], *rest = text, *line;
    snprintf(name, sizeof name, "%s/proc/%s/cgroup", root, process);
    kl_system_text(name, text, sizeof text);
    while ((line = strsep(&rest, "\n")) != NULL) {
        /* "4:memory:/path" in v1, "0::/path" in v2 */
        char *controllers = strchr(line, ':');
        char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (path == NULL)
            continue;
        *path++ = '\0';
        controllers++;
        if (controllers[0] == '\0')
            snprintf(name, sizeof name, "%s/sys/fs/cgroup", root);
        else if (lists(controllers, controller))
            snprintf(name, sizeof name, "%s/sys/fs/cgroup/%s", root, controller);
        else
            continue;
        visit_levels(name, path, visit, context);
    }
}

size_t kl_cgroup_numbers(const char *directory, const char *name, double *out, size_t max)
{
    char path[PATH_MAX], text[128], *at = text, *end;
    size_t n = 0;
    int len = snprintf(path, sizeof path, "%s/%s", directory, name);
    if (len <= 0 || (size_t)len >= sizeof path || !kl_system_text(path, text, sizeof text))
        return 0;
    text[strcspn(text, "\n")] = '\0';
    for (; n < max; n++, at = end) {
        out[n] = strtod(at, &end);
        if (end == at)
            break;
    }
    return n;
}
