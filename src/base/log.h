/*
 * The log: one line per message on stderr, as text
 *   2026-11-22T13:00:00.123Z info    text
 * or as JSON (RFC 8259, one object a line)
 *   {"time":"2026-11-22T13:00:00.123Z","level":"info","message":"text", ...fields}
 *
 * Levels are checked before anything is formatted, so a message below the level costs a compare.
 * Characters that foreign_text.h calls unsafe are escaped, in text also "\\", so that a peer can
 * neither forge lines nor send commands to a terminal. Any thread. Nothing is logged inside a
 * forward pass.
 *
 * Before kl_log_start each line is written by its caller. After it a thread writes, and no caller
 * waits for a terminal, pipe or disk that is slow: lines that do not fit into 256 KB are dropped,
 * counted, and reported when there is room again.
 */
#ifndef KL_BASE_LOG_H
#define KL_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum kl_log_level { KL_LOG_DEBUG, KL_LOG_INFO, KL_LOG_WARNING, KL_LOG_ERROR };
enum kl_log_format { KL_LOG_TEXT, KL_LOG_JSON };

/* Reads "debug", "info", "warning" or "error", in upper or lower case. false: none of them. */
bool kl_log_parse_level(const char *name, enum kl_log_level *level);
bool kl_log_parse_format(const char *name, enum kl_log_format *format); /* "text" or "json" */

/* Of the whole process; KL_LOG_INFO and KL_LOG_TEXT at first. */
void kl_log_set_level(enum kl_log_level level);
void kl_log_set_format(enum kl_log_format format);
bool kl_log_enabled(enum kl_log_level level);

void kl_log(enum kl_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A member of a JSON line in addition to the message; text has the message alone. */
struct kl_log_field {
    const char *name; /* an identifier */
    const char *text; /* NULL: the value is `number` */
    double number;
};
void kl_log_with(enum kl_log_level level, const struct kl_log_field *fields, size_t n_fields,
                 const char *format, ...) __attribute__((format(printf, 4, 5)));

#define kl_debug(...)   (kl_log_enabled(KL_LOG_DEBUG) ? kl_log(KL_LOG_DEBUG, __VA_ARGS__) : (void)0)
#define kl_info(...)    (kl_log_enabled(KL_LOG_INFO) ? kl_log(KL_LOG_INFO, __VA_ARGS__) : (void)0)
#define kl_warning(...) kl_log(KL_LOG_WARNING, __VA_ARGS__)
#define kl_err(...)     kl_log(KL_LOG_ERROR, __VA_ARGS__)

/* Starts the thread that writes lines. To be called once. */
enum kl_status kl_log_start(struct kl_error *err);
/* Writes the remaining lines for at most a second, so that a reader that does not read cannot keep
 * the program from ending; then lines are written by their callers again. Does nothing without
 * kl_log_start. */
void kl_log_stop(void);
/* Returns the number of lines that were dropped since the start of the process. */
uint64_t kl_log_dropped(void);

#endif
