#include "console/lost_file.h"

#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/foreign_text.h"
#include "base/mapped_file.h"
#include "console/exit_codes.h"

static void on_bus_error(int number, siginfo_t *info, void *context)
{
    static atomic_flag reported = ATOMIC_FLAG_INIT;
    static const char reason[] =
        " was truncated, or its disk failed, while it was in use; restore it and start again\n";
    (void)context;
    char name[PATH_MAX];
    const char *path = info->si_code > 0 ? kl_mapped_file_name_at(info->si_addr) : NULL;
    if (path == NULL) {
        signal(number, SIG_DFL);
        raise(number);
        return;
    }
    if (atomic_flag_test_and_set(&reported)) /* another thread reports it already */
        for (;;)
            pause();
    size_t len = strnlen(path, sizeof name - 1);
    memcpy(name, path, len);
    name[len] = '\0';
    kl_foreign_clean(name);
    /* one call, so that no line of the log is written in between */
    const struct iovec parts[] = {{(void *)(uintptr_t) "kinglet: ", 9},
                                  {name, strlen(name)},
                                  {(void *)(uintptr_t)reason, sizeof reason - 1}};
    ssize_t ignored = writev(STDERR_FILENO, parts, 3);
    (void)ignored;
    _exit(KL_EXIT_LOST_FILE);
}

void kl_lost_files_report(void)
{
    const struct sigaction bus_error = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    sigaction(SIGBUS, &bus_error, NULL);
}
