/*
 * The findings of `kinglet doctor`: each has a text (what was measured), a severity, a cost and a
 * remedy.
 *
 * The structs are the caller's; nothing is allocated, and texts that are too long are truncated.
 * One thread at a time. All texts are cleaned of foreign control characters. It measures nothing.
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

/* Adds a finding and returns it. area: a literal. After KL_MAX_FINDINGS the last one is
 * overwritten. */
struct kl_finding *kl_found(struct kl_findings *findings, enum kl_severity severity,
                            const char *area, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Set the cost and the remedy of a finding. */
void kl_found_cost(struct kl_finding *finding, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void kl_found_remedy(struct kl_finding *finding, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Returns the highest severity of all findings; KL_GOOD if there are none. */
enum kl_severity kl_findings_worst(const struct kl_findings *findings);

/* Prints the findings, the most severe first, otherwise in the order of kl_found; as text, 80
 * columns wide, or as JSON:
 * {"status":"warning","findings":[{"weight","area","text","cost","remedy"}]}. */
void kl_findings_text(const struct kl_findings *findings, struct kl_printer *out);
void kl_findings_json(const struct kl_findings *findings, struct kl_printer *out);

#endif
