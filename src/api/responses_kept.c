/*
 * GET and DELETE /v1/responses/ID: answers that were kept (service/answer_store.h).
 */
#include <string.h>

#include "api/reply_json.h"
#include "api/responses_input.h"
#include "http/query.h"
#include "service/service.h"

static void not_found(struct kl_exchange *x, const char *id)
{
    struct kl_api_error error;
    kl_api_fail(&error, 404, "response_not_found", "response_id",
                "Response with id '%.80s' not found: it was never kept here, or is not any more",
                id);
    kl_reply_error(x, &error);
}

/* Refuses what would need an answer that goes on without its client. */
static enum kl_status check_query(const struct kl_exchange *x, struct kl_api_error *error)
{
    static const char *const names[] = {"stream", "starting_after"};
    struct kl_query *query = kl_query_parse(x->query != NULL ? x->query : "", error);
    enum kl_status status = query != NULL ? KL_OK : KL_ERR_INVALID;
    for (size_t i = 0; i < 2 && status == KL_OK; i++) {
        const char *value = kl_query_find(query, names[i]);
        if (value != NULL && strcmp(value, "false") != 0)
            status = kl_api_fail(error, 400, "unsupported", names[i],
                                 "%s is not offered by this server: a kept answer is complete, "
                                 "get it without %s",
                                 names[i], names[i]);
    }
    kl_query_free(query);
    return status;
}

static void get(struct kl_exchange *x, const char *id)
{
    struct kl_api_error error;
    if (check_query(x, &error) != KL_OK) {
        kl_reply_error(x, &error);
        return;
    }
    struct kl_answer_record *record =
        kl_response_find(kl_service_of(x)->answers, x->cache_scope, id);
    if (record == NULL) {
        not_found(x, id);
        return;
    }
    kl_reply_text(x, 200, "application/json; charset=utf-8", record->document.data);
    kl_answer_record_release(record);
}

static void delete (struct kl_exchange *x, const char *id)
{
    if (!kl_response_delete(kl_service_of(x)->answers, x->cache_scope, id)) {
        not_found(x, id);
        return;
    }
    kl_reply_json(x, 200,
                  json_pack("{s:s, s:s, s:b}", "id", id, "object", "response", "deleted", 1));
}

KL_HANDLER(kl_handle_kept_response)
{
    const char *id = strstr(x->path, "/responses/") + strlen("/responses/");
    struct kl_api_error error;
    const char *slash = strchr(id, '/');
    if (slash != NULL) {
        kl_api_fail(&error, 404, "not_found", NULL,
                    "%.60s of a response is not offered by this server, only the response itself",
                    slash + 1);
        kl_reply_error(x, &error);
    } else if (x->head->method == KL_HTTP_DELETE)
        delete (x, id);
    else
        get(x, id);
}
