/*
 * The commands of the program `kinglet`: one row each, from which their functions are declared and
 * main.c makes its table. Adding a command is one file command_NAME.c and one row here.
 *
 * Commands are the only code that decides what is printed and how the program exits. Results go to
 * stdout, everything else (progress, log, errors) to stderr.
 */
#ifndef KL_CLI_COMMANDS_H
#define KL_CLI_COMMANDS_H

#include "console/exit_codes.h"

/* COMMAND(name, summary), in the order in which `kinglet --help` lists them. */
#define KL_COMMANDS(COMMAND)                                                                       \
    COMMAND(serve, "serve the chat page and HTTP API on http://127.0.0.1:7860")                    \
    COMMAND(chat, "ask the model, or talk with it, on the terminal")                               \
    COMMAND(pull, "download a model to this computer")                                             \
    COMMAND(bench, "measure how fast this computer runs the model")                                \
    COMMAND(doctor, "find what makes kinglet slow or wrong on this computer")                      \
    COMMAND(key, "make, list and remove the API keys of a server")                                 \
    COMMAND(cache, "list the files in the cache directory, or remove them")                        \
    COMMAND(schema, "check a JSON schema, and values against it")                                  \
    COMMAND(tokenize, "convert text to token ids, and back")                                       \
    COMMAND(eval, "compute the perplexity of a text, or logits of token sequences")

/* int kl_run_NAME(int argc, char **argv): runs a command, with its own name as argv[0], and returns
 * an exit code. It may reorder argv. */
#define KL_DECLARE_COMMAND(name, summary) int kl_run_##name(int argc, char **argv);
KL_COMMANDS(KL_DECLARE_COMMAND)

#endif
