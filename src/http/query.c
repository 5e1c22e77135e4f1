#include "http/query.h"

#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <stdlib.h>
#include <string.h>

#include "http/event_memory.h"

struct kl_query {
    struct evkeyvalq pairs;
};

struct kl_query *kl_query_parse(const char *text, struct kl_api_error *error)
{
    if (strstr(text, "%00") != NULL) { /* the values would end there */
        kl_api_fail(error, 400, "invalid_request", NULL,
                    "the query of the URL has a NUL character (%%00)");
        return NULL;
    }
    struct kl_query *q = calloc(1, sizeof *q);
    kl_event_was_short();
    if (q != NULL && evhttp_parse_query_str(text, &q->pairs) == 0)
        return q;
    if (q == NULL || kl_event_was_short())
        kl_api_fail_memory(error, "the request");
    else
        kl_api_fail(error, 400, "invalid_request", NULL, "the query of the URL cannot be read");
    free(q);
    return NULL;
}

const char *kl_query_find(const struct kl_query *query, const char *name)
{
    return evhttp_find_header(&query->pairs, name);
}

void kl_query_free(struct kl_query *query)
{
    if (query == NULL)
        return;
    evhttp_clear_headers(&query->pairs);
    free(query);
}
