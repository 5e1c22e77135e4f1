/*
 * Draining the service before the program ends: it takes no new requests, lets running answers
 * finish for a limited time, then ends them.
 *
 * Meanwhile the HTTP server still answers, also on new connections: /health and /ready report the
 * state, requests for answers are refused with a 503. If the listening sockets belong to a service
 * manager, new connections are left to the next process. kl_http_is_draining reports whether the
 * service drains.
 *
 * Thread rule: everything runs on the loop's thread.
 */
#ifndef KL_SERVICE_DRAIN_H
#define KL_SERVICE_DRAIN_H

struct kl_service;

/* Begins to drain; the loop stops when nothing is left to answer. Further calls do nothing. */
void kl_drain_begin(struct kl_service *service);

/* Called with every tick while the service drains: ends running answers when their time is over,
 * and stops the loop after a moment in which their last bytes can be sent. */
void kl_drain_tick(struct kl_service *service);

/* Handles the idle event of the HTTP server (kl_http_open): stops the loop. service: a struct
 * kl_service. */
void kl_drain_idle(void *service);

#endif
