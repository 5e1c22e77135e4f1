#include "api/responses_format.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/answer_items.h"
#include "api/answer_json.h"
#include "api/json_print.h"
#include "api/reply_json.h"
#include "api/responses_input.h"
#include "base/log.h"
#include "service/generation.h"

/* The most bytes of a document: the longest answer there can be, several times. */
#define MAX_DOCUMENT ((size_t)64 << 20)

/* ---- parts of JSON --------------------------------------------------------------------------- */

static void print_item_id(struct kl_printer *p, const struct kl_generation *g, size_t i)
{
    const struct kl_answer_items *list = g->state;
    char id[KL_RESPONSE_ITEM_SIZE];
    kl_response_item_id(g->record->id, list->items[i].is_call ? "fc" : "msg", i, id);
    kl_print(p, "\"%s\"", id);
}

/* The log-probabilities that were collected between two places, without the comma before them. */
static void print_logprobs(struct kl_printer *p, const struct kl_generation *g, size_t begin,
                           size_t end)
{
    const char *text = g->choices[0].logprobs.data;
    kl_print(p, "\"logprobs\":[");
    if (begin < end && text[begin] == ',')
        begin++;
    if (begin < end)
        kl_print_bytes(p, text + begin, end - begin);
    kl_print(p, "]");
}

/* The content of a message: {"type":"output_text",...} with its text so far, or without any. */
static void print_part(struct kl_printer *p, const struct kl_generation *g,
                       const struct kl_answer_item *item, bool with_text)
{
    size_t len = 0;
    const char *text = with_text ? kl_answer_item_text(g, item, &len) : "";
    kl_print(p, "{\"type\":\"output_text\",\"annotations\":[],");
    print_logprobs(p, g, item->logprobs_begin,
                   with_text ? item->logprobs_end : item->logprobs_begin);
    kl_print(p, ",\"text\":");
    kl_print_json_text(p, text, len);
    kl_print(p, "}");
}

static const char *status_of(const struct kl_answer_item *item)
{
    return item->is_cut ? "incomplete" : "completed";
}

/* status: "in_progress": as it begins, without content. */
static void print_item(struct kl_printer *p, const struct kl_generation *g, size_t i,
                       const char *status)
{
    const struct kl_answer_item *item = &((const struct kl_answer_items *)g->state)->items[i];
    bool begins = strcmp(status, "in_progress") == 0;
    kl_print(p, "{\"id\":");
    print_item_id(p, g, i);
    if (item->is_call) {
        const struct kl_answer_call *call = &g->choices[0].calls[item->call];
        char id[KL_CALL_ID_SIZE];
        kl_call_id(g, 0, item->call, id);
        kl_print(p, ",\"type\":\"function_call\",\"status\":\"%s\",\"call_id\":\"%s\",\"name\":",
                 status, id);
        kl_print_json_text(p, call->name.data, call->name.len);
        kl_print(p, ",\"arguments\":");
        kl_print_json_text(p, begins ? "" : call->arguments.data, begins ? 0 : call->arguments.len);
    } else {
        kl_print(p, ",\"type\":\"message\",\"status\":\"%s\",\"role\":\"assistant\",\"content\":[",
                 status);
        if (!begins)
            print_part(p, g, item, true);
        kl_print(p, "]");
    }
    kl_print(p, "}");
}

static void print_items(struct kl_printer *p, const struct kl_generation *g)
{
    const struct kl_answer_items *list = g->state;
    for (size_t i = 0; list != NULL && i < list->n; i++) {
        kl_print(p, i > 0 ? "," : "");
        print_item(p, g, i, status_of(&list->items[i]));
    }
}

static void print_usage(struct kl_printer *p, const struct kl_answer_choice *c)
{
    kl_print(p,
             "{\"input_tokens\":%" PRIu32 ",\"input_tokens_details\":{\"cached_tokens\":%" PRIu32
             "},\"output_tokens\":%" PRIu32
             ",\"output_tokens_details\":{\"reasoning_tokens\":0},\"total_tokens\":%" PRIu32 "}",
             c->prompt_tokens, c->cached_tokens, c->answer_tokens,
             c->prompt_tokens + c->answer_tokens);
}

/* The response object. status: "in_progress", "completed", "incomplete" or "failed", the latter
 * with an error. */
static void print_response(struct kl_printer *p, const struct kl_generation *g, const char *status,
                           const struct kl_api_error *error)
{
    bool begins = strcmp(status, "in_progress") == 0;
    kl_print(p,
             "{\"id\":\"" KL_RESPONSE_PREFIX "%s\",\"object\":\"response\",\"created_at\":%" PRId64
             ",\"status\":\"%s\",\"error\":",
             g->record->id, g->created, status);
    if (error != NULL) {
        kl_print(p, "{\"code\":\"server_error\",\"message\":");
        kl_print_json_text(p, error->text, strlen(error->text));
        kl_print(p, "}");
    } else {
        kl_print(p, "null");
    }
    kl_print(p, ",\"incomplete_details\":%s,\"model\":",
             strcmp(status, "incomplete") == 0 ? "{\"reason\":\"max_output_tokens\"}" : "null");
    kl_print_json_text(p, g->model->served.model_name, strlen(g->model->served.model_name));
    kl_print(p, ",%s,\"output\":[", g->record->fields.data);
    if (!begins)
        print_items(p, g);
    kl_print(p, "],\"usage\":");
    if (begins || error != NULL)
        kl_print(p, "null");
    else
        print_usage(p, &g->choices[0]);
    if (!begins && error == NULL)
        kl_print_notes(p, g);
    kl_print(p, "}");
}

/* ---- events ---------------------------------------------------------------------------------- */

static void begin_event(struct kl_printer *p, struct kl_generation *g, const char *type)
{
    struct kl_answer_items *list = g->state;
    kl_printer_init(p, MAX_DOCUMENT);
    kl_print(p, "{\"type\":\"%s\",\"sequence_number\":%" PRIu64, type, list->n_events++);
}

/* An event of the item that was added last. */
static void begin_item_event(struct kl_printer *p, struct kl_generation *g, const char *type)
{
    struct kl_answer_items *list = g->state;
    begin_event(p, g, type);
    kl_print(p, ",\"output_index\":%zu,\"item_id\":", list->n - 1);
    print_item_id(p, g, list->n - 1);
    if (!list->items[list->n - 1].is_call)
        kl_print(p, ",\"content_index\":0");
}

static void send_event(struct kl_printer *p, struct kl_generation *g, const char *type)
{
    kl_print(p, "}");
    if (p->status == KL_OK)
        kl_stream_event(g->exchange, type, p->text.data);
    else
        kl_stream_cut(g->exchange);
    kl_printer_release(p);
}

/* response.output_item.added and .done. */
static void send_item(struct kl_generation *g, const char *type, const char *status)
{
    struct kl_answer_items *list = g->state;
    struct kl_printer p;
    begin_event(&p, g, type);
    kl_print(&p, ",\"output_index\":%zu,\"item\":", list->n - 1);
    print_item(&p, g, list->n - 1, status);
    send_event(&p, g, type);
}

/* response.content_part.added and .done. */
static void send_part(struct kl_generation *g, const char *type, bool with_text)
{
    struct kl_answer_items *list = g->state;
    struct kl_printer p;
    begin_item_event(&p, g, type);
    kl_print(&p, ",\"part\":");
    print_part(&p, g, &list->items[list->n - 1], with_text);
    send_event(&p, g, type);
}

/* Events with a text of the item: a piece, or all of it. */
static void send_text(struct kl_generation *g, const char *type, const char *name, const char *text,
                      size_t len, size_t logprobs_begin)
{
    struct kl_answer_items *list = g->state;
    const struct kl_answer_item *item = &list->items[list->n - 1];
    struct kl_printer p;
    begin_item_event(&p, g, type);
    if (!item->is_call) {
        kl_print(&p, ",");
        print_logprobs(&p, g, logprobs_begin, item->logprobs_end);
    }
    kl_print(&p, ",\"%s\":", name);
    kl_print_json_text(&p, text, len);
    send_event(&p, g, type);
}

static void send_response(struct kl_generation *g, const char *type, const char *status,
                          const struct kl_api_error *error)
{
    struct kl_printer p;
    begin_event(&p, g, type);
    kl_print(&p, ",\"response\":");
    print_response(&p, g, status, error);
    send_event(&p, g, type);
}

/* ---- the answer ------------------------------------------------------------------------------ */

static void begin_item(struct kl_generation *g, const struct kl_answer_item *item, size_t i)
{
    (void)i;
    send_item(g, "response.output_item.added", "in_progress");
    if (!item->is_call)
        send_part(g, "response.content_part.added", false);
}

static void end_item(struct kl_generation *g, const struct kl_answer_item *item, size_t i)
{
    (void)i;
    if (item->is_call) {
        const struct kl_buffer *arguments = &g->choices[0].calls[item->call].arguments;
        send_text(g, "response.function_call_arguments.done", "arguments", arguments->data,
                  arguments->len, 0);
    } else {
        size_t len;
        const char *text = kl_answer_item_text(g, item, &len);
        send_text(g, "response.output_text.done", "text", text, len, item->logprobs_begin);
        send_part(g, "response.content_part.done", true);
    }
    send_item(g, "response.output_item.done", status_of(item));
}

static const struct kl_item_events item_events = {begin_item, end_item};

static const char *final_status(const struct kl_generation *g)
{
    return kl_answer_is_cut(g) ? "incomplete" : "completed";
}

/* Keeps the answer, if the request asks for that. */
static void keep(struct kl_generation *g, const char *document)
{
    struct kl_printer items;
    struct kl_error err;
    if (!g->record->is_wanted)
        return;
    kl_printer_init(&items, MAX_DOCUMENT);
    print_items(&items, g);
    enum kl_status status = items.status;
    if (status == KL_OK)
        status = kl_answer_record_keep(g->record, items.text.len > 0 ? items.text.data : "",
                                       document, &err);
    else
        status = kl_fail_memory(&err, "a kept answer", items.text.len);
    if (status != KL_OK)
        kl_info("request %s: its answer is not kept: %s", g->exchange->id, err.text);
    kl_printer_release(&items);
}

/* ---- streams --------------------------------------------------------------------------------- */

static void stream_begin(struct kl_generation *g)
{
    if (!kl_answer_items_begin(g)) {
        kl_stream_cut(g->exchange);
        return;
    }
    send_response(g, "response.created", "in_progress", NULL);
    send_response(g, "response.in_progress", "in_progress", NULL);
}

static enum kl_status stream_text(struct kl_generation *g, size_t choice, const char *text,
                                  size_t len)
{
    (void)choice;
    size_t logprobs = g->choices[0].logprobs.len;
    enum kl_status status = kl_answer_items_text(g, &item_events, text, len);
    if (status == KL_OK)
        send_text(g, "response.output_text.delta", "delta", text, len, logprobs);
    return status;
}

static enum kl_status stream_call(struct kl_generation *g, size_t choice,
                                  const struct kl_call_piece *piece)
{
    (void)choice;
    enum kl_status status = kl_answer_items_call(g, &item_events, piece);
    if (status == KL_OK && piece->part == KL_CALL_ARGUMENTS)
        send_text(g, "response.function_call_arguments.delta", "delta", piece->text, piece->len, 0);
    return status;
}

static void stream_choice_done(struct kl_generation *g, size_t choice)
{
    (void)choice;
    kl_answer_items_end(g, &item_events);
}

static void stream_end(struct kl_generation *g)
{
    const char *status = final_status(g);
    const char *type =
        strcmp(status, "completed") == 0 ? "response.completed" : "response.incomplete";
    struct kl_printer document, p;
    kl_printer_init(&document, MAX_DOCUMENT);
    print_response(&document, g, status, NULL);
    if (document.status == KL_OK)
        keep(g, document.text.data);
    begin_event(&p, g, type);
    kl_print(&p, ",\"response\":");
    kl_print_bytes(&p, document.text.data, document.text.len);
    if (p.status == KL_OK)
        p.status = document.status;
    send_event(&p, g, type);
    kl_printer_release(&document);
    kl_stream_end(g->exchange);
}

/* The error has OpenAI's two forms at once: its members on the outside, where the reference has
 * them, and as the object that its servers send. */
static void stream_error(struct kl_generation *g, const struct kl_api_error *error)
{
    struct kl_printer p, inner;
    struct kl_answer_items *list = g->state;
    bool begun = list != NULL;
    if (!kl_answer_items_begin(g)) {
        kl_stream_cut(g->exchange);
        return;
    }
    kl_printer_init(&inner, MAX_DOCUMENT);
    kl_print(&inner, "\"code\":\"%s\",\"message\":", error->code != NULL ? error->code : "error");
    kl_print_json_text(&inner, error->text, strlen(error->text));
    kl_print(&inner, ",\"param\":");
    if (error->param[0] != '\0')
        kl_print_json_text(&inner, error->param, strlen(error->param));
    else
        kl_print(&inner, "null");
    begin_event(&p, g, "error");
    kl_print(&p, ",");
    kl_print_bytes(&p, inner.text.data, inner.text.len);
    kl_print(&p, ",\"error\":{\"type\":\"%s\",", kl_api_error_type(error));
    kl_print_bytes(&p, inner.text.data, inner.text.len);
    kl_print(&p, "}");
    if (p.status == KL_OK)
        p.status = inner.status;
    send_event(&p, g, "error");
    kl_printer_release(&inner);
    if (begun)
        send_response(g, "response.failed", "failed", error);
    kl_stream_end(g->exchange);
}

/* ---- documents ------------------------------------------------------------------------------- */

static enum kl_status document_text(struct kl_generation *g, size_t choice, const char *text,
                                    size_t len)
{
    (void)choice;
    return kl_answer_items_text(g, NULL, text, len);
}

static enum kl_status document_call(struct kl_generation *g, size_t choice,
                                    const struct kl_call_piece *piece)
{
    (void)choice;
    return kl_answer_items_call(g, NULL, piece);
}

static void document_choice_done(struct kl_generation *g, size_t choice)
{
    (void)choice;
    kl_answer_items_end(g, NULL);
}

static void document_end(struct kl_generation *g)
{
    struct kl_printer p;
    kl_printer_init(&p, MAX_DOCUMENT);
    print_response(&p, g, final_status(g), NULL);
    if (p.status == KL_OK)
        keep(g, p.text.data);
    kl_print(&p, "\n");
    kl_reply_printed(g->exchange, &p);
}

const struct kl_answer_format kl_responses_stream = {
    .stream_type = KL_SSE_TYPE,
    .begin = stream_begin,
    .heartbeat = kl_sse_heartbeat,
    .text = stream_text,
    .call = stream_call,
    .choice_done = stream_choice_done,
    .end = stream_end,
    .error = stream_error,
};
const struct kl_answer_format kl_responses_document = {
    .text = document_text,
    .call = document_call,
    .choice_done = document_choice_done,
    .end = document_end,
    .error = kl_document_error,
};
