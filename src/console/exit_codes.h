/*
 * The exit codes of all commands, and how a command reports the error that it ends with.
 */
#ifndef KL_CONSOLE_EXIT_CODES_H
#define KL_CONSOLE_EXIT_CODES_H

#include "base/error.h"

enum kl_exit {
    KL_EXIT_OK = 0,
    KL_EXIT_FAILURE = 1,
    KL_EXIT_USAGE = 2,     /* an unknown command or option, or a value out of its range */
    KL_EXIT_NO_MODEL = 3,  /* the model is not on this computer and cannot be downloaded */
    KL_EXIT_LOST_FILE = 4, /* a mapped file was truncated, or its disk failed, while in use */
    KL_EXIT_BROKEN = 5,    /* of doctor: something does not work */
    KL_EXIT_WARNINGS = 1,  /* of doctor: something should be fixed */
};

/* Prints "kinglet COMMAND: text" on stderr, behind all that was logged before. Returns
 * KL_EXIT_USAGE for KL_ERR_INVALID, otherwise KL_EXIT_FAILURE. */
int kl_report(const char *command, const struct kl_error *err);

#endif
