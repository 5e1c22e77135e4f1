/*
 * The event loop: descriptors, timers and signals, each with a function to call.
 *
 * The only interface of libevent's loop for the rooms above http/. A watch belongs to its
 * creator, which removes it before the loop is closed.
 *
 * Thread rule: one thread opens the loop, runs it and owns all watches. Nothing here may be called
 * from another thread or from a signal handler.
 */
#ifndef KL_HTTP_LOOP_H
#define KL_HTTP_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct kl_loop;
struct kl_watch;

/* source: the descriptor or the number of the signal; -1 of a timer. */
typedef void kl_watch_call(void *context, int source);

enum kl_status kl_loop_open(struct kl_loop **loop, struct kl_error *err);
/* NULL is allowed. */
void kl_loop_close(struct kl_loop *loop);

/* Handles events until kl_loop_stop is called. */
enum kl_status kl_loop_run(struct kl_loop *loop, struct kl_error *err);
/* Handles the events that are ready now, and returns. */
void kl_loop_turn(struct kl_loop *loop);
/* Makes kl_loop_run return after the call that is running. */
void kl_loop_stop(struct kl_loop *loop);

/* Calls `call` whenever fd is readable; whenever the process gets the signal; every period_us
 * microseconds. They begin at once. NULL: no memory, or the system refused. */
struct kl_watch *kl_watch_fd(struct kl_loop *loop, int fd, kl_watch_call *call, void *context);
struct kl_watch *kl_watch_signal(struct kl_loop *loop, int number, kl_watch_call *call,
                                 void *context);
struct kl_watch *kl_watch_period(struct kl_loop *loop, uint64_t period_us, kl_watch_call *call,
                                 void *context);

/* A timer that is not running: kl_timer_start makes it call once, after `us` microseconds. A timer
 * that runs keeps its time. */
struct kl_watch *kl_timer_new(struct kl_loop *loop, kl_watch_call *call, void *context);
void kl_timer_start(struct kl_watch *timer, uint64_t us);
bool kl_timer_runs(const struct kl_watch *timer);

/* Stops and frees it. NULL is allowed. */
void kl_watch_remove(struct kl_watch *watch);

#endif
