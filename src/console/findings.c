#include "console/findings.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/foreign_text.h"
#include "base/json_writer.h"

static const char *const weight_names[] = {"good", "note", "warning", "broken"};

struct kl_finding *kl_found(struct kl_findings *findings, enum kl_severity weight, const char *area,
                            const char *format, ...)
{
    va_list arguments;
    if (findings->n < KL_MAX_FINDINGS)
        findings->n++;
    struct kl_finding *finding = &findings->items[findings->n - 1];
    *finding = (struct kl_finding){.weight = weight, .area = area};
    va_start(arguments, format);
    vsnprintf(finding->text, sizeof finding->text, format, arguments);
    kl_foreign_clean(finding->text); /* servers, other processes and files have a say in it */
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

static size_t count(const struct kl_findings *findings, enum kl_severity weight)
{
    size_t n = 0;
    for (size_t i = 0; i < findings->n; i++)
        n += findings->items[i].weight == weight;
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

/* Words of a text, broken into lines that begin at INDENT; the cursor is there already. */
static enum kl_status write_words(struct kl_buffer *out, const char *text)
{
    size_t column = INDENT;
    enum kl_status status = KL_OK;
    while (*text != '\0' && status == KL_OK) {
        size_t len = strcspn(text, " ");
        if (column > INDENT && column + 1 + len > COLUMNS) {
            status = kl_buffer_append_format(out, "\n%*s", INDENT, "");
            column = INDENT;
        } else if (column > INDENT) {
            status = kl_buffer_append(out, " ", 1);
            column++;
        }
        if (status == KL_OK)
            status = kl_buffer_append(out, text, len);
        column += len;
        text += len + strspn(text + len, " ");
    }
    return status == KL_OK ? kl_buffer_append(out, "\n", 1) : status;
}

static enum kl_status write_line(struct kl_buffer *out, const char *label, const char *text)
{
    if (text[0] == '\0')
        return KL_OK;
    enum kl_status status = kl_buffer_append_format(out, "%*s%-7s ", INDENT - 8, "", label);
    return status == KL_OK ? write_words(out, text) : status;
}

static enum kl_status write_finding(struct kl_buffer *out, const struct kl_finding *finding)
{
    char weight[16];
    snprintf(weight, sizeof weight, "%s", weight_names[finding->weight]);
    if (finding->weight == KL_BROKEN)
        for (char *c = weight; *c != '\0'; c++)
            *c = (char)toupper((unsigned char)*c);
    enum kl_status status = kl_buffer_append_format(out, "%-7s %-9s ", weight, finding->area);
    if (status == KL_OK)
        status = write_words(out, finding->text);
    if (status == KL_OK)
        status = write_line(out, "cost:", finding->cost);
    return status == KL_OK ? write_line(out, "do:", finding->remedy) : status;
}

enum kl_status kl_findings_text(const struct kl_findings *findings, struct kl_buffer *out)
{
    enum kl_status status = KL_OK;
    for (int weight = KL_BROKEN; weight >= KL_GOOD; weight--)
        for (size_t i = 0; i < findings->n && status == KL_OK; i++)
            if (findings->items[i].weight == (enum kl_severity)weight)
                status = write_finding(out, &findings->items[i]);
    if (status != KL_OK)
        return status;
    return kl_buffer_append_format(out, "\n%zu broken, %zu to mend, %zu to know, %zu good\n",
                                   count(findings, KL_BROKEN), count(findings, KL_WARNING),
                                   count(findings, KL_NOTE), count(findings, KL_GOOD));
}

enum kl_status kl_findings_json(const struct kl_findings *findings, struct kl_buffer *out)
{
    struct kl_json writer = {.out = out}, *j = &writer;
    kl_json_open(j, NULL, '{');
    kl_json_string(j, "status", weight_names[kl_findings_worst(findings)]);
    kl_json_open(j, "findings", '[');
    for (int weight = KL_BROKEN; weight >= KL_GOOD; weight--) {
        for (size_t i = 0; i < findings->n; i++) {
            const struct kl_finding *finding = &findings->items[i];
            if (finding->weight != (enum kl_severity)weight)
                continue;
            kl_json_open(j, NULL, '{');
            kl_json_string(j, "weight", weight_names[weight]);
            kl_json_string(j, "area", finding->area);
            kl_json_string(j, "text", finding->text);
            kl_json_string(j, "cost", finding->cost);
            kl_json_string(j, "remedy", finding->remedy);
            kl_json_close(j, '}');
        }
    }
    kl_json_close(j, ']');
    kl_json_close(j, '}');
    return j->status == KL_OK ? kl_buffer_append(out, "\n", 1) : j->status;
}
