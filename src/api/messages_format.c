#include "api/messages_format.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/answer_items.h"
#include "api/answer_json.h"
#include "api/json_print.h"
#include "api/reply_json.h"
#include "json/json_memory.h"

/* The most bytes of a document: the longest answer, with escapes. */
#define MAX_DOCUMENT ((size_t)64 << 20)

/* ---- parts of JSON --------------------------------------------------------------------------- */

/* Tokens of the prompt that were computed before count apart from the others. */
static void print_usage(struct kl_printer *p, const struct kl_answer_choice *c)
{
    kl_print(p,
             "\"usage\":{\"input_tokens\":%" PRIu32
             ",\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":%" PRIu32
             ",\"output_tokens\":%" PRIu32 "}",
             c->prompt_tokens - c->cached_tokens, c->cached_tokens, c->answer_tokens);
}

/* "stop_reason" and "stop_sequence". */
static void print_reason(struct kl_printer *p, const struct kl_generation *g)
{
    const struct kl_answer_choice *c = &g->choices[0];
    const char *reason = "end_turn", *found = NULL;
    if (kl_answer_is_cut(g)) {
        reason = "max_tokens";
    } else if (c->stopped_by > 0) {
        reason = "stop_sequence";
        found = g->kept;
        for (uint32_t i = 1; i < c->stopped_by; i++)
            found += strlen(found) + 1;
    } else if (c->n_calls > 0) {
        reason = "tool_use";
    }
    kl_print(p, "\"stop_reason\":\"%s\",\"stop_sequence\":", reason);
    if (found != NULL)
        kl_print_json_text(p, found, strlen(found));
    else
        kl_print(p, "null");
}

/* The message up to its content. */
static void print_head(struct kl_printer *p, const struct kl_generation *g)
{
    const char *model = g->model->served.model_name;
    kl_print(p, "{\"id\":\"msg_%s\",\"type\":\"message\",\"role\":\"assistant\",\"model\":",
             g->exchange->id);
    kl_print_json_text(p, model, strlen(model));
    kl_print(p, ",");
}

static void print_use_head(struct kl_printer *p, const struct kl_generation *g, size_t call)
{
    const struct kl_buffer *name = &g->choices[0].calls[call].name;
    kl_print(p, "{\"type\":\"tool_use\",\"id\":\"toolu_%s_%zu\",\"name\":", g->exchange->id, call);
    kl_print_json_text(p, name->data, name->len);
    kl_print(p, ",\"input\":");
}

/* The arguments of a call; {} if the answer was cut in them. */
static void print_arguments(struct kl_printer *p, const struct kl_buffer *text)
{
    if (kl_is_json_object(text))
        kl_print_bytes(p, text->data, text->len);
    else
        kl_print(p, "{}");
    if (kl_json_was_short() && p->status == KL_OK)
        p->status = KL_ERR_MEMORY;
}

static void print_blocks(struct kl_printer *p, const struct kl_generation *g)
{
    const struct kl_answer_items *list = g->state;
    const struct kl_answer_choice *c = &g->choices[0];
    for (size_t i = 0; list != NULL && i < list->n; i++) {
        const struct kl_answer_item *item = &list->items[i];
        kl_print(p, i > 0 ? "," : "");
        if (item->is_call) {
            print_use_head(p, g, item->call);
            print_arguments(p, &c->calls[item->call].arguments);
        } else {
            kl_print(p, "{\"type\":\"text\",\"text\":");
            size_t len;
            const char *text = kl_answer_item_text(g, item, &len);
            kl_print_json_text(p, text, len);
        }
        kl_print(p, "}");
    }
}

/* ---- streams --------------------------------------------------------------------------------- */

static void begin_event(struct kl_printer *p, const char *type)
{
    kl_printer_init(p, MAX_DOCUMENT);
    kl_print(p, "{\"type\":\"%s\"", type);
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

static void stream_begin(struct kl_generation *g)
{
    struct kl_printer p;
    if (!kl_answer_items_begin(g)) {
        kl_stream_cut(g->exchange);
        return;
    }
    begin_event(&p, "message_start");
    kl_print(&p, ",\"message\":");
    print_head(&p, g);
    kl_print(&p, "\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,");
    print_usage(&p, &g->choices[0]);
    kl_print(&p, "}");
    send_event(&p, g, "message_start");
}

static void begin_block(struct kl_generation *g, const struct kl_answer_item *item, size_t i)
{
    struct kl_printer p;
    begin_event(&p, "content_block_start");
    kl_print(&p, ",\"index\":%zu,\"content_block\":", i);
    if (item->is_call) {
        print_use_head(&p, g, item->call);
        kl_print(&p, "{}}");
    } else {
        kl_print(&p, "{\"type\":\"text\",\"text\":\"\"}");
    }
    send_event(&p, g, "content_block_start");
}

static void end_block(struct kl_generation *g, const struct kl_answer_item *item, size_t i)
{
    (void)item;
    struct kl_printer p;
    begin_event(&p, "content_block_stop");
    kl_print(&p, ",\"index\":%zu", i);
    send_event(&p, g, "content_block_stop");
}

static const struct kl_item_events block_events = {begin_block, end_block};

/* A piece of the block that is being written. */
static void send_delta(struct kl_generation *g, const char *type, const char *name,
                       const char *text, size_t len)
{
    const struct kl_answer_items *list = g->state;
    struct kl_printer p;
    begin_event(&p, "content_block_delta");
    kl_print(&p, ",\"index\":%zu,\"delta\":{\"type\":\"%s\",\"%s\":", list->n - 1, type, name);
    kl_print_json_text(&p, text, len);
    kl_print(&p, "}");
    send_event(&p, g, "content_block_delta");
}

static enum kl_status stream_text(struct kl_generation *g, size_t choice, const char *text,
                                  size_t len)
{
    (void)choice;
    enum kl_status status = kl_answer_items_text(g, &block_events, text, len);
    if (status == KL_OK)
        send_delta(g, "text_delta", "text", text, len);
    return status;
}

static enum kl_status stream_call(struct kl_generation *g, size_t choice,
                                  const struct kl_call_piece *piece)
{
    (void)choice;
    enum kl_status status = kl_answer_items_call(g, &block_events, piece);
    if (status == KL_OK && piece->part == KL_CALL_ARGUMENTS)
        send_delta(g, "input_json_delta", "partial_json", piece->text, piece->len);
    return status;
}

static void stream_choice_done(struct kl_generation *g, size_t choice)
{
    (void)choice;
    kl_answer_items_end(g, &block_events);
}

static void stream_end(struct kl_generation *g)
{
    struct kl_printer p;
    begin_event(&p, "message_delta");
    kl_print(&p, ",\"delta\":{");
    print_reason(&p, g);
    kl_print(&p, "},");
    print_usage(&p, &g->choices[0]);
    kl_print_notes(&p, g);
    send_event(&p, g, "message_delta");
    begin_event(&p, "message_stop");
    send_event(&p, g, "message_stop");
    kl_stream_end(g->exchange);
}

/* Before the message has begun, clients expect no event. */
static void stream_heartbeat(struct kl_generation *g, const char *text)
{
    if (g->state == NULL)
        kl_stream_comment(g->exchange, text);
    else
        kl_stream_event(g->exchange, "ping", "{\"type\":\"ping\"}");
}

static void stream_error(struct kl_generation *g, const struct kl_api_error *error)
{
    struct kl_buffer line;
    kl_buffer_init(&line, KL_API_ERROR_BYTES);
    if (kl_api_error_write(error, KL_ERRORS_MESSAGES, &line) == KL_OK)
        kl_stream_event(g->exchange, "error", line.data);
    else
        kl_stream_cut(g->exchange);
    kl_buffer_release(&line);
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

static void document_end(struct kl_generation *g)
{
    struct kl_printer p;
    kl_printer_init(&p, MAX_DOCUMENT);
    print_head(&p, g);
    kl_print(&p, "\"content\":[");
    print_blocks(&p, g);
    kl_print(&p, "],");
    print_reason(&p, g);
    kl_print(&p, ",");
    print_usage(&p, &g->choices[0]);
    kl_print_notes(&p, g);
    kl_print(&p, "}\n");
    kl_reply_printed(g->exchange, &p);
}

const struct kl_answer_format kl_messages_stream = {
    .stream_type = KL_SSE_TYPE,
    .begin = stream_begin,
    .heartbeat = stream_heartbeat,
    .text = stream_text,
    .call = stream_call,
    .choice_done = stream_choice_done,
    .end = stream_end,
    .error = stream_error,
};
const struct kl_answer_format kl_messages_document = {
    .text = document_text,
    .call = document_call,
    .end = document_end,
    .error = kl_document_error,
};
