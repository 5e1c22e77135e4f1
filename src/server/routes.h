/*
 * The table of all endpoints. A new endpoint is a file with KL_HANDLER (http/exchange.h), and a
 * row.
 */
#ifndef KL_SERVER_ROUTES_H
#define KL_SERVER_ROUTES_H

#include "http/route.h"

extern const struct kl_routes kl_server_routes;

#endif
