#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

static const char *const level_names[] = {"debug", "info", "warning", "error"};
static _Atomic(int) current_level = KL_LOG_INFO;

bool kl_log_parse_level(const char *name, enum kl_log_level *level)
{
    for (int i = 0; i < 4; i++) {
        if (strcasecmp(name, level_names[i]) == 0) {
            *level = (enum kl_log_level)i;
            return true;
        }
    }
    return false;
}

void kl_log_set_level(enum kl_log_level level)
{
    atomic_store_explicit(&current_level, (int)level, memory_order_relaxed);
}

bool kl_log_enabled(enum kl_log_level level)
{
    return (int)level >= atomic_load_explicit(&current_level, memory_order_relaxed);
}

void kl_log(enum kl_log_level level, const char *format, ...)
{
    if (!kl_log_enabled(level))
        return;

    char line[2048];
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t used = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &utc);
    used += (size_t)snprintf(line + used, sizeof line - used, ".%03ldZ %-7s ",
                             now.tv_nsec / 1000000, level_names[level]);

    char text[1400];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);

    /* a control byte becomes \xNN: 4 bytes for one, and room is kept for the newline */
    for (const char *c = text; *c != '\0' && used + 5 < sizeof line; c++) {
        unsigned char byte = (unsigned char)*c;
        if (byte < 0x20 || byte == 0x7f)
            used += (size_t)snprintf(line + used, sizeof line - used, "\\x%02x", byte);
        else
            line[used++] = *c;
    }
    line[used++] = '\n';

    ssize_t written;
    do
        written = write(STDERR_FILENO, line, used);
    while (written < 0 && errno == EINTR);
}
