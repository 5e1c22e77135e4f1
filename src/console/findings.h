/*
 * What `kinglet doctor` found: each finding says what was measured, what that costs, and what
 * mends it.
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
    char cost[200];   /* empty: nothing, or not known */
    char remedy[400]; /* empty: there is none */
};

struct kl_findings {
    struct kl_finding items[KL_MAX_FINDINGS];
    size_t n;
};

/* Adds one; valid until the struct goes. More than KL_MAX_FINDINGS: the last one is overwritten. */
struct kl_finding *kl_found(struct kl_findings *findings, enum kl_severity severity,
                            const char *area, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void kl_found_cost(struct kl_finding *finding, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void kl_found_remedy(struct kl_finding *finding, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The heaviest weight of all; KL_GOOD when there is nothing. */
enum kl_severity kl_findings_worst(const struct kl_findings *findings);

/* The heaviest first, otherwise in the order in which they were found; as text, 80 columns wide,
 * or as JSON: {"status":"warning","findings":[{"weight","area","text","cost","remedy"}]}. */
void kl_findings_text(const struct kl_findings *findings, struct kl_printer *out);
void kl_findings_json(const struct kl_findings *findings, struct kl_printer *out);

#endif
