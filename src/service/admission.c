#include "service/admission.h"

#include <math.h>

#define UNKNOWN_WAIT 5 /* seconds, until something was measured */

unsigned kl_retry_after(double seconds)
{
    double whole = ceil(seconds);
    if (!(whole > 1))
        return 1;
    return whole < KL_MAX_RETRY_AFTER ? (unsigned)whole : KL_MAX_RETRY_AFTER;
}

enum kl_verdict kl_admission_decide(const struct kl_engine_stats *stats,
                                    const struct kl_admission_request *a, unsigned *retry_after)
{
    double wait = stats->expected_wait[a->priority];
    size_t taken = stats->running + stats->queued, room = stats->parallel + stats->queue_size;
    if (taken + a->n_requests > room) {
        /* The queue has room for one more each time a queued request begins. The expected wait is
         * the time until all of them have begun; only this fraction of them must. */
        size_t needed = taken + a->n_requests - room;
        if (!(wait > 0))
            wait = UNKNOWN_WAIT;
        else
            wait *= (double)needed / (double)(stats->queued + 1);
        *retry_after = kl_retry_after(wait);
        return KL_REFUSED_FULL;
    }
    if (a->max_wait_seconds > 0 && wait > a->max_wait_seconds) {
        *retry_after = kl_retry_after(wait - a->max_wait_seconds);
        return KL_REFUSED_WAIT;
    }
    if (a->deadline_seconds > 0 && wait > a->deadline_seconds) {
        *retry_after = kl_retry_after(wait - a->deadline_seconds);
        return KL_REFUSED_DEADLINE;
    }
    *retry_after = 0;
    return KL_ADMITTED;
}
