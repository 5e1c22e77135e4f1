#include "bench/html_report.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

extern const char kl_bench_page[]; /* bench_report.html */

void kl_html_text(struct kl_html *h, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '<')
            KL_HTML(h, "&lt;");
        else if (*text == '&')
            KL_HTML(h, "&amp;");
        else if (*text == '"')
            KL_HTML(h, "&quot;");
        else
            KL_HTML(h, "%c", *text);
    }
}

const char *kl_three_digits(double value, char out[32])
{
    snprintf(out, 32, "%.*f", value < 9.995 ? 2 : value < 99.95 ? 1 : 0, value);
    return out;
}

/* ---- plots ----------------------------------------------------------------------------------- */

/* Returns a round number (1, 2 or 5 times a power of ten), at most five of which reach the largest
 * value. */
static double grid_step(double largest)
{
    double power = pow(10, floor(log10(largest / 5)));
    double digits = largest / 5 / power;
    return power * (digits <= 1 ? 1 : digits <= 2 ? 2 : digits <= 5 ? 5 : 10);
}

void kl_html_open_plot(struct kl_html *h, const char *caption, int height)
{
    KL_HTML(h, "<figure class=\"card\"><figcaption>%s</figcaption>\n", caption);
    KL_HTML(h, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", KL_PLOT_WIDTH,
            height, caption);
}

void kl_html_close_plot(struct kl_html *h)
{
    KL_HTML(h, "</svg></figure>\n");
}

void kl_html_bars(struct kl_html *h, const char *caption, const char *below,
                  const struct kl_bar *bars, size_t n, char color)
{
    const double left = 44, top = 18, bottom = KL_PLOT_HEIGHT - 40, right = KL_PLOT_WIDTH - 4;
    double largest = 0;
    char text[32];
    for (size_t i = 0; i < n; i++)
        largest = fmax(largest, fmax(bars[i].value, bars[i].high));
    if (n == 0 || !(largest > 0))
        return;
    double scale = (bottom - top) / largest, step = grid_step(largest);
    kl_html_open_plot(h, caption, KL_PLOT_HEIGHT);
    for (double at = 0; at <= largest * 1.001; at += step) {
        double y = bottom - at * scale;
        KL_HTML(h, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>", left, y, right);
        KL_HTML(h, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n", left - 6, y + 4,
                at);
    }
    double slot = (right - left) / (double)n;
    double width = fmin(slot * 0.7, 64);
    for (size_t i = 0; i < n; i++) {
        double middle = left + slot * ((double)i + 0.5), y = bottom - bars[i].value * scale;
        double above = fmin(y, bottom - bars[i].high * scale);
        KL_HTML(h, "<rect class=\"%c\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>",
                color, middle - width / 2, y, width, bottom - y);
        if (bars[i].high > bars[i].low)
            KL_HTML(h, "<path class=\"range\" d=\"M%.1f %.1fV%.1f\"/>", middle,
                    bottom - bars[i].low * scale, bottom - bars[i].high * scale);
        if (bars[i].value > 0)
            KL_HTML(h,
                    "<text class=\"value\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>",
                    middle, above - 5, kl_three_digits(bars[i].value, text));
        KL_HTML(h, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n", middle,
                bottom + 16, bars[i].label);
    }
    KL_HTML(h, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", (left + right) / 2,
            KL_PLOT_HEIGHT - 6, below);
    kl_html_close_plot(h);
}

void kl_html_parts(struct kl_html *h, const char *caption, const char *unit,
                   const struct kl_bar *parts, size_t n)
{
    double all = 0, at = 0;
    char text[32];
    for (size_t i = 0; i < n; i++)
        all += parts[i].value;
    if (!(all > 0))
        return;
    kl_html_open_plot(h, caption, 56 + 22 * (int)n);
    for (size_t i = 0; i < n; i++) {
        double width = parts[i].value / all * KL_PLOT_WIDTH;
        int y = 66 + 22 * (int)i;
        KL_HTML(h, "<rect class=\"%c\" x=\"%.1f\" y=\"4\" width=\"%.1f\" height=\"36\"/>",
                "abcd"[i % 4], at, width);
        KL_HTML(h, "<rect class=\"%c\" x=\"0\" y=\"%d\" width=\"12\" height=\"12\"/>",
                "abcd"[i % 4], y - 11);
        KL_HTML(h, "<text x=\"20\" y=\"%d\">%s</text>", y, parts[i].label);
        KL_HTML(h, "<text class=\"value\" x=\"%d\" y=\"%d\" text-anchor=\"end\">%s %s</text>\n",
                KL_PLOT_WIDTH, y, kl_three_digits(parts[i].value, text), unit);
        at += width;
    }
    kl_html_close_plot(h);
}

/* Draws one path through all known values. */
static void draw_curve(struct kl_html *h, char color, const double *x, const double *y, size_t n,
                       double left, double bottom, double x_scale, double y_scale)
{
    char step = 'M';
    KL_HTML(h, "<path class=\"curve %cc\" d=\"", color);
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(y[i]))
            continue;
        KL_HTML(h, "%c%.1f %.1f", step, left + x[i] * x_scale, bottom - y[i] * y_scale);
        step = 'L';
    }
    KL_HTML(h, "\"/>\n");
}

void kl_html_curves(struct kl_html *h, const char *caption, const char *below, const double *x,
                    size_t n, const struct kl_curve *curves, size_t n_curves)
{
    const double left = 44, top = 26, bottom = KL_PLOT_HEIGHT - 40, right = KL_PLOT_WIDTH - 12;
    double largest = 0, last = n > 0 ? x[n - 1] : 0;
    for (size_t k = 0; k < n_curves; k++)
        for (size_t i = 0; i < n; i++)
            largest = fmax(largest, curves[k].y[i]); /* fmax ignores a NAN */
    if (!(largest > 0) || !(last > 0))
        return;
    double y_scale = (bottom - top) / largest, x_scale = (right - left) / last;
    kl_html_open_plot(h, caption, KL_PLOT_HEIGHT);
    double step = grid_step(largest);
    for (double at = 0; at <= largest * 1.001; at += step) {
        double y = bottom - at * y_scale;
        KL_HTML(h, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/>", left, y, right);
        KL_HTML(h, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n", left - 6, y + 4,
                at);
    }
    step = grid_step(last);
    for (double at = 0; at <= last * 1.001; at += step)
        KL_HTML(h, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%g</text>\n",
                left + at * x_scale, bottom + 16, at);
    for (size_t k = 0; k < n_curves; k++) {
        double legend = left + 120 * (double)k;
        KL_HTML(h, "<rect class=\"%c\" x=\"%.1f\" y=\"4\" width=\"12\" height=\"12\"/>",
                "abcd"[k % 4], legend);
        KL_HTML(h, "<text x=\"%.1f\" y=\"15\">%s</text>\n", legend + 18, curves[k].label);
        draw_curve(h, "abcd"[k % 4], x, curves[k].y, n, left, bottom, x_scale, y_scale);
    }
    KL_HTML(h, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", (left + right) / 2,
            KL_PLOT_HEIGHT - 6, below);
    kl_html_close_plot(h);
}

/* ---- the rest of the page -------------------------------------------------------------------- */

void kl_html_figure(struct kl_html *h, double value, const char *unit, const char *what)
{
    char text[32];
    KL_HTML(h, "<div class=\"card\"><b>%s <small>%s</small></b><span>%s</span></div>\n",
            kl_three_digits(value, text), unit, what);
}

void kl_html_fact(struct kl_html *h, const char *name, const char *value)
{
    if (value[0] == '\0')
        value = "not known";
    KL_HTML(h, "<tr><td>%s</td><td>", name);
    kl_html_text(h, value);
    KL_HTML(h, "</td></tr>\n");
}

void kl_html_page(const void *subject, const struct kl_html_marker *markers, size_t n,
                  struct kl_printer *out)
{
    struct kl_html h = {.out = out, .subject = subject};
    const char *at = kl_bench_page;
    for (const char *open; (open = strstr(at, "{{")) != NULL;) {
        KL_HTML(&h, "%.*s", (int)(open - at), at);
        const char *name = open + 2;
        size_t len = strcspn(name, "}");
        for (size_t i = 0; i < n; i++)
            if (strlen(markers[i].name) == len && strncmp(markers[i].name, name, len) == 0)
                markers[i].write(&h);
        at = name + len + 2;
    }
    KL_HTML(&h, "%s", at);
}

/* ---- the file -------------------------------------------------------------------------------- */

static enum kl_status write_all(int fd, const char *data, size_t len, const char *path,
                                struct kl_error *err)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return kl_fail_errno(err, "cannot write the report %s", path);
        data += n;
        len -= (size_t)n;
    }
    return KL_OK;
}

enum kl_status kl_html_write(const char *path, const void *subject,
                             const struct kl_html_marker *markers, size_t n_markers,
                             struct kl_error *err)
{
    char temporary[PATH_MAX];
    int n = snprintf(temporary, sizeof temporary, "%s.%ld.part", path, (long)getpid());
    if (n < 0 || (size_t)n >= sizeof temporary)
        return kl_fail(err, KL_ERR_INVALID, "the path of the report is too long: %.100s...", path);
    struct kl_printer html;
    kl_printer_init(&html, (size_t)4 << 20); /* about 30 KB */
    int fd = -1;
    kl_html_page(subject, markers, n_markers, &html);
    enum kl_status status = html.status;
    if (status != KL_OK)
        kl_fail(err, status, "the report does not fit into memory");
    if (status == KL_OK) {
        fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd < 0)
            status = kl_fail_errno(err, "cannot write the report %s", path);
    }
    if (status == KL_OK)
        status = write_all(fd, html.text.data, html.text.len, path, err);
    if (status == KL_OK && fsync(fd) != 0)
        status = kl_fail_errno(err, "cannot write the report %s to the disk", path);
    if (status == KL_OK && rename(temporary, path) != 0)
        status = kl_fail_errno(err, "cannot rename %s to %s", temporary, path);
    if (fd >= 0) {
        close(fd);
        if (status != KL_OK)
            unlink(temporary);
    }
    kl_printer_release(&html);
    return status;
}
