#include "fetch/wheels.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern const char kl_fetch_wheels_script[]; /* generated from tools/fetch-wheels */
extern char **environ;

#define MAX_PARTS 16

/* Starts python3 with the script; *out_fd becomes the reading end of its stdout. */
static enum kl_status start(const struct kl_model_entry *entry, const char *out, pid_t *pid,
                            int *out_fd, struct kl_error *err)
{
    const char *argv[5 + 3 * MAX_PARTS + 1];
    size_t n = 0;
    int fds[2];
    assert(entry->n_parts <= MAX_PARTS);
    argv[n++] = "python3";
    argv[n++] = "-I"; /* isolated: no module of the current directory, no PYTHON* variables */
    argv[n++] = "-c";
    argv[n++] = kl_fetch_wheels_script;
    argv[n++] = out;
    for (size_t i = 0; i < entry->n_parts; i++) {
        argv[n++] = entry->parts[i].requirement;
        argv[n++] = entry->parts[i].member;
        argv[n++] = entry->parts[i].bytes;
    }
    argv[n] = NULL;

    if (pipe2(fds, O_CLOEXEC) != 0)
        return kl_fail_errno(err, "cannot create a pipe");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
    /* this thread may block signals; the child must receive Ctrl-C */
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    int failed = posix_spawnp(pid, "python3", &actions, &attributes, (char *const *)(uintptr_t)argv,
                              environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    if (failed != 0) {
        close(fds[0]);
        return kl_fail(err, KL_ERR_NOT_FOUND, "python3 cannot be run: %s", strerror(failed));
    }
    *out_fd = fds[0];
    return KL_OK;
}

enum kl_status kl_wheels_fetch(const struct kl_model_entry *entry, const char *out,
                               struct kl_progress *progress, struct kl_error *err)
{
    pid_t pid;
    int fd = -1;
    enum kl_status status = start(entry, out, &pid, &fd, err);
    if (status != KL_OK)
        return status;

    char line[1024], reason[400] = "";
    uint64_t most = 0;
    FILE *lines = fdopen(fd, "r");
    if (lines == NULL)
        close(fd); /* the script ends at its next line */
    /* without a reader, the script ends at its next line */
    while (lines != NULL && !kl_progress_is_stopped(progress) &&
           fgets(line, sizeof line, lines) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        unsigned long long done;
        if (sscanf(line, "progress %llu", &done) == 1) {
            /* while pip moves its file, the script counts it twice or not at all */
            most = done > most ? done : most;
            kl_progress_update(progress, most, entry->bytes);
        } else if (strncmp(line, "error ", 6) == 0) {
            snprintf(reason, sizeof reason, "%.399s", line + 6);
        }
    }
    if (lines != NULL)
        fclose(lines);

    int result = 0;
    while (waitpid(pid, &result, 0) < 0 && errno == EINTR)
        continue;
    if (WIFEXITED(result) && WEXITSTATUS(result) == 0)
        return KL_OK;
    if (kl_progress_is_stopped(progress))
        return kl_fail(err, KL_ERR_CANCELLED, "the download was stopped");
    if (reason[0] == '\0')
        snprintf(reason, sizeof reason, "the script that unpacks them ended unexpectedly");
    return kl_fail(err, KL_ERR_NOT_FOUND, "%s", reason);
}
