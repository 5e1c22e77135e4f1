/*
 * /v1/chats: chats that are kept on the server (--history), for each key its own. Each request is
 * one job of the history's worker, which parses, reads and writes.
 */
#include "api/chats.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/chat_records.h"
#include "base/log.h"
#include "base/worker.h"
#include "history/history.h"
#include "http/conditions.h"
#include "service/service.h"

#define ROOT "/v1/chats/"
/* The longest If-Match: some twenty ETags. */
#define MAX_CONDITION 1024

struct chat_job {
    struct kl_job job;
    struct kl_exchange *exchange; /* NULL: its client left */

    /* of the request */
    struct kl_history *history;
    uint64_t scope;
    enum kl_status (*work)(struct chat_job *j, struct kl_error *err);
    char id[KL_UUID_LEN + 1]; /* in lower case; empty: all chats */
    const char *body;         /* the connection's, or own */
    size_t len;
    struct kl_buffer own;
    char *if_match, *if_none_match; /* NULL: not given */
    bool adds;                      /* messages, to a chat that exists */

    /* of the answer */
    bool unchanged; /* the client has this state */
    int status;
    char etag[KL_CHAT_ETAG_LEN + 1]; /* empty: none */
    struct kl_buffer document;
    struct kl_api_error error; /* if the status is 400 or more */
};

static struct chat_job *job_of(struct kl_job *job)
{
    return (struct chat_job *)(void *)((char *)job - offsetof(struct chat_job, job));
}

static void free_job(struct chat_job *j)
{
    kl_buffer_release(&j->own);
    kl_buffer_release(&j->document);
    free(j->if_match);
    free(j->if_none_match);
    free(j);
}

/* ---- on the worker's thread ------------------------------------------------------------------ */

/* The conditions of the request, in the order of RFC 9110, 13.2.2. */
static bool may_go_on(void *context, const char *etag)
{
    struct chat_job *j = context;
    if (etag != NULL)
        memcpy(j->etag, etag, sizeof j->etag);
    if (j->if_match != NULL && !kl_etag_listed(j->if_match, etag, false))
        return false;
    bool known = j->if_none_match != NULL && kl_etag_listed(j->if_none_match, etag, true);
    j->unchanged = known;
    return !known;
}

static enum kl_status work_list(struct chat_job *j, struct kl_error *err)
{
    return kl_history_list(j->history, j->scope, may_go_on, j, &j->document, j->etag, err);
}

static enum kl_status work_get(struct chat_job *j, struct kl_error *err)
{
    return kl_history_get(j->history, j->scope, j->id, may_go_on, j, &j->document, j->etag, err);
}

static enum kl_status work_delete(struct chat_job *j, struct kl_error *err)
{
    enum kl_status status = kl_history_delete(j->history, j->scope, j->id, may_go_on, j, err);
    if (status != KL_OK)
        return status;
    j->etag[0] = '\0';
    status = kl_buffer_append_format(&j->document,
                                     "{\"id\":\"%s\",\"object\":\"chat\",\"deleted\":true}", j->id);
    return status == KL_OK ? KL_OK : kl_fail_memory(err, "the answer", 0);
}

static enum kl_status work_change(struct chat_job *j, struct kl_error *err)
{
    struct kl_chat_record record;
    struct kl_chat_entry entry = {0};
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    enum kl_status status =
        kl_chat_record_read(j->body, j->len, j->id, j->adds, &record, &j->error);
    if (status == KL_OK) {
        const struct kl_chat_change change = {.head = record.head,
                                              .messages = record.messages,
                                              .replaces = !j->adds,
                                              .now_ms = (uint64_t)now.tv_sec * 1000 +
                                                        (uint64_t)now.tv_nsec / 1000000,
                                              .condition = may_go_on,
                                              .context = j};
        status = kl_history_change(j->history, j->scope, j->id, &change, &entry, err);
    }
    if (status == KL_OK) {
        j->status = entry.created ? 201 : 200;
        memcpy(j->etag, entry.etag, sizeof j->etag);
        status = kl_buffer_append(&j->document, entry.entry.data, entry.entry.len);
        if (status != KL_OK)
            kl_fail_memory(err, "the answer", entry.entry.len);
    }
    kl_buffer_release(&entry.entry);
    kl_chat_record_release(&record);
    return status;
}

/* Sets the error of the answer by that of the history. */
static void fail(struct chat_job *j, const struct kl_error *err)
{
    switch (err->status) {
    case KL_ERR_NOT_FOUND:
        kl_api_fail(&j->error, 404, "chat_not_found", "id",
                    "there is no chat %s: it was never kept here, or was deleted", j->id);
        return;
    case KL_ERR_INVALID:
        kl_api_fail(&j->error, 412, "precondition_failed", NULL,
                    j->etag[0] == '\0' ? "there is no chat %s; create it with \"If-None-Match: *\""
                                       : "the chat %s exists, in another state than the request "
                                         "expects; get it, and send its ETag as If-Match",
                    j->id);
        return;
    case KL_ERR_LIMIT:
        kl_api_fail(&j->error, 413, "chat_too_large", NULL, "%s", err->text);
        return;
    case KL_ERR_BUSY:
        kl_api_fail(&j->error, 507, "history_full", NULL, "%s", err->text);
        return;
    case KL_ERR_FORMAT: /* not 404: a client would delete its own copy */
        kl_api_fail(&j->error, 500, "chat_damaged", "id", "%s", err->text);
        kl_err("%s", err->text);
        return;
    default:
        kl_api_fail_internal(&j->error, err);
        kl_err("chat %s: %s", j->id[0] != '\0' ? j->id : "list", err->text);
    }
}

static bool run_slice(struct kl_job *job)
{
    struct chat_job *j = job_of(job);
    struct kl_error err = {0};
    if (atomic_load(&job->cancelled))
        return true;
    j->status = 200;
    enum kl_status status = j->work(j, &err);
    if (status != KL_OK && err.status != KL_OK)
        fail(j, &err);
    if (status == KL_OK && kl_buffer_append(&j->document, "\n", 1) != KL_OK)
        status = kl_api_fail_memory(&j->error, "the answer");
    if (status != KL_OK)
        j->status = j->error.status;
    return true;
}

/* ---- on the loop's thread -------------------------------------------------------------------- */

static void reply(struct chat_job *j, struct kl_exchange *x)
{
    char quoted[KL_CHAT_ETAG_LEN + 3];
    bool reads = x->head->method == KL_HTTP_GET || x->head->method == KL_HTTP_HEAD;
    if (j->etag[0] != '\0') {
        snprintf(quoted, sizeof quoted, "\"%s\"", j->etag);
        kl_reply_header(x, "ETag", quoted);
    }
    if (j->status == 412 && j->unchanged && reads) {
        kl_reply_header(x, "Cache-Control", "no-store");
        kl_reply_static(x, 304, NULL, NULL, 0);
        return;
    }
    if (j->status >= 400) {
        kl_reply_error(x, &j->error);
        return;
    }
    if (j->status == 201)
        kl_reply_header(x, "Location", x->path);
    kl_reply_text(x, j->status, "application/json; charset=utf-8", j->document.data);
}

static void on_done(struct kl_job *job)
{
    struct chat_job *j = job_of(job);
    /* one that was cancelled has no client, or the server closes */
    if (j->exchange != NULL && !atomic_load(&job->cancelled))
        reply(j, j->exchange);
    free_job(j);
}

/* The client left: work that has begun is completed, other work is not begun. */
static void on_gone(void *context, const char *cause)
{
    (void)cause;
    struct chat_job *j = context;
    struct kl_worker *worker = kl_service_of(j->exchange)->history_worker;
    kl_request_take_body(j->exchange, &j->own); /* the worker may be reading it */
    j->exchange = NULL;
    kl_worker_cancel(worker, &j->job);
}

static void on_drained(void *context)
{
    (void)context;
}

static const struct kl_exchange_events events = {on_gone, on_drained};

/* Copies a header for the worker; NULL: it is not given. */
static enum kl_status copy_header(const struct kl_exchange *x, const char *name, char **value,
                                  struct kl_api_error *error)
{
    const char *given = kl_request_header(x, name);
    if (given == NULL)
        return KL_OK;
    if (strlen(given) > MAX_CONDITION)
        return kl_api_fail(error, 400, "invalid_value", name, "%s has more than %d bytes", name,
                           MAX_CONDITION);
    *value = strdup(given);
    return *value != NULL ? KL_OK : kl_api_fail_memory(error, "the request");
}

/* Reads the ID from the path, which ends there or at a slash. */
static enum kl_status read_id(const struct kl_exchange *x, struct chat_job *j,
                              struct kl_api_error *error)
{
    const char *id = x->path + strlen(ROOT);
    size_t len = strcspn(id, "/");
    for (size_t i = 0; i < len && i < KL_UUID_LEN; i++)
        j->id[i] = (char)(id[i] >= 'A' && id[i] <= 'F' ? id[i] - 'A' + 'a' : id[i]);
    if (len == KL_UUID_LEN && kl_is_uuid(j->id))
        return KL_OK;
    return kl_api_fail(error, 400, "invalid_id", "id",
                       "\"%.*s\" is not the ID of a chat, which is a UUID (36 characters: "
                       "hexadecimal digits and dashes)",
                       (int)(len < 80 ? len : 80), id);
}

static enum kl_status check_request(const struct kl_exchange *x, struct chat_job *j,
                                    struct kl_api_error *error)
{
    if (kl_service_of(x)->history == NULL)
        return kl_api_fail(error, 404, "history_off", NULL,
                           "this server keeps no chats; start it with --history DIR to keep them "
                           "there");
    if (j->work != work_list && read_id(x, j, error) != KL_OK)
        return KL_ERR_INVALID;
    if (copy_header(x, "If-Match", &j->if_match, error) != KL_OK ||
        copy_header(x, "If-None-Match", &j->if_none_match, error) != KL_OK)
        return KL_ERR_INVALID;
    bool creates = j->if_none_match != NULL && strcmp(j->if_none_match, "*") == 0;
    if (x->head->method == KL_HTTP_PUT && j->if_match == NULL && !creates)
        return kl_api_fail(error, 428, "precondition_required", "If-Match",
                           "send the ETag of the chat that is replaced as If-Match, or "
                           "\"If-None-Match: *\" to create one, so that no other change is lost");
    return KL_OK;
}

static void start(struct kl_exchange *x,
                  enum kl_status (*work)(struct chat_job *j, struct kl_error *err), bool adds)
{
    struct kl_service *s = kl_service_of(x);
    struct chat_job *j = calloc(1, sizeof *j);
    struct kl_api_error error;
    enum kl_status status = j != NULL ? KL_OK : kl_api_fail_memory(&error, "the request");
    if (j != NULL) {
        j->work = work;
        j->adds = adds;
        status = check_request(x, j, &error);
    }
    if (status != KL_OK) {
        if (j != NULL)
            free_job(j);
        kl_reply_error(x, &error);
        return;
    }
    kl_buffer_init(&j->document, KL_SERVICE_CHAT_BYTES);
    j->exchange = x;
    j->history = s->history;
    j->scope = x->cache_scope;
    j->body = kl_request_body(x, &j->len);
    j->job.slice = run_slice;
    j->job.done = on_done;
    j->job.owner.words[0] = x->cache_scope;
    memcpy(&j->job.owner.words[1], kl_request_peer(x), sizeof(struct in6_addr));
    j->job.bytes = KL_SERVICE_CHAT_BYTES; /* of any: they run one after the other */
    kl_exchange_watch(x, &events, j);
    kl_worker_submit(s->history_worker, &j->job);
}

KL_HANDLER(kl_handle_chats)
{
    start(x, work_list, false);
}

KL_HANDLER(kl_handle_chat)
{
    const char *slash = strchr(x->path + strlen(ROOT), '/');
    struct kl_api_error error;
    if (slash != NULL && kl_service_of(x)->history != NULL) {
        kl_api_fail(&error, 404, "not_found", NULL,
                    "%.60s of a chat is not offered by this server, only its messages", slash + 1);
        kl_reply_error(x, &error);
    } else if (x->head->method == KL_HTTP_PUT)
        start(x, work_change, false);
    else
        start(x, x->head->method == KL_HTTP_DELETE ? work_delete : work_get, false);
}

KL_HANDLER(kl_handle_chat_messages)
{
    start(x, work_change, true);
}

bool kl_chats_has_messages(const char *path)
{
    size_t root = strlen(ROOT);
    const char *slash = strncmp(path, ROOT, root) == 0 ? strchr(path + root, '/') : NULL;
    return slash != NULL && strcmp(slash, "/messages") == 0;
}
