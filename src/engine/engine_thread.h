/*
 * The engine thread, and the pool of threads that compute with it: one for all engines of a
 * process, each of which has a model of its own.
 *
 * Engines are put on it by kl_engine_open and taken from it by kl_engine_close, while others run. A
 * turn of the thread is one pass of one engine; those that have work of the most urgent level take
 * turns. A pass has rows of one model, so no text depends on what else is open.
 *
 * Threads: the functions here are called by any one thread at a time.
 */
#ifndef KL_ENGINE_ENGINE_THREAD_H
#define KL_ENGINE_ENGINE_THREAD_H

#include <stddef.h>

#include "base/error.h"

struct kl_engine_thread;

/* Starts the thread. n_threads: of the pool, this one included; engines use at most as many. */
enum kl_status kl_engine_thread_open(size_t n_threads, struct kl_engine_thread **thread,
                                     struct kl_error *err);
/* Ends the thread; its engines are closed before. NULL is allowed. */
void kl_engine_thread_close(struct kl_engine_thread *thread);

#endif
