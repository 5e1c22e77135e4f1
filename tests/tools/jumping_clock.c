/*
 * A library for LD_PRELOAD that makes the wall clock jump by a day, a year or some seconds, forward
 * and back, each time it is read. Computers without a battery-backed clock do this once, when they
 * get the time from the network. With KINGLET_CLOCK_BEHIND the clock is late by that number of
 * seconds instead, as on such a computer before. The monotonic clock is not changed.
 */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static time_t jump(void)
{
    static const time_t jumps[] = {0, 86400, -86400, 7, 366 * 86400L, -366 * 86400L, -7};
    static atomic_uint n;
    const char *behind = getenv("KINGLET_CLOCK_BEHIND");
    if (behind != NULL)
        return -(time_t)atol(behind);
    return jumps[atomic_fetch_add(&n, 1) % (sizeof jumps / sizeof jumps[0])];
}

int clock_gettime(clockid_t id, struct timespec *now)
{
    static int (*next)(clockid_t, struct timespec *);
    if (next == NULL)
        next = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = next(id, now);
    if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        now->tv_sec += jump();
    return result;
}

time_t time(time_t *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out != NULL)
        *out = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}
