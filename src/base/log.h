/*
 * The log: one line per message on stderr, "2026-11-22T13:00:00.123Z info  text".
 *
 * Levels are checked before anything is formatted, so a message below the level costs a compare.
 * Control bytes in the text are escaped: a peer can not forge lines. Safe from any thread (one
 * write(2) per line). Nothing logs inside a forward pass.
 */
#ifndef KL_BASE_LOG_H
#define KL_BASE_LOG_H

#include <stdbool.h>

enum kl_log_level { KL_LOG_DEBUG, KL_LOG_INFO, KL_LOG_WARNING, KL_LOG_ERROR };

/* "debug", "info", "warning" or "error", in any case; false if it is none of them. */
bool kl_log_parse_level(const char *name, enum kl_log_level *level);

/* Sets the level for the whole process; the default is KL_LOG_INFO. */
void kl_log_set_level(enum kl_log_level level);
bool kl_log_enabled(enum kl_log_level level);

void kl_log(enum kl_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define kl_debug(...)   (kl_log_enabled(KL_LOG_DEBUG) ? kl_log(KL_LOG_DEBUG, __VA_ARGS__) : (void)0)
#define kl_info(...)    (kl_log_enabled(KL_LOG_INFO) ? kl_log(KL_LOG_INFO, __VA_ARGS__) : (void)0)
#define kl_warning(...) kl_log(KL_LOG_WARNING, __VA_ARGS__)
#define kl_err(...)     kl_log(KL_LOG_ERROR, __VA_ARGS__)

#endif
