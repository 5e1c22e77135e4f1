/*
 * The engine thread: steps while there is work, sleep otherwise.
 */
#ifndef KL_ENGINE_ENGINE_LOOP_H
#define KL_ENGINE_ENGINE_LOOP_H

/* The thread's function; argument: a struct kl_engine. Returns when closing is set, after every
 * request has ended. */
void *kl_engine_loop(void *argument);

#endif
