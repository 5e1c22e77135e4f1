/* The monotonic clock, in nanoseconds: for durations and deadlines, never for dates. Any thread. */
#ifndef KL_BASE_CLOCK_H
#define KL_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t kl_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline double kl_seconds_since(uint64_t start_ns)
{
    return (double)(kl_now_ns() - start_ns) * 1e-9;
}

#endif
