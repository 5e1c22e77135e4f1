#include "base/thread.h"

#include <signal.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A step of nice is a factor of 1.25 in the share of a CPU (sched(7)): 1.25^10 = 9.3. */
#define LOWER_BY 10

int kl_thread_start(pthread_t *thread, void *(*main)(void *), void *argument)
{
    static const int faults[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int failed = pthread_create(thread, NULL, main, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

void kl_thread_lower_priority(void)
{
    /* nice belongs to the thread on Linux, whatever POSIX says (setpriority(2), "BUGS") */
    id_t self = (id_t)syscall(SYS_gettid);
    int now = getpriority(PRIO_PROCESS, self);
    setpriority(PRIO_PROCESS, self, now + LOWER_BY);
}
