/*
 * Pages that commands write about what they measured: one HTML file each that needs no other, made
 * of bench_report.html, tables, and plots in SVG.
 */
#ifndef KL_BENCH_HTML_REPORT_H
#define KL_BENCH_HTML_REPORT_H

#include <stddef.h>

#include "base/error.h"
#include "base/printer.h"

#define KL_PLOT_WIDTH  400
#define KL_PLOT_HEIGHT 240

/* The page as it grows. */
struct kl_html {
    struct kl_printer *out;
    const void *subject; /* of the page, for the functions that write its parts */
};

/* printf into the page, without escapes. */
#define KL_HTML(h, ...) kl_print((h)->out, __VA_ARGS__)

/* Names of files and machines are not markup. */
void kl_html_text(struct kl_html *h, const char *text);

/* Three digits: "4.18", "58.2", "441". */
const char *kl_three_digits(double value, char out[32]);

/* A card with a large figure. */
void kl_html_figure(struct kl_html *h, double value, const char *unit, const char *what);

/* A row of two cells; an empty value is "not known". */
void kl_html_fact(struct kl_html *h, const char *name, const char *value);

/* ---- plots: captions and labels are literals ------------------------------------------------- */

void kl_html_open_plot(struct kl_html *h, const char *caption, int height);
void kl_html_close_plot(struct kl_html *h);

struct kl_bar {
    char label[48];
    double value, low, high; /* low == high: no range is drawn */
};

/* Upright bars with a line from low to high. Nothing where all are 0. color: 'a' to 'd'. */
void kl_html_bars(struct kl_html *h, const char *caption, const char *below,
                  const struct kl_bar *bars, size_t n, char color);

/* One bar of several parts, and under it what they are. */
void kl_html_parts(struct kl_html *h, const char *caption, const char *unit,
                   const struct kl_bar *parts, size_t n);

/* y: [n]; NAN is passed over. */
struct kl_curve {
    const char *label;
    const double *y;
};

/* Curves over the same x, ascending, from 0; colours 'a', 'b', ... in turn. Nothing where all are
 * 0 or not known. */
void kl_html_curves(struct kl_html *h, const char *caption, const char *below, const double *x,
                    size_t n, const struct kl_curve *curves, size_t n_curves);

/* ---- the whole ------------------------------------------------------------------------------- */

struct kl_html_marker {
    const char *name; /* as it stands in bench_report.html between double braces */
    void (*write)(struct kl_html *h);
};

/* bench_report.html with what the markers write. */
void kl_html_page(const void *subject, const struct kl_html_marker *markers, size_t n,
                  struct kl_printer *out);

/* Writes such a page to a file, which is there as a whole or not at all. */
enum kl_status kl_html_write(const char *path, const void *subject,
                             const struct kl_html_marker *markers, size_t n, struct kl_error *err);

#endif
