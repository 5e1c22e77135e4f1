/* Threads beside the main one, which alone takes the signals that are sent to the process. */
#ifndef KL_BASE_THREAD_H
#define KL_BASE_THREAD_H

#include <pthread.h>

/* As pthread_create without attributes: 0, or an errno. Signals are blocked in the new thread and
 * in those it starts, but for the ones that a fault of its own causes: blocked, such a one would
 * end the process without its handler (a mapped file that was cut short: SIGBUS). */
int kl_thread_start(pthread_t *thread, void *(*main)(void *), void *argument);

/* The calling thread goes behind those of usual priority where they want the same CPU: it gets
 * about a tenth of it then. Where the system does not allow that, nothing changes. */
void kl_thread_lower_priority(void);

#endif
