/*
 * libevent's base of a loop; for the files of this room only.
 */
#ifndef KL_HTTP_LOOP_BASE_H
#define KL_HTTP_LOOP_BASE_H

#include <event2/event.h>

#include "http/loop.h"

/* Events have one of two priorities: this one, and the default below it. */
#define KL_LOOP_URGENT 0

struct event_base *kl_loop_base(struct kl_loop *loop);

#endif
