/* kinglet: one program, one table of commands. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"
#include "console/lost_file.h"
#include "console/nearest.h"

struct command {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv);
};

#define COMMAND_ROW(name, summary) {#name, summary, kl_run_##name},
static const struct command commands[] = {KL_COMMANDS(COMMAND_ROW)};

#define N_COMMANDS (sizeof commands / sizeof commands[0])

static void print_help(FILE *out)
{
    fputs("Usage: kinglet COMMAND [OPTIONS]\n\n"
          "A chat server for small language models on small CPUs.\n\nCommands:\n",
          out);
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fputs(
        "\n'kinglet COMMAND --help' shows the options of a command.\n'kinglet --version' shows "
        "the version.\nEnvironment: KINGLET_MODEL (the default model), KINGLET_CPU (the "
        "kernels),\nLOG_LEVEL, XDG_CACHE_HOME (models and other files are in kinglet/ below it);\n"
        "HF_ENDPOINT, MODELSCOPE_ENDPOINT (mirrors); HF_HUB_CACHE, HF_HOME, OLLAMA_MODELS\n"
        "(models of other programs, used where they are); https_proxy; CURL_CA_BUNDLE,\n"
        "SSL_CERT_FILE, SSL_CERT_DIR (trusted certificates).\nExit codes: 0 success, 1 failure, 2 "
        "wrong usage, 3 the model "
        "is not available,\n4 a file was truncated, or its disk failed, while in use; for "
        "doctor: 1\nsomething should be fixed, 5 something is broken.\n",
        out);
}

static int unknown_command(const char *name)
{
    struct kl_nearest nearest;
    kl_nearest_init(&nearest, name);
    for (size_t i = 0; i < N_COMMANDS; i++)
        kl_nearest_consider(&nearest, commands[i].name);
    if (nearest.best != NULL)
        fprintf(stderr, "kinglet: unknown command %s; did you mean %s?\n", name, nearest.best);
    else
        fprintf(stderr, "kinglet: unknown command %s\n", name);
    fputs("Try 'kinglet --help'.\n", stderr);
    return KL_EXIT_USAGE;
}

/* Opens /dev/null for each standard descriptor that is closed. Otherwise the next file that is
 * opened would take the place of standard error, and receive the log. */
static void open_standard_descriptors(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

int main(int argc, char **argv)
{
    open_standard_descriptors();
    kl_lost_files_report();
    /* a file that reaches its size limit (ulimit -f) makes the write fail, as a full disk does,
     * instead of ending the process */
    signal(SIGXFSZ, SIG_IGN);
    if (argc < 2) {
        print_help(stderr);
        return KL_EXIT_USAGE;
    }
    const char *name = argv[1];
    int code = -1;
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        print_help(stdout);
        code = KL_EXIT_OK;
    } else if (strcmp(name, "--version") == 0) {
        printf("kinglet %s\n", KL_VERSION);
        code = KL_EXIT_OK;
    }
    for (size_t i = 0; i < N_COMMANDS && code < 0; i++) {
        if (strcmp(name, commands[i].name) == 0)
            code = commands[i].run(argc - 1, argv + 1);
    }
    if (code < 0)
        return unknown_command(name);
    /* a full disk under stdout must not look like success */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("kinglet: the results could not be written");
        return code == KL_EXIT_OK ? KL_EXIT_FAILURE : code;
    }
    return code;
}
