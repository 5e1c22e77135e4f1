/*
 * The second half of base/log.h: where complete lines go. At first kl_log_write writes to stderr
 * itself; once the thread runs, it puts the line into a buffer and returns.
 *
 * Any thread. It formats nothing and knows no levels.
 */
#ifndef KL_BASE_LOG_WRITER_H
#define KL_BASE_LOG_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define KL_LOG_LINE 2048 /* bytes of the longest line, with its end */

/* line[0..len) ends with a line end; len <= KL_LOG_LINE. A line that does not fit into the buffer
 * is dropped. */
void kl_log_write(const char *line, size_t len);

/* Starts the thread; kl_log_stop ends it. report: called by the thread, without locks, when lines
 * were dropped and stderr takes lines again; it may log. */
enum kl_status kl_log_writer_start(void (*report)(uint64_t dropped), struct kl_error *err);

#endif
