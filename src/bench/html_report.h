/*
 * HTML reports of measurements: one file without dependencies, made of the template
 * bench_report.html, tables, and plots in SVG.
 *
 * The page collects in the caller's printer, which keeps the first failure. One thread at a time.
 * Captions, labels and names are literals and are not escaped, all other text is (kl_html_text).
 */
#ifndef KL_BENCH_HTML_REPORT_H
#define KL_BENCH_HTML_REPORT_H

#include <stddef.h>

#include "base/error.h"
#include "base/printer.h"

#define KL_PLOT_WIDTH  400
#define KL_PLOT_HEIGHT 240

/* A page that is being written. */
struct kl_html {
    struct kl_printer *out;
    const void *subject; /* the measurement; for the functions of the markers */
};

/* Adds text as printf formats it, without escapes. */
#define KL_HTML(h, ...) kl_print((h)->out, __VA_ARGS__)

/* Adds text with markup escaped: names of files, models and computers. */
void kl_html_text(struct kl_html *h, const char *text);

/* Formats a number with three digits: "4.18", "58.2", "441". Returns out. */
const char *kl_three_digits(double value, char out[32]);

/* Adds a card with a large figure. */
void kl_html_figure(struct kl_html *h, double value, const char *unit, const char *what);

/* Adds a table row of two cells; an empty value becomes "not known". */
void kl_html_fact(struct kl_html *h, const char *name, const char *value);

/* ---- plots ----------------------------------------------------------------------------------- */

/* The frame of a plot, KL_PLOT_WIDTH wide. Plots of no data add nothing. */

void kl_html_open_plot(struct kl_html *h, const char *caption, int height);
void kl_html_close_plot(struct kl_html *h);

struct kl_bar {
    char label[48];
    double value, low, high; /* low == high: no range is drawn */
};

/* Adds vertical bars with a line from low to high. below: the label of the x axis. color: 'a' to
 * 'd'. */
void kl_html_bars(struct kl_html *h, const char *caption, const char *below,
                  const struct kl_bar *bars, size_t n, char color);

/* Adds one horizontal bar of several parts, and their labels below it. */
void kl_html_parts(struct kl_html *h, const char *caption, const char *unit,
                   const struct kl_bar *parts, size_t n);

/* y: [n]; NANs are skipped. */
struct kl_curve {
    const char *label;
    const double *y;
};

/* Adds curves over the same x[0..n), ascending from 0, in the colours 'a', 'b', ... */
void kl_html_curves(struct kl_html *h, const char *caption, const char *below, const double *x,
                    size_t n, const struct kl_curve *curves, size_t n_curves);

/* ---- the page and the file ------------------------------------------------------------------- */

struct kl_html_marker {
    const char *name; /* in bench_report.html, between double braces */
    void (*write)(struct kl_html *h);
};

/* Prints bench_report.html, with each marker replaced by what its function writes. */
void kl_html_page(const void *subject, const struct kl_html_marker *markers, size_t n,
                  struct kl_printer *out);

/* Writes such a page to a file. A failure leaves the former file, or none. */
enum kl_status kl_html_write(const char *path, const void *subject,
                             const struct kl_html_marker *markers, size_t n, struct kl_error *err);

#endif
