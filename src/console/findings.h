/*
 * The findings of `kinglet doctor`: each says what was measured, what that costs, and how to fix
 * it.
 *
 * One thread at a time. The texts may contain bytes of servers, processes and files; they are
 * cleaned as foreign_text.h says.
 */
#ifndef KL_CONSOLE_FINDINGS_H
#define KL_CONSOLE_FINDINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/printer.h"

enum kl_severity { KL_GOOD, KL_NOTE, KL_WARNING, KL_BROKEN };

#define KL_MAX_FINDINGS 100

struct kl_finding {
    enum kl_severity severity;
    const char *area; /* "cpu", "memory", ...; a literal */
    char text[400];
    char cost[200];   /* empty: none, or not known */
    char remedy[400]; /* empty: none */
};

struct kl_findings {
    struct kl_finding items[KL_MAX_FINDINGS];
    size_t n;
};

/* Adds a finding, which is valid as long as *findings. Beyond KL_MAX_FINDINGS it overwrites the
 * last one. */
struct kl_finding *kl_found(struct kl_findings *findings, enum kl_severity severity,
                            const char *area, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void kl_found_cost(struct kl_finding *finding, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void kl_found_remedy(struct kl_finding *finding, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The worst severity of all; KL_GOOD if there are no findings. */
enum kl_severity kl_findings_worst(const struct kl_findings *findings);

/* Print the findings, the worst first, otherwise in the order in which they were added: as text, 80
 * columns wide, or as JSON:
 * {"status":"warning","findings":[{"weight","area","text","cost","remedy"}]}. */
void kl_findings_text(const struct kl_findings *findings, struct kl_printer *out);
void kl_findings_json(const struct kl_findings *findings, struct kl_printer *out);

#endif
