/*
 * Status codes and error texts.
 *
 * A function that can fail returns an enum kl_status and fills the caller's struct kl_error when
 * it is not KL_OK. The text is one sentence for a person: it names the thing (file, tensor, field,
 * option), what was expected, what was found and, where there is one, the way out. It is one line
 * of valid UTF-8: kl_foreign_clean has been over it. Errors are values: nothing here allocates,
 * logs or exits. Safe from any thread.
 */
#ifndef KL_BASE_ERROR_H
#define KL_BASE_ERROR_H

#include <stdarg.h>

enum kl_status {
    KL_OK = 0,
    KL_ERR_INVALID,     /* an argument, option or request field the caller can correct */
    KL_ERR_FORMAT,      /* a file's content is damaged or not what it claims to be */
    KL_ERR_UNSUPPORTED, /* well-formed, but something we do not do (a type, an architecture) */
    KL_ERR_NOT_FOUND,   /* a file, model or name that does not exist */
    KL_ERR_IO,          /* the system refused: read, write, map, socket */
    KL_ERR_MEMORY,      /* an allocation failed or a memory budget is used up */
    KL_ERR_LIMIT,       /* over one of our own caps (context length, body size, queue) */
    KL_ERR_BUSY,        /* no room now, worth trying later */
    KL_ERR_CANCELLED    /* given up because the caller asked for it */
};

struct kl_error {
    enum kl_status status;
    char text[512]; /* NUL-terminated; empty while status is KL_OK */
};

/* Fills *err (which may be NULL: then only the status counts) and returns status, so that a
 * failing line reads: return kl_fail(err, KL_ERR_FORMAT, "tensor %s: ...", name); */
enum kl_status kl_fail(struct kl_error *err, enum kl_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As kl_fail with KL_ERR_IO (KL_ERR_MEMORY for ENOMEM, KL_ERR_NOT_FOUND for ENOENT); appends
 * ": " and the text of errno as it is when called. */
enum kl_status kl_fail_errno(struct kl_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The usual text for a failed allocation of `bytes` bytes for `what`. */
enum kl_status kl_fail_memory(struct kl_error *err, const char *what, unsigned long long bytes);

/* Puts "prefix: " before a text that is already there; for callers that know the file's name. err
 * may be NULL: no status is returned, that of the failed call is the one to pass on. */
void kl_error_prefix(struct kl_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A short lower-case name of a status, for logs and JSON: "invalid", "io", ... */
const char *kl_status_name(enum kl_status status);

#endif
