/*
 * A line at a time from a terminal, with editing and history (libedit).
 *
 * SIGINT is expected to be blocked in the calling thread except while we wait: see interrupt.h.
 */
#ifndef KL_CLI_LINE_EDITOR_H
#define KL_CLI_LINE_EDITOR_H

#include "base/error.h"

struct kl_line_editor;

enum kl_line {
    KL_LINE_TEXT,        /* *line holds it */
    KL_LINE_INTERRUPTED, /* Ctrl-C: the line was given up */
    KL_LINE_END          /* Ctrl-D, or the terminal is gone */
};

/* The history is read from history_path and kept there at _close; NULL: none is kept. */
enum kl_status kl_line_editor_open(const char *prompt, const char *history_path,
                                   struct kl_line_editor **editor, struct kl_error *err);
void kl_line_editor_close(struct kl_line_editor *editor);

/* *line is NUL-terminated UTF-8 without the line end, good until the next call. */
enum kl_line kl_line_editor_read(struct kl_line_editor *editor, const char **line);

#endif
