/*
 * Status codes and error texts.
 *
 * A function that can fail returns an enum kl_status and fills the caller's struct kl_error when
 * it is not KL_OK. The text is one sentence for the user: it names the thing (file, tensor, field,
 * option), what was expected, what was found and, if possible, what to do. It is one line of valid
 * UTF-8, cleaned by kl_foreign_clean. Errors are values: nothing here allocates, logs or exits. Any
 * thread.
 */
#ifndef KL_BASE_ERROR_H
#define KL_BASE_ERROR_H

#include <stdarg.h>

enum kl_status {
    KL_OK = 0,
    KL_ERR_INVALID,     /* an argument, option or request field the caller can correct */
    KL_ERR_FORMAT,      /* a file's content is damaged or not what it claims to be */
    KL_ERR_UNSUPPORTED, /* well-formed, but not supported (a type, an architecture) */
    KL_ERR_NOT_FOUND,   /* the file, model or name does not exist */
    KL_ERR_IO,          /* a system call failed: read, write, map, socket */
    KL_ERR_MEMORY,      /* an allocation failed or a memory budget is used up */
    KL_ERR_LIMIT,       /* over one of the program's own caps (context length, body size, queue) */
    KL_ERR_BUSY,        /* no room now; a later attempt may succeed */
    KL_ERR_CANCELLED    /* stopped because the caller asked for it */
};

struct kl_error {
    enum kl_status status;
    char text[512]; /* NUL-terminated; empty while status is KL_OK */
};

/* Fills *err (NULL: the text is not wanted) and returns status, so that a failing line reads:
 * return kl_fail(err, KL_ERR_FORMAT, "tensor %s: ...", name); */
enum kl_status kl_fail(struct kl_error *err, enum kl_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Like kl_fail with KL_ERR_IO (KL_ERR_MEMORY for ENOMEM, KL_ERR_NOT_FOUND for ENOENT); appends
 * ": " and the text of the present errno. */
enum kl_status kl_fail_errno(struct kl_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* KL_ERR_MEMORY with the usual text: `bytes` bytes for `what` could not be allocated. */
enum kl_status kl_fail_memory(struct kl_error *err, const char *what, unsigned long long bytes);

/* Puts "prefix: " before the text of an error, for callers that know the name of the file. Returns
 * no status: the caller passes that of the failed call on. err: may be NULL. */
void kl_error_prefix(struct kl_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The short lower-case name of a status, for logs and JSON: "invalid", "io", ... */
const char *kl_status_name(enum kl_status status);

#endif
