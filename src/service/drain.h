/*
 * How a server ends: no new work, what runs may end, then it is cut.
 *
 * In the meantime it still answers, on new connections, too: /health and /ready say what is going
 * on, work is refused with a 503. But when the sockets it listens on belong to a service manager,
 * new connections are left to whoever comes next, who answers them.
 */
#ifndef KL_SERVICE_DRAIN_H
#define KL_SERVICE_DRAIN_H

struct kl_server;

/* The first signal, or kl_server_stop. Again: nothing. */
void kl_drain_begin(struct kl_server *server);

/* With every tick: ends what still runs when the time to finish is over, and the loop when the
 * last bytes of that had time to leave. */
void kl_drain_tick(struct kl_server *server);

#endif
