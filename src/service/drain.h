/*
 * How the service ends: it takes no new requests, lets running answers finish for a while, then
 * ends them.
 *
 * Meanwhile the HTTP server still answers, also on new connections: /health and /ready report the
 * state, requests for answers are refused with a 503. But where the listening sockets belong to a
 * service manager, new connections are left to the next process. Whether the service drains is
 * known by the HTTP server (kl_http_is_draining).
 */
#ifndef KL_SERVICE_DRAIN_H
#define KL_SERVICE_DRAIN_H

struct kl_service;

/* Begins to drain, and stops the loop when nothing is left to answer. Again: nothing. */
void kl_drain_begin(struct kl_service *service);

/* With every tick while it drains: ends running answers when the time for them is over, and stops
 * the loop when their last bytes had time to leave. */
void kl_drain_tick(struct kl_service *service);

/* The idle event of the HTTP server (kl_http_open): stops the loop. service: a struct kl_service.
 */
void kl_drain_idle(void *service);

#endif
