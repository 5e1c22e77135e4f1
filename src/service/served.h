/* The one model that is served, and the names requests may call it by. */
#ifndef KL_SERVICE_SERVED_H
#define KL_SERVICE_SERVED_H

#include "http/api_error.h"

struct kl_server;

/* Its name, the name of its file, an alias, "default", and no name (NULL or "") are right; any
 * other name is a 404 that says what there is: an answer from another model than the one asked for
 * would be a silent surprise. Only when the model is loaded. */
enum kl_status kl_model_check(const struct kl_server *server, const char *name,
                              struct kl_api_error *error);

#endif
