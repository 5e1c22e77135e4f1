/*
 * POST /api/pull, as in Ollama's API: downloads a model of the catalogue or of a repository
 * (service/model_pull.h).
 *
 * It writes to the operator's disk, so only with --allow-pull; a model that is here is a success
 * without it. The model that is served does not change.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/fields.h"
#include "api/ollama_format.h"
#include "api/reply_json.h"
#include "base/printer.h"
#include "service/model_pull.h"

/* A body that is read on the loop's thread: some names. */
#define MOST_BODY ((size_t)16 << 10)
#define MOST_LINE ((size_t)1 << 10)

struct pull {
    struct kl_exchange *exchange;
    struct kl_source_model model;
    bool stream;
};

/* ---- lines ----------------------------------------------------------------------------------- */

static void send_line(struct kl_exchange *x, struct kl_printer *p)
{
    kl_print(p, "\n");
    kl_stream_write(x, p->status, &p->text);
    kl_printer_release(p);
}

static void send_status(struct kl_exchange *x, const char *status)
{
    struct kl_printer p;
    kl_printer_init(&p, MOST_LINE);
    kl_print(&p, "{\"status\":\"%s\"}", status);
    send_line(x, &p);
}

/* The last lines, or the document: the model is here. */
static void succeed(struct kl_exchange *x, bool stream)
{
    if (!stream) {
        kl_reply_text(x, 200, "application/json; charset=utf-8", "{\"status\":\"success\"}\n");
        return;
    }
    send_status(x, "verifying sha256 digest");
    send_status(x, "writing manifest");
    send_status(x, "success");
    kl_stream_end(x);
}

static void fail(struct kl_exchange *x, bool stream, const struct kl_api_error *error)
{
    if (!stream) {
        kl_reply_error(x, error);
        return;
    }
    struct kl_printer p;
    kl_printer_init(&p, KL_API_ERROR_BYTES);
    enum kl_status status = kl_api_error_write(error, KL_ERRORS_OLLAMA, &p.text);
    if (status != KL_OK)
        p.status = status;
    send_line(x, &p);
    kl_stream_end(x);
}

/* ---- the download ---------------------------------------------------------------------------- */

static void on_progress(void *context, uint64_t done, uint64_t total)
{
    struct pull *pull = context;
    struct kl_printer p;
    bool known = pull->model.sha256[0] != '\0';
    total = known ? pull->model.bytes : total;
    if (!pull->stream || kl_stream_is_full(pull->exchange) || total == 0)
        return;
    kl_printer_init(&p, MOST_LINE);
    if (known)
        kl_print(&p, "{\"status\":\"pulling %.12s\",\"digest\":\"sha256:%s\"", pull->model.sha256,
                 pull->model.sha256);
    else
        kl_print(&p, "{\"status\":\"pulling %s\"", pull->model.name);
    kl_print(&p, ",\"total\":%" PRIu64 ",\"completed\":%" PRIu64 "}", total, done);
    send_line(pull->exchange, &p);
}

static void on_ended(void *context, enum kl_status status, const struct kl_error *err)
{
    struct pull *pull = context;
    struct kl_api_error error;
    if (status == KL_OK) {
        on_progress(pull, pull->model.bytes, 0);
        succeed(pull->exchange, pull->stream);
    } else {
        kl_api_fail(&error,
                    status == KL_ERR_IO || status == KL_ERR_LIMIT ? 507
                    : status == KL_ERR_CANCELLED                  ? 503
                                                                  : 502,
                    "download_failed", NULL, "%s", err->text);
        fail(pull->exchange, pull->stream, &error);
    }
    free(pull);
}

static void on_gone(void *context, const char *cause)
{
    (void)cause;
    struct pull *pull = context;
    kl_model_pull_stop(kl_service_of(pull->exchange));
    free(pull);
}

static void on_drained(void *context)
{
    (void)context; /* the next progress is sent in time */
}

static void begin(struct kl_exchange *x, const struct kl_source_model *model, bool stream)
{
    static const struct kl_model_pull_events events = {on_progress, on_ended};
    static const struct kl_exchange_events of_exchange = {on_gone, on_drained};
    struct kl_api_error error;
    struct kl_error err;
    struct pull *pull = malloc(sizeof *pull);
    if (pull == NULL) {
        kl_api_fail_memory(&error, "the download");
        kl_reply_error(x, &error);
        return;
    }
    *pull = (struct pull){x, *model, stream};
    enum kl_status status = kl_model_pull_begin(kl_service_of(x), model, &events, pull, &err);
    if (status != KL_OK) {
        free(pull);
        if (status == KL_ERR_BUSY) {
            kl_api_fail(&error, 429, "pull_running", NULL, "%s", err.text);
            error.retry_after = KL_SERVICE_RETRY_SECONDS;
        } else {
            kl_api_fail_internal(&error, &err);
        }
        kl_reply_error(x, &error);
        return;
    }
    kl_exchange_watch(x, &of_exchange, pull);
    if (stream) {
        kl_stream_begin(x, KL_NDJSON_TYPE);
        send_status(x, "pulling manifest");
        on_progress(pull, 0, 0);
    }
}

/* ---- requests -------------------------------------------------------------------------------- */

/* Reads the fields; *name belongs to *body, which the caller releases. */
static enum kl_status read_body(const struct kl_exchange *x, json_t **body, const char **name,
                                bool *stream, struct kl_api_error *error)
{
    size_t len;
    const char *text = kl_request_body(x, &len);
    bool insecure = false;
    *body = NULL;
    if (len > MOST_BODY)
        return kl_api_fail(error, 413, "body_too_large", NULL,
                           "the body of a pull may have %zu bytes, this one has %zu", MOST_BODY,
                           len);
    if (kl_parse_object(text, len, body, error) != KL_OK ||
        kl_field_string(*body, "name", name, error) != KL_OK ||
        kl_field_string(*body, "model", name, error) != KL_OK ||
        kl_field_bool(*body, "insecure", &insecure, error) != KL_OK)
        return KL_ERR_INVALID;
    return kl_field_bool(*body, "stream", stream, error);
}

/* Whether the model is here already; otherwise finds it, or sets *error. */
static enum kl_status find(struct kl_exchange *x, const char *name, struct kl_source_model *model,
                           struct kl_api_error *error)
{
    const struct kl_service *s = kl_service_of(x);
    if (name[0] == '\0')
        return kl_api_fail(error, 400, "invalid_value", "model", "model is required");
    *model = (struct kl_source_model){0};
    kl_host_find(&s->host, name, &model->is_here);
    if (model->is_here)
        return KL_OK;
    const struct kl_model_source *source = s->options.model_source;
    bool known = source != NULL && source->find(name, model);
    if (known && model->is_here)
        return KL_OK;
    if (!s->options.allow_pull)
        return kl_api_fail(error, 403, "pull_not_allowed", "model",
                           "this server downloads no models for its clients: ask its operator for "
                           "serve --allow-pull, or to run 'kinglet pull %.100s'",
                           name);
    if (known)
        return KL_OK;
    return kl_api_fail(error, 404, "model_not_found", "model",
                       "model '%.100s' not found: it is neither in the catalogue ('kinglet pull "
                       "--list') nor a repository OWNER/REPO:QUANT",
                       name);
}

KL_HANDLER(kl_handle_ollama_pull)
{
    struct kl_api_error error;
    struct kl_source_model model;
    json_t *body;
    const char *name = "";
    bool stream = true;
    enum kl_status status = read_body(x, &body, &name, &stream, &error);
    if (status == KL_OK && !kl_request_is_welcome(x))
        status = kl_api_fail(&error, 503, "stopping", NULL, "the server is being stopped");
    if (status == KL_OK)
        status = find(x, name, &model, &error);
    json_decref(body);
    if (status != KL_OK) {
        kl_reply_error(x, &error);
    } else if (!model.is_here) {
        begin(x, &model, stream);
    } else {
        if (stream) {
            kl_stream_begin(x, KL_NDJSON_TYPE);
            send_status(x, "pulling manifest");
        }
        succeed(x, stream);
    }
}
