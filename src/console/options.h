/*
 * Command lines: each command has a table of options, which serves the parser, its error texts and
 * --help. All commands also have --help, --version and --log-level. For the main thread.
 *
 * Accepted: --name VALUE, --name=VALUE, -n VALUE, -nVALUE; `--` ends the options. Options and
 * arguments may be mixed.
 */
#ifndef KL_CONSOLE_OPTIONS_H
#define KL_CONSOLE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/printer.h"

#define KL_MAX_LIST 16

struct kl_size_list {
    size_t values[KL_MAX_LIST];
    size_t len;
};

struct kl_string_list {
    const char *values[KL_MAX_LIST];
    size_t len;
};

enum kl_option_type {
    KL_OPTION_FLAG,    /* bool *: becomes true; takes no value */
    KL_OPTION_SWITCH,  /* bool *: "on" or "off" */
    KL_OPTION_STRING,  /* const char **: points into argv */
    KL_OPTION_SIZE,    /* size_t *, low..high */
    KL_OPTION_U64,     /* uint64_t *, any */
    KL_OPTION_BYTES,   /* uint64_t *, low..high bytes: "512M", "2G"; K, M, G are powers of 1024 */
    KL_OPTION_FLOAT,   /* float *, low..high */
    KL_OPTION_STRINGS, /* struct kl_string_list *: may be repeated */
    KL_OPTION_LIST     /* struct kl_size_list *: "32,128", each low..high */
};

struct kl_option {
    const char *name; /* without the dashes */
    char letter;      /* 0: none */
    enum kl_option_type type;
    const char *argument; /* the word for its value in --help, "N"; NULL for flags */
    const char *help;
    void *value; /* its value before parsing is the default that --help shows */
    double low, high;
};

/* A table that is filled in pieces, so that rows which several commands share are written once, in
 * a function of the room they belong to: kl_load_add_options, kl_soak_add_options. Zero is empty.
 */
#define KL_MAX_OPTIONS 64

struct kl_option_table {
    struct kl_option rows[KL_MAX_OPTIONS];
    size_t n;
};

/* Appends copies of n rows; --help shows rows in this order. More than KL_MAX_OPTIONS rows are a
 * programmer's mistake. */
void kl_options_add(struct kl_option_table *table, const struct kl_option *rows, size_t n);

struct kl_command_line {
    const char *command;
    const char *arguments; /* for --help: "[PROMPT...]"; NULL: none */
    size_t max_arguments;
    const char *about; /* one paragraph: the purpose of the command */
    const struct kl_option *options;
    size_t n_options;
    const char *notes;      /* paragraphs after the options, lines of at most 80 columns; or NULL */
    const char *exit_codes; /* 0 to 2, if they differ from those of all commands; or NULL */
    const char *further_exit_codes; /* above 4; or NULL */
};

/* Sets the values and moves the arguments to argv[1..*n_arguments]. The text of KL_ERR_INVALID
 * names the option, the expected and the actual value and, for an unknown option, the nearest
 * name. */
enum kl_status kl_options_parse(const struct kl_command_line *line, int argc, char **argv,
                                size_t *n_arguments, struct kl_error *err);

/* Prints the text of --help. */
void kl_options_help(const struct kl_command_line *line, struct kl_printer *out);

/* Begins a command: parses its command line, answers --help and --version, reports errors, and sets
 * the log level (--log-level, else LOG_LEVEL, else `level`). If it returns false, the command
 * returns *exit_code. */
bool kl_command_line_read(const struct kl_command_line *line, int argc, char **argv,
                          const char *level, size_t *n_arguments, int *exit_code);

/* Sets the log level again, which matters if it is in a file. Leaves it unchanged on errors. */
enum kl_status kl_log_level_reload(struct kl_error *err);

#endif
