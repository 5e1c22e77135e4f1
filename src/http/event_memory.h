/*
 * Detects when libevent runs out of memory, which its API does not always report.
 *
 * Without memory libevent returns a bufferevent that lacks a callback and never writes, and reports
 * a query as malformed. Therefore its allocations go through this file, which remembers a failed
 * one until the caller asks.
 *
 * Thread rule: kl_event_memory_watch before libevent is first used; the flag belongs to the calling
 * thread.
 */
#ifndef KL_HTTP_EVENT_MEMORY_H
#define KL_HTTP_EVENT_MEMORY_H

#include <stdbool.h>

/* Takes over libevent's allocations, and makes the heap return large blocks to the system. To be
 * called before libevent is first used; may be repeated. */
void kl_event_memory_watch(void);

/* Returns whether an allocation of libevent on this thread has failed since the last call. Most
 * calls of libevent report a failure themselves, and nothing reads the flag after those: call this
 * also right before a call that does not report, to clear it. */
bool kl_event_was_short(void);

#endif
