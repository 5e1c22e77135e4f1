#include "console/findings.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/foreign_text.h"
#include "base/json_writer.h"

static const char *const severity_names[] = {"good", "note", "warning", "broken"};

struct kl_finding *kl_found(struct kl_findings *findings, enum kl_severity severity,
                            const char *area, const char *format, ...)
{
    va_list arguments;
    if (findings->n < KL_MAX_FINDINGS)
        findings->n++;
    struct kl_finding *finding = &findings->items[findings->n - 1];
    *finding = (struct kl_finding){.severity = severity, .area = area};
    va_start(arguments, format);
    vsnprintf(finding->text, sizeof finding->text, format, arguments);
    kl_foreign_clean(finding->text); /* it may quote servers, processes and files */
    va_end(arguments);
    return finding;
}

void kl_found_cost(struct kl_finding *finding, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(finding->cost, sizeof finding->cost, format, arguments);
    kl_foreign_clean(finding->cost);
    va_end(arguments);
}

void kl_found_remedy(struct kl_finding *finding, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(finding->remedy, sizeof finding->remedy, format, arguments);
    kl_foreign_clean(finding->remedy);
    va_end(arguments);
}

static size_t count(const struct kl_findings *findings, enum kl_severity severity)
{
    size_t n = 0;
    for (size_t i = 0; i < findings->n; i++)
        n += findings->items[i].severity == severity;
    return n;
}

enum kl_severity kl_findings_worst(const struct kl_findings *findings)
{
    enum kl_severity worst = KL_BROKEN;
    while (worst > KL_GOOD && count(findings, worst) == 0)
        worst--;
    return worst;
}

/* ---- as text --------------------------------------------------------------------------------- */

#define INDENT  18
#define COLUMNS 80

static void print_line(struct kl_printer *out, const char *label, const char *text)
{
    if (text[0] == '\0')
        return;
    kl_print(out, "%*s%-7s ", INDENT - 8, "", label);
    kl_print_words(out, text, INDENT, COLUMNS);
}

static void print_finding(struct kl_printer *out, const struct kl_finding *finding)
{
    const char *severity =
        finding->severity == KL_BROKEN ? "BROKEN" : severity_names[finding->severity];
    kl_print(out, "%-7s %-9s ", severity, finding->area);
    kl_print_words(out, finding->text, INDENT, COLUMNS);
    print_line(out, "cost:", finding->cost);
    print_line(out, "do:", finding->remedy);
}

void kl_findings_text(const struct kl_findings *findings, struct kl_printer *out)
{
    for (int severity = KL_BROKEN; severity >= KL_GOOD; severity--)
        for (size_t i = 0; i < findings->n; i++)
            if (findings->items[i].severity == (enum kl_severity)severity)
                print_finding(out, &findings->items[i]);
    kl_print(out, "\n%zu broken, %zu to fix, %zu to know, %zu good\n", count(findings, KL_BROKEN),
             count(findings, KL_WARNING), count(findings, KL_NOTE), count(findings, KL_GOOD));
}

/* ---- as JSON --------------------------------------------------------------------------------- */

static void write_finding(struct kl_json *j, const struct kl_finding *finding)
{
    kl_json_open(j, NULL, '{');
    kl_json_string(j, "weight", severity_names[finding->severity]);
    kl_json_string(j, "area", finding->area);
    kl_json_string(j, "text", finding->text);
    kl_json_string(j, "cost", finding->cost);
    kl_json_string(j, "remedy", finding->remedy);
    kl_json_close(j, '}');
}

void kl_findings_json(const struct kl_findings *findings, struct kl_printer *out)
{
    struct kl_json writer = {.out = out}, *j = &writer;
    kl_json_open(j, NULL, '{');
    kl_json_string(j, "status", severity_names[kl_findings_worst(findings)]);
    kl_json_open(j, "findings", '[');
    for (int severity = KL_BROKEN; severity >= KL_GOOD; severity--)
        for (size_t i = 0; i < findings->n; i++)
            if (findings->items[i].severity == (enum kl_severity)severity)
                write_finding(j, &findings->items[i]);
    kl_json_close(j, ']');
    kl_json_close(j, '}');
    kl_print(out, "\n");
}
