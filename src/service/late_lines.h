/*
 * Late lines: lines of system messages that are different in each request, such as the time of day,
 * are moved into a system message of their own before the last message of the user
 * (--late-lines).
 *
 * A chat template puts the tools behind the text of the first system message, so with a clock in it
 * nothing behind the clock is ever found in the prefix cache, and all tools are computed again.
 * With the clock at the end everything before it is. The model reads the same lines, later.
 *
 * Matching takes linear time (grammar/regex.h), and is bounded for each request: by the text that
 * is looked at, by the length of a line, and by the work of new states of the automaton. Lines that
 * are beyond a bound stay where they are, so a client can only make its own request slower.
 *
 * Thread rule: opened by one thread; then used by the worker's only.
 */
#ifndef KL_SERVICE_LATE_LINES_H
#define KL_SERVICE_LATE_LINES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "http/api_error.h"
#include "service/chat_input.h"

/* The longest pattern, and the bytes of its automaton, with which a request may begin and which one
 * request adds at most. */
#define KL_LATE_MAX_PATTERN 1024
#define KL_LATE_MAX_BYTES   ((size_t)2 << 20)
/* Longer lines are not matched. System messages with more text are left as they are. */
#define KL_LATE_MAX_LINE 512
#define KL_LATE_MAX_TEXT ((size_t)256 << 10)

struct kl_late_lines;

/* pattern: a POSIX extended regular expression that is searched for in each line, or the name of a
 * preset: "home-assistant". KL_ERR_INVALID names the fault; KL_ERR_MEMORY. */
enum kl_status kl_late_lines_open(const char *pattern, struct kl_late_lines **late,
                                  struct kl_error *err);
void kl_late_lines_close(struct kl_late_lines *late); /* NULL is allowed */

/* Moves the lines of the system messages before the last message of the user, in their order; sets
 * *n_moved. The input then owns a copy of the texts that changed. A message that has no line left
 * goes, unless it is the first: a conversation without any may get the template's own. */
enum kl_status kl_late_lines_move(struct kl_late_lines *late, struct kl_chat_input *input,
                                  size_t *n_moved, struct kl_api_error *error);

#endif
