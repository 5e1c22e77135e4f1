/*
 * The log: one line per message on stderr, as text
 *   2026-11-22T13:00:00.123Z info    text
 * or as JSON (RFC 8259, one object a line)
 *   {"time":"2026-11-22T13:00:00.123Z","level":"info","message":"text", ...fields}
 *
 * Levels are checked before anything is formatted, so a message below the level costs a compare.
 * What foreign_text.h calls unsafe is escaped, in text also "\\", so that a peer can neither forge
 * lines nor write what a terminal takes for a command. Safe from any thread. Nothing
 * logs inside a forward pass.
 *
 * Until kl_log_start each line is its caller's write(2). From then on a thread writes, and nobody
 * waits for a terminal, pipe or disk that does not take them: what does not fit into 256 KB is
 * dropped, counted, and said when there is room again.
 */
#ifndef KL_BASE_LOG_H
#define KL_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum kl_log_level { KL_LOG_DEBUG, KL_LOG_INFO, KL_LOG_WARNING, KL_LOG_ERROR };
enum kl_log_format { KL_LOG_TEXT, KL_LOG_JSON };

/* "debug", "info", "warning" or "error", in any case; false if it is none of them. */
bool kl_log_parse_level(const char *name, enum kl_log_level *level);
bool kl_log_parse_format(const char *name, enum kl_log_format *format); /* "text" or "json" */

/* For the whole process; at first KL_LOG_INFO, KL_LOG_TEXT. */
void kl_log_set_level(enum kl_log_level level);
void kl_log_set_format(enum kl_log_format format);
bool kl_log_enabled(enum kl_log_level level);

void kl_log(enum kl_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What JSON has beside the message; in text the message alone says it. */
struct kl_log_field {
    const char *name; /* an identifier */
    const char *text; /* NULL: number */
    double number;
};
void kl_log_with(enum kl_log_level level, const struct kl_log_field *fields, size_t n_fields,
                 const char *format, ...) __attribute__((format(printf, 4, 5)));

#define kl_debug(...)   (kl_log_enabled(KL_LOG_DEBUG) ? kl_log(KL_LOG_DEBUG, __VA_ARGS__) : (void)0)
#define kl_info(...)    (kl_log_enabled(KL_LOG_INFO) ? kl_log(KL_LOG_INFO, __VA_ARGS__) : (void)0)
#define kl_warning(...) kl_log(KL_LOG_WARNING, __VA_ARGS__)
#define kl_err(...)     kl_log(KL_LOG_ERROR, __VA_ARGS__)

/* Starts the thread that writes; once. */
enum kl_status kl_log_start(struct kl_error *err);
/* Writes what is left, for at most a second (a reader that does not read keeps nobody from ending),
 * and goes back to writing directly. Without kl_log_start: nothing. */
void kl_log_stop(void);
uint64_t kl_log_dropped(void); /* lines, since the start of the process */

#endif
