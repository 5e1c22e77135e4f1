/*
 * The commands of the program `kinglet`. Adding one is one file and one row in main.c.
 *
 * This layer is the only one that prints or exits. Results go to stdout, everything else (progress,
 * log, errors) to stderr. A command gets its own name as argv[0] and returns an exit code.
 */
#ifndef KL_CLI_COMMANDS_H
#define KL_CLI_COMMANDS_H

#include "console/exit_codes.h"

int kl_run_serve(int argc, char **argv);
int kl_run_chat(int argc, char **argv);
int kl_run_pull(int argc, char **argv);
int kl_run_bench(int argc, char **argv);
int kl_run_doctor(int argc, char **argv);
int kl_run_tokenize(int argc, char **argv);
int kl_run_cache(int argc, char **argv);
int kl_run_eval(int argc, char **argv);

#endif
