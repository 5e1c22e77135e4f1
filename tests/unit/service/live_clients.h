/*
 * Clients and work of live answers without a server: exchanges whose output is collected, and a
 * generation that only writes and stops. For tests of live_answer.h.
 */
#ifndef LIVE_CLIENTS_H
#define LIVE_CLIENTS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/connection.h"
#include "service/live_answer.h"

#define ONE "11111111-1111-4111-8111-111111111111"
#define TWO "22222222-2222-4222-8222-222222222222"

/* A client, and all that it has received: "(type)" for the head, pieces, "." for the end, "!" for a
 * cut; "<status:text>" for a whole answer. */
struct client {
    struct kl_exchange exchange;
    struct kl_connection connection;
    char got[512];
    size_t n_got; /* bytes, also those that did not fit */
};

static void add(struct client *c, const char *text, size_t len)
{
    size_t used = strlen(c->got);
    if (used + len < sizeof c->got)
        memcpy(c->got + used, text, len);
    c->n_got += len;
}

static void client_begin(void *context, const char *type)
{
    struct client *c = context;
    char text[64];
    add(c, text,
        (size_t)snprintf(text, sizeof text, "%s(%s)", c->exchange.lacks_header ? "!" : "", type));
}

static void client_piece(void *context, const struct kl_buffer *text)
{
    add(context, text->data, text->len);
}

/* As in the server, a complete answer is not watched any more. */
static void client_end(void *context)
{
    struct client *c = context;
    c->exchange.events = NULL;
    add(c, ".", 1);
}

static void client_cut(void *context)
{
    add(context, "!", 1);
}

static void client_reply(void *context, const char *type, const char *text)
{
    struct client *c = context;
    char reply[128];
    (void)type;
    c->exchange.events = NULL;
    add(c, reply,
        (size_t)snprintf(reply, sizeof reply, "<%d:%.60s>", c->exchange.status,
                         text != NULL ? text : "no memory"));
}

static const struct kl_exchange_sink client_sink = {client_begin, client_piece, client_piece,
                                                    client_end,   client_cut,   client_reply};

static struct client *client_init(struct client *c, uint64_t scope, unsigned char address)
{
    *c = (struct client){.exchange = {.cache_scope = scope,
                                      .sink = &client_sink,
                                      .sink_context = c,
                                      .connection = &c->connection}};
    kl_buffer_init(&c->exchange.headers, 4096);
    c->connection.peer.s6_addr[15] = address;
    return c;
}

/* The client leaves. */
static void client_leave(struct client *c)
{
    if (c->exchange.events != NULL)
        c->exchange.events->gone(c->exchange.context, "the client left");
    kl_buffer_release(&c->exchange.headers);
}

/* The generation of an answer. */
struct work {
    struct kl_live_answer *live;
    unsigned n_changes;
    bool is_over;
    char stopped[64]; /* the code of the error */
};

static void work_write(struct work *w, const char *text)
{
    struct kl_buffer piece;
    kl_buffer_init(&piece, (size_t)1 << 20);
    enum kl_status status = kl_buffer_append_string(&piece, text);
    kl_stream_write(&w->live->exchange, status, &piece);
    kl_buffer_release(&piece);
}

static void work_end(struct work *w)
{
    kl_stream_end(&w->live->exchange);
    w->is_over = true;
    kl_live_leave(w->live);
}

static void work_stop(void *work, const struct kl_api_error *error)
{
    struct work *w = work;
    snprintf(w->stopped, sizeof w->stopped, "%s", error->code);
    kl_live_begin_error(w->live);
    work_write(w, "error");
    work_end(w);
}

static void work_changed(void *work)
{
    ((struct work *)work)->n_changes++;
}

static void note_alone_call(void *context)
{
    ++*(unsigned *)context;
}

static const struct kl_live_events work_events = {work_stop, work_changed, note_alone_call};

/* Begins a stream that goes on in the background of the test. */
static enum kl_status work_begin(struct kl_live_answers *all, struct client *c, const char *id,
                                 struct work *w, struct kl_api_error *error)
{
    *w = (struct work){0};
    enum kl_status status = kl_live_begin(all, &c->exchange, id, w, &w->live, error);
    if (status == KL_OK)
        kl_stream_begin(&w->live->exchange, "text");
    return status;
}

#endif
