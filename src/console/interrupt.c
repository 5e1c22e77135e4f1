#include "console/interrupt.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>

static volatile sig_atomic_t interrupted;
static sigset_t while_waiting;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

void kl_interrupt_block(void)
{
    sigset_t blocked;
    struct sigaction action = {.sa_handler = on_interrupt};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGINT);
    pthread_sigmask(SIG_BLOCK, &blocked, &while_waiting);
    sigdelset(&while_waiting, SIGINT);
}

bool kl_interrupt_wait(int fd)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    for (;;) {
        int n = ppoll(&wait, 1, NULL, &while_waiting);
        if (interrupted) {
            interrupted = 0;
            return false;
        }
        if (n > 0 || (n < 0 && errno != EINTR))
            return true;
    }
}

bool kl_interrupt_pending(void)
{
    sigset_t pending;
    return sigpending(&pending) == 0 && sigismember(&pending, SIGINT) == 1;
}

void kl_interrupt_die(void)
{
    sigset_t interrupt;
    fflush(stdout);
    signal(SIGINT, SIG_DFL);
    raise(SIGINT);
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    pthread_sigmask(SIG_UNBLOCK, &interrupt, NULL); /* does not return */
}
