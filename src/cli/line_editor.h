/*
 * Reads lines from a terminal, with editing and history (libedit).
 *
 * The calling thread has blocked SIGINT with kl_interrupt_block: see interrupt.h.
 */
#ifndef KL_CLI_LINE_EDITOR_H
#define KL_CLI_LINE_EDITOR_H

#include "base/error.h"

struct kl_line_editor;

enum kl_line {
    KL_LINE_TEXT,        /* *line is the text */
    KL_LINE_INTERRUPTED, /* Ctrl-C: the line was discarded */
    KL_LINE_END          /* Ctrl-D, or the terminal is gone */
};

/* Reads the history from history_path; _close writes it there. NULL: no history is kept. */
enum kl_status kl_line_editor_open(const char *prompt, const char *history_path,
                                   struct kl_line_editor **editor, struct kl_error *err);
void kl_line_editor_close(struct kl_line_editor *editor);

/* Waits for a line. *line is NUL-terminated text without the line end, valid until the next call.
 */
enum kl_line kl_line_editor_read(struct kl_line_editor *editor, const char **line);

#endif
