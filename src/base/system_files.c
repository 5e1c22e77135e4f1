#include "base/system_files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* ---- without the heap ------------------------------------------------------------------------ */

bool kl_system_text(const char *path, char *text, size_t size)
{
    size_t len = 0;
    ssize_t n = 0;
    text[0] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    while (len + 1 < size &&
           ((n = read(fd, text + len, size - 1 - len)) > 0 || (n < 0 && errno == EINTR)))
        len += n > 0 ? (size_t)n : 0;
    close(fd);
    if (n < 0)
        len = 0;
    text[len] = '\0';
    return n >= 0;
}

/* ---- lines and numbers ----------------------------------------------------------------------- */

FILE *kl_system_open(const char *root, const char *name)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", root, name);
    if (n <= 0 || (size_t)n >= sizeof path) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    return fopen(path, "re");
}

bool kl_system_line(const char *root, const char *name, char *out, size_t size)
{
    FILE *f = kl_system_open(root, name);
    out[0] = '\0';
    if (f == NULL)
        return false;
    if (fgets(out, (int)size, f) == NULL)
        out[0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    fclose(f);
    return out[0] != '\0';
}

bool kl_system_number(const char *root, const char *name, double *value)
{
    char line[128], *end;
    if (!kl_system_line(root, name, line, sizeof line))
        return false;
    double number = strtod(line, &end);
    if (end == line)
        return false;
    *value = number;
    return true;
}

double kl_system_field(const char *root, const char *name, const char *field, double otherwise)
{
    char line[512], *end;
    size_t len = strlen(field);
    FILE *f = kl_system_open(root, name);
    if (f == NULL)
        return otherwise;
    while (fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, field, len) != 0 || (line[len] != ':' && line[len] != ' '))
            continue;
        double value = strtod(line + len + 1, &end);
        if (end != line + len + 1)
            otherwise = value;
        break;
    }
    fclose(f);
    return otherwise;
}

/* ---- processes, disks, sensors --------------------------------------------------------------- */

bool kl_system_stat(const char *root, const char *name, struct kl_system_stat *stat)
{
    char line[1024];
    double user, kernel;
    *stat = (struct kl_system_stat){0};
    if (!kl_system_line(root, name, line, sizeof line))
        return false;
    /* "12 (a name) S ...": the name may hold anything, so what follows begins at the last ')' */
    char *open = strchr(line, '('), *close = strrchr(line, ')');
    if (open == NULL || close == NULL || close < open)
        return false;
    snprintf(stat->name, sizeof stat->name, "%.*s", (int)(close - open - 1), open + 1);
    if (sscanf(close + 1, " %c %*s %*s %*s %*s %*s %*s %*s %*s %lf %*s %lf %lf %*s %*s %*s %*s %zu",
               &stat->state, &stat->major_faults, &user, &kernel, &stat->n_threads) != 5)
        return false;
    double ticks = (double)sysconf(_SC_CLK_TCK);
    stat->user = user / ticks;
    stat->kernel = kernel / ticks;
    return true;
}

bool kl_system_disk(const char *root, dev_t device, char *out, size_t size)
{
    char path[PATH_MAX], target[PATH_MAX];
    int n =
        snprintf(path, sizeof path, "%s/sys/dev/block/%u:%u", root, major(device), minor(device));
    ssize_t len = n > 0 && (size_t)n < sizeof path ? readlink(path, target, sizeof target - 1) : -1;
    if (len <= 0)
        return false;
    target[len] = '\0';
    /* ".../block/mmcblk0/mmcblk0p2" */
    const char *disk = strstr(target, "/block/");
    if (disk == NULL)
        return false;
    disk += strlen("/block/");
    snprintf(out, size, "%.*s", (int)strcspn(disk, "/"), disk);
    return true;
}

bool kl_system_is_sd_card(const char *root, const char *disk)
{
    char name[128], type[16];
    snprintf(name, sizeof name, "sys/block/%s/device/type", disk);
    return strncmp(disk, "mmcblk", 6) == 0 && kl_system_line(root, name, type, sizeof type) &&
           strcmp(type, "SD") == 0;
}

bool kl_system_firmware(const char *root, unsigned long *bits)
{
    char line[40], *end;
    if (!kl_system_line(root, "sys/devices/platform/soc/soc:firmware/get_throttled", line,
                        sizeof line))
        return false;
    *bits = strtoul(line, &end, 16); /* without 0x */
    return end != line;
}

bool kl_system_zone(const char *root, int zone, double *celsius)
{
    char name[64];
    double value;
    snprintf(name, sizeof name, "sys/class/thermal/thermal_zone%d/temp", zone);
    if (!kl_system_number(root, name, &value) || value <= 0 || value >= 150e3)
        return false;
    *celsius = value * 1e-3;
    return true;
}

size_t kl_system_count_cpus(const char *list)
{
    size_t n = 0;
    char *end;
    for (const char *at = list;; at = end + 1) {
        unsigned long first = strtoul(at, &end, 10), last = first;
        if (end == at)
            return n;
        if (*end == '-')
            last = strtoul(end + 1, &end, 10);
        if (last >= first)
            n += last - first + 1;
        if (*end != ',')
            return n;
    }
}
