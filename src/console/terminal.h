/*
 * Showing on stderr how a long step goes on: a bar that is redrawn on a terminal, plain lines
 * otherwise (one for every tenth, and not more than one a second); and on stdout what a model
 * wrote.
 */
#ifndef KL_CONSOLE_TERMINAL_H
#define KL_CONSOLE_TERMINAL_H

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

/* Standard output for text that a model wrote: a terminal gets what foreign_text.h leaves of it, a
 * pipe or a file its bytes. */
struct kl_output {
    bool terminal;
    struct kl_foreign_filter filter;
    struct kl_buffer shown; /* a piece of it */
};
void kl_output_init(struct kl_output *output);
/* Writes a piece, as fwrite does. */
enum kl_status kl_output_write(struct kl_output *output, const char *text, size_t len,
                               struct kl_error *err);
/* The text is over; another one may begin. */
enum kl_status kl_output_end(struct kl_output *output, struct kl_error *err);
void kl_output_release(struct kl_output *output);

/* Somebody else who wants to know; called as often as kl_progress_update is. */
struct kl_progress_observer {
    void (*see)(void *context, uint64_t done, uint64_t total);
    void *context;
};

struct kl_progress {
    const struct kl_progress_observer *observer; /* NULL; to be set after _begin */
    const char *label;                           /* the caller's; lives as long as this */
    bool terminal;
    bool shown;            /* something stands on the terminal's current line */
    uint64_t started_ns;   /* of the first update */
    uint64_t started_done; /* what was there already: does not count as speed */
    uint64_t drawn_ns;     /* last bar or line */
    uint64_t done, total;
    uint64_t tenths; /* last one that was said */
};

/* On a terminal the label is shown at once, so that a slow first answer is no silence. */
void kl_progress_begin(struct kl_progress *p, const char *label);
/* done and total in bytes; total 0: unknown. Draws at most 10 times a second. */
void kl_progress_update(struct kl_progress *p, uint64_t done, uint64_t total);
/* Leaves the last state on its own line, or nothing if there was no update. */
void kl_progress_end(struct kl_progress *p);

#endif
