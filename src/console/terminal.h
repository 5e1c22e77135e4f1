/*
 * Output for people: progress of a long operation on stderr, and text of a model on stdout.
 *
 * Progress is a bar that is redrawn on a terminal; otherwise plain lines, one for each tenth and at
 * most one a second. One thread at a time.
 */
#ifndef KL_CONSOLE_TERMINAL_H
#define KL_CONSOLE_TERMINAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/foreign_text.h"

/* "491.4 MB", "12.0 kB", "7 B": decimal units, as file managers and download pages show them. */
const char *kl_format_bytes(double bytes, char *out, size_t size);
/* "0:07", "12:34", "1:02:03". */
const char *kl_format_duration(double seconds, char *out, size_t size);

/* Whether standard error is a terminal whose end should end the program: not under nohup. After a
 * terminal was closed isatty says no for its descriptors. */
bool kl_is_of_terminal(void);

/* The columns of a terminal; 0: fd is none, or it does not say. */
size_t kl_terminal_columns(int fd);

/* Standard output for text of a model: a terminal receives it through the filter of foreign_text.h,
 * a pipe or a file receives its bytes. */
struct kl_output {
    bool terminal;
    struct kl_foreign_filter filter;
    struct kl_buffer shown; /* a filtered piece */
};
void kl_output_init(struct kl_output *output);
/* Writes a piece of the text into stdout's buffer. KL_ERR_IO: stdout cannot be written. */
enum kl_status kl_output_write(struct kl_output *output, const char *text, size_t len,
                               struct kl_error *err);
/* Ends the text: writes an incomplete character at its end. Another text may begin. */
enum kl_status kl_output_end(struct kl_output *output, struct kl_error *err);
void kl_output_release(struct kl_output *output);

/* Is notified of each kl_progress_update. */
struct kl_progress_observer {
    void (*notify)(void *context, uint64_t done, uint64_t total);
    void *context;
    const _Atomic(bool) *stop; /* becomes true when the operation is to end; NULL: never */
};

struct kl_progress {
    const struct kl_progress_observer *observer; /* or NULL; set it after _begin */
    const char *label;                           /* the caller's; outlives this */
    bool terminal;
    bool shown;            /* the terminal's current line has a bar */
    uint64_t started_ns;   /* of the first update */
    uint64_t started_done; /* done at that time: does not count for the speed */
    uint64_t drawn_ns;     /* time of the last bar or line */
    uint64_t done, total;
    uint64_t tenths; /* the last one that was printed */
};

/* Begins. A terminal shows the label at once, before the first update. */
void kl_progress_begin(struct kl_progress *p, const char *label);
/* done and total in bytes; total 0: not known. Redraws at most 10 times a second. */
void kl_progress_update(struct kl_progress *p, uint64_t done, uint64_t total);
/* Leaves the last state on a line of its own, or nothing if there was no update. */
void kl_progress_end(struct kl_progress *p);

/* Whether the observer wants the operation to end. */
static inline bool kl_progress_is_stopped(const struct kl_progress *p)
{
    return p->observer != NULL && p->observer->stop != NULL && atomic_load(p->observer->stop);
}

#endif
