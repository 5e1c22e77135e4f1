/*
 * Starts threads in addition to the main one, which alone receives the signals that are sent to the
 * process. Any thread may call these functions.
 */
#ifndef KL_BASE_THREAD_H
#define KL_BASE_THREAD_H

#include <pthread.h>

/* Like pthread_create without attributes: 0, or an errno. The new thread, and those it starts,
 * block all signals but those of its own faults: if blocked, such a signal (SIGBUS, when a mapped
 * file was truncated) would end the process without calling the handler. */
int kl_thread_start(pthread_t *thread, void *(*main)(void *), void *argument);

/* Lowers the priority of the calling thread: where it competes with threads of normal priority for
 * a CPU, it gets about a tenth of it. Has no effect where the system does not allow it. */
void kl_thread_lower_priority(void);

#endif
