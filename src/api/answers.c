/*
 * GET and DELETE /v1/answers/ID: answers that outlive their client (service/live_answer.h).
 */
#include <stdlib.h>
#include <string.h>

#include "api/reply_json.h"
#include "http/query.h"
#include "service/service.h"

static enum kl_status not_found(struct kl_api_error *error)
{
    return kl_api_fail(error, 404, "answer_not_found", "id",
                       "there is no answer of this ID: a request with X-Answer-Id begins one, and "
                       "it is forgotten %u s after its end or its last reader",
                       (unsigned)(KL_LIVE_ALONE_NS / 1000000000u));
}

/* Reads the number of the first event that is wanted. */
static enum kl_status read_from(const struct kl_exchange *x, uint64_t *from,
                                struct kl_api_error *error)
{
    struct kl_query *query = kl_query_parse(x->query != NULL ? x->query : "", error);
    if (query == NULL)
        return KL_ERR_INVALID;
    enum kl_status status = KL_OK;
    const char *value = kl_query_find(query, "from");
    *from = 0;
    if (value != NULL) {
        size_t n = strspn(value, "0123456789");
        if (n == 0 || n > 18 || value[n] != '\0')
            status =
                kl_api_fail(error, 400, "invalid_value", "from",
                            "from must be the number of an event, from 0 on, not \"%.40s\"", value);
        else
            *from = strtoull(value, NULL, 10);
    }
    kl_query_free(query);
    return status;
}

static enum kl_status get(struct kl_exchange *x, struct kl_live_answer *live,
                          struct kl_api_error *error)
{
    uint64_t from;
    enum kl_status status = read_from(x, &from, error);
    return status == KL_OK ? kl_live_read(live, x, from, error) : status;
}

static void delete (struct kl_exchange *x, struct kl_live_answer *live)
{
    struct kl_api_error error;
    char id[KL_LIVE_ID_SIZE];
    memcpy(id, live->id, sizeof id);
    /* a status that clients do not repeat their request for */
    kl_api_fail(&error, 410, "cancelled", NULL, "the answer was stopped by DELETE /v1/answers/%s",
                id);
    kl_live_delete(live, &error);
    kl_reply_json(x, 200, json_pack("{s:s, s:s, s:b}", "id", id, "object", "answer", "deleted", 1));
}

KL_HANDLER(kl_handle_answers)
{
    const char *id = strstr(x->path, "/answers");
    struct kl_api_error error;
    id += strlen(id) > strlen("/answers/") ? strlen("/answers/") : strlen("/answers");
    struct kl_live_answer *live = kl_live_find(&kl_service_of(x)->live, x->cache_scope, id);
    enum kl_status status = KL_OK;
    if (live == NULL)
        status = not_found(&error);
    else if (x->head->method == KL_HTTP_DELETE)
        delete (x, live);
    else
        status = get(x, live, &error);
    if (status != KL_OK)
        kl_reply_error(x, &error);
}
