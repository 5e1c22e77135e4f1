/*
 * The commands of the program `kinglet`. Adding one is one file and one row in main.c.
 *
 * This layer is the only one that prints or exits. Results go to stdout, everything else (progress,
 * log, errors) to stderr. A command gets its own name as argv[0] and returns an exit code.
 */
#ifndef KL_CLI_COMMANDS_H
#define KL_CLI_COMMANDS_H

#include "base/error.h"

enum kl_exit {
    KL_EXIT_OK = 0,
    KL_EXIT_FAILURE = 1,
    KL_EXIT_USAGE = 2,    /* an unknown command or option, a value out of its range */
    KL_EXIT_NO_MODEL = 3, /* the model is not here and could not be had */
    KL_EXIT_LOST_FILE =
        4,                /* a mapped file was cut short, or its disk failed, while it was in use */
    KL_EXIT_BROKEN = 5,   /* of doctor: something does not work */
    KL_EXIT_WARNINGS = 1, /* of doctor: something should be mended */
};

/* Prints "kinglet COMMAND: text" on stderr. Returns KL_EXIT_USAGE for KL_ERR_INVALID, otherwise
 * KL_EXIT_FAILURE. */
int kl_report(const char *command, const struct kl_error *err);

int kl_run_serve(int argc, char **argv);
int kl_run_chat(int argc, char **argv);
int kl_run_pull(int argc, char **argv);
int kl_run_bench(int argc, char **argv);
int kl_run_doctor(int argc, char **argv);
int kl_run_tokenize(int argc, char **argv);
int kl_run_cache(int argc, char **argv);
int kl_run_eval(int argc, char **argv);

#endif
