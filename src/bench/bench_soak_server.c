#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench/bench_soak.h"
#include "bench/server_query.h"
#include "console/interrupt.h"

#define MAX_WORDS     (24 + KL_SOAK_ARGUMENTS)
#define STOP_SECONDS  60 /* serve lets running answers continue for 30 */
#define STALL_SECONDS 10

/* ---- its command line ------------------------------------------------------------------------ */

struct words {
    char *argv[MAX_WORDS + 1];
    size_t n;
    char numbers[5][24];
    size_t n_numbers;
};

static void add(struct words *w, const char *option, const char *value)
{
    if (value == NULL)
        return;
    w->argv[w->n++] = (char *)option; /* execv does not write to them */
    if (value[0] != '\0')
        w->argv[w->n++] = (char *)value;
}

static void add_number(struct words *w, const char *option, uint64_t value)
{
    if (value == 0)
        return;
    char *text = w->numbers[w->n_numbers++];
    snprintf(text, sizeof w->numbers[0], "%llu", (unsigned long long)value);
    add(w, option, text);
}

/* Passes the options of bench on, then those after "--": of an option that is given twice the last
 * one counts. */
static void make_command(const struct kl_soak_options *o, uint16_t port, struct words *w)
{
    const struct kl_load_options *load = o->load;
    *w = (struct words){.argv = {(char *)"kinglet", (char *)"serve"}, .n = 2};
    add(w, "--log-level", "warning");
    add_number(w, "--port", port);
    add(w, "--model", load->model);
    add(w, "--cpu", load->cpu);
    add(w, "--no-avx512", load->no_avx512 ? "" : NULL);
    add(w, "--kv-type", load->kv_type);
    add(w, "--flash-attn", load->flash_attn);
    add_number(w, "--threads", load->threads);
    add_number(w, "--threads-prefill", load->threads_prefill);
    add_number(w, "--ctx-size", load->ctx_size);
    add_number(w, "--memory", load->memory);
    add_number(w, "--draft-max", load->draft_max);
    add(w, "--draft-max", load->draft_max == 0 ? "0" : NULL);
    for (size_t i = 0; i < o->n_arguments; i++)
        w->argv[w->n++] = o->arguments[i];
}

/* Finds a port that is free at the moment. */
static enum kl_status find_port(uint16_t *port, struct kl_error *err)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return kl_fail_errno(err, "cannot start a server: no socket");
    enum kl_status status = KL_OK;
    if (bind(fd, (struct sockaddr *)&address, size) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) != 0)
        status = kl_fail_errno(err, "cannot start a server: no free port");
    *port = ntohs(address.sin_port);
    close(fd);
    return status;
}

/* ---- its life -------------------------------------------------------------------------------- */

/* Runs in the child, between fork and exec. It gets its own process group, so that Ctrl-C on the
 * terminal reaches the parent alone, and logs to the parent's stderr. */
static _Noreturn void become_server(char **argv, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    signal(SIGINT, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    int null = open("/dev/null", O_RDONLY);
    if (null >= 0)
        dup2(null, STDIN_FILENO);
    dup2(STDERR_FILENO, STDOUT_FILENO); /* the parent may print JSON there */
    if (getppid() == parent)            /* else the parent has ended already */
        execv("/proc/self/exe", argv);
    _exit(127);
}

static enum kl_status fail_ended(int how, struct kl_error *err)
{
    if (WIFSIGNALED(how))
        return kl_fail(err, KL_ERR_IO, "the server was ended by signal %d (%s)", WTERMSIG(how),
                       strsignal(WTERMSIG(how)));
    return kl_fail(err, KL_ERR_IO, "the server has ended with exit code %d", WEXITSTATUS(how));
}

enum kl_status kl_soak_server_check(struct kl_soak_server *server, struct kl_error *err)
{
    int how;
    if (waitpid(server->pid, &how, WNOHANG) != server->pid)
        return KL_OK;
    server->pid = 0;
    return fail_ended(how, err);
}

static bool is_ready(const struct kl_soak_server *server)
{
    struct kl_error err;
    struct kl_http_answer answer;
    const struct kl_http_request limits = {.stall_seconds = STALL_SECONDS,
                                           .max_seconds = STALL_SECONDS};
    enum kl_status status = kl_server_get(server->url, "/ready", limits, &answer, &err);
    bool ready = status == KL_OK && answer.status == 200;
    kl_http_release(&answer);
    return ready;
}

enum kl_status kl_soak_server_start(const struct kl_soak_options *options,
                                    struct kl_soak_server *server, struct kl_error *err)
{
    struct words words;
    uint16_t port = 0;
    enum kl_status status = find_port(&port, err);
    if (status != KL_OK)
        return status;
    make_command(options, port, &words);
    snprintf(server->url, sizeof server->url, "http://127.0.0.1:%u", port);
    fflush(NULL);
    pid_t parent = getpid();
    server->pid = fork();
    if (server->pid == 0)
        become_server(words.argv, parent);
    if (server->pid < 0) {
        server->pid = 0;
        return kl_fail_errno(err, "the server cannot be started");
    }
    /* without a limit: it may have to download the model first, and logs that */
    while (status == KL_OK && !is_ready(server)) {
        status = kl_soak_server_check(server, err);
        if (status == KL_OK && kl_interrupt_pending())
            status = kl_fail(err, KL_ERR_CANCELLED, "stopped");
        usleep(50000);
    }
    return status;
}

enum kl_status kl_soak_server_stop(struct kl_soak_server *server, struct kl_error *err)
{
    int how = 0;
    pid_t ended = 0;
    if (server->pid == 0)
        return KL_OK;
    kill(server->pid, SIGTERM);
    uint64_t begin = kl_now_ns();
    while ((ended = waitpid(server->pid, &how, WNOHANG)) == 0 &&
           kl_seconds_since(begin) < STOP_SECONDS)
        usleep(10000);
    if (ended == 0) {
        kill(server->pid, SIGKILL);
        waitpid(server->pid, &how, 0);
    }
    server->pid = 0;
    if (ended == 0)
        return kl_fail(err, KL_ERR_IO, "the server did not end within %d s of SIGTERM",
                       STOP_SECONDS);
    return how == 0 ? KL_OK : fail_ended(how, err);
}
