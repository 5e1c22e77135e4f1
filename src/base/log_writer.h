/* Inside the log: where its lines go. Callers hand over whole lines, and never wait for stderr
 * while the thread runs. */
#ifndef KL_BASE_LOG_WRITER_H
#define KL_BASE_LOG_WRITER_H

#include <stddef.h>

#define KL_LOG_LINE 2048 /* longest line, with its end */

void kl_log_write(const char *line, size_t len); /* len <= KL_LOG_LINE */

#endif
