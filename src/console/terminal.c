#include "console/terminal.h"

#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"

#define BAR_CELLS        24
#define REDRAW_NS        100000000u
#define LINE_NS          1000000000u
#define OUTPUT_CAP       ((size_t)16 << 20) /* bytes of one piece */
#define MIN_MEASURED_SEC 0.5                /* earlier a speed is a guess */

bool kl_is_of_terminal(void)
{
    struct sigaction now;
    bool ignored = sigaction(SIGHUP, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
    return !ignored && isatty(STDERR_FILENO) != 0;
}

const char *kl_format_bytes(double bytes, char *out, size_t size)
{
    static const char *const units[] = {"kB", "MB", "GB", "TB"};
    if (bytes < 1000) {
        snprintf(out, size, "%.0f B", bytes);
        return out;
    }
    size_t unit = 0;
    bytes /= 1000;
    /* 999.95 would be printed as 1000.0 */
    for (; bytes >= 999.95 && unit < 3; unit++)
        bytes /= 1000;
    snprintf(out, size, "%.1f %s", bytes, units[unit]);
    return out;
}

const char *kl_format_duration(double seconds, char *out, size_t size)
{
    unsigned long long s = (unsigned long long)(seconds + 0.5);
    if (s >= 3600)
        snprintf(out, size, "%llu:%02llu:%02llu", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(out, size, "%llu:%02llu", s / 60, s % 60);
    return out;
}

size_t kl_terminal_columns(int fd)
{
    struct winsize size = {0};
    return ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

static enum kl_status write_bytes(const char *text, size_t len, struct kl_error *err)
{
    if (fwrite(text, 1, len, stdout) != len)
        return kl_fail_errno(err, "standard output cannot be written");
    return KL_OK;
}

static enum kl_status write_shown(struct kl_output *o, enum kl_status filtered,
                                  struct kl_error *err)
{
    if (filtered != KL_OK)
        return kl_fail(err, filtered, "out of memory while printing %zu bytes", o->shown.len);
    enum kl_status status =
        o->shown.len > 0 ? write_bytes(o->shown.data, o->shown.len, err) : KL_OK;
    kl_buffer_clear(&o->shown);
    return status;
}

void kl_output_init(struct kl_output *o)
{
    *o = (struct kl_output){.terminal = isatty(STDOUT_FILENO) == 1};
    kl_buffer_init(&o->shown, OUTPUT_CAP);
}

enum kl_status kl_output_write(struct kl_output *o, const char *text, size_t len,
                               struct kl_error *err)
{
    if (!o->terminal)
        return write_bytes(text, len, err);
    return write_shown(o, kl_foreign_filter(&o->filter, text, len, &o->shown), err);
}

enum kl_status kl_output_end(struct kl_output *o, struct kl_error *err)
{
    return write_shown(o, kl_foreign_filter_end(&o->filter, &o->shown), err);
}

void kl_output_release(struct kl_output *o)
{
    kl_buffer_release(&o->shown);
}

void kl_progress_begin(struct kl_progress *p, const char *label)
{
    *p = (struct kl_progress){.label = label, .terminal = isatty(STDERR_FILENO) == 1};
    if (p->terminal)
        fprintf(stderr, "%s ...", label);
}

/* "12.3 MB/s  0:31 left" while it runs, "12.3 MB/s" afterwards; empty if the speed is not known. */
static void format_speed(const struct kl_progress *p, char *out, size_t size)
{
    char speed_text[32], left_text[32];
    out[0] = '\0';
    double seconds = kl_seconds_since(p->started_ns);
    uint64_t moved = p->done - p->started_done;
    if (seconds < MIN_MEASURED_SEC || moved == 0)
        return;
    double speed = (double)moved / seconds;
    kl_format_bytes(speed, speed_text, sizeof speed_text);
    if (p->total > p->done)
        snprintf(
            out, size, "  %s/s  %s left", speed_text,
            kl_format_duration((double)(p->total - p->done) / speed, left_text, sizeof left_text));
    else
        snprintf(out, size, "  %s/s", speed_text);
}

static void format_size(const struct kl_progress *p, char *out, size_t size)
{
    char done[32], total[32];
    kl_format_bytes((double)p->done, done, sizeof done);
    if (p->total > 0)
        snprintf(out, size, "%s of %s", done,
                 kl_format_bytes((double)p->total, total, sizeof total));
    else
        snprintf(out, size, "%s", done);
}

static void draw(struct kl_progress *p)
{
    char bar[BAR_CELLS + 1], size[80], speed[80];
    size_t full = p->total > 0 ? (size_t)((double)p->done / (double)p->total * BAR_CELLS) : 0;
    for (size_t i = 0; i < BAR_CELLS; i++)
        bar[i] = i < full ? '#' : '.';
    bar[BAR_CELLS] = '\0';
    format_size(p, size, sizeof size);
    format_speed(p, speed, sizeof speed);
    /* \033[K erases the rest of an earlier, longer line */
    fprintf(stderr, "\r%s [%s] %s%s\033[K", p->label, bar, size, speed);
    p->shown = true;
}

static void print_line(const struct kl_progress *p)
{
    char size[80], speed[80];
    format_size(p, size, sizeof size);
    format_speed(p, speed, sizeof speed);
    fprintf(stderr, "%s: %s%s\n", p->label, size, speed);
}

void kl_progress_update(struct kl_progress *p, uint64_t done, uint64_t total)
{
    uint64_t now = kl_now_ns();
    bool first = p->started_ns == 0;
    if (p->observer != NULL)
        p->observer->notify(p->observer->context, done, total);
    if (first) {
        p->started_ns = now;
        p->started_done = done;
    }
    if (done < p->started_done) /* the source began again */
        p->started_done = done;
    p->done = total > 0 && done > total ? total : done;
    p->total = total;
    if (p->terminal) {
        if (!first && now - p->drawn_ns < REDRAW_NS && done != total)
            return;
        p->drawn_ns = now;
        draw(p);
        return;
    }
    uint64_t tenths = total > 0 ? (uint64_t)((double)p->done / (double)total * 10) : 0;
    bool last = total > 0 && p->done == total;
    bool due = tenths > p->tenths && now - p->drawn_ns >= LINE_NS;
    if (first || due || (last && tenths > p->tenths)) {
        p->tenths = tenths;
        p->drawn_ns = now;
        print_line(p);
    }
}

void kl_progress_end(struct kl_progress *p)
{
    if (!p->terminal)
        return;
    if (p->shown) {
        draw(p);
        fputc('\n', stderr);
    } else {
        fprintf(stderr, "\r\033[K");
    }
    p->shown = false;
}
