#include "api/answer_items.h"

#include <stdlib.h>

#include "api/logprobs_json.h"

/* Makes room for one more item; NULL: no memory. */
static struct kl_answer_items *grow(struct kl_generation *g)
{
    struct kl_answer_items *old = g->state;
    size_t n = old != NULL ? old->n + 1 : 1;
    struct kl_answer_items *list = realloc(old, sizeof *list + n * sizeof list->items[0]);
    if (list == NULL)
        return NULL;
    if (old == NULL)
        *list = (struct kl_answer_items){0};
    g->state = list;
    return list;
}

bool kl_answer_items_begin(struct kl_generation *g)
{
    return g->state != NULL || grow(g) != NULL;
}

bool kl_answer_is_cut(const struct kl_generation *g)
{
    enum kl_finish finish = g->choices[0].finish;
    return finish == KL_FINISH_LENGTH || finish == KL_FINISH_DEADLINE;
}

const char *kl_answer_item_text(const struct kl_generation *g, const struct kl_answer_item *item,
                                size_t *len)
{
    *len = item->end - item->begin;
    return *len > 0 ? g->choices[0].text.data + item->begin : "";
}

/* Returns the item that is being written, or NULL. */
static struct kl_answer_item *open_item(const struct kl_generation *g)
{
    struct kl_answer_items *list = g->state;
    bool is_open = list != NULL && list->n > 0 && list->items[list->n - 1].is_open;
    return is_open ? &list->items[list->n - 1] : NULL;
}

static void close_item(struct kl_generation *g, const struct kl_item_events *events, bool is_cut)
{
    struct kl_answer_item *item = open_item(g);
    const struct kl_answer_items *list = g->state;
    if (item == NULL)
        return;
    item->is_open = false;
    item->is_cut = is_cut;
    if (events != NULL)
        events->end(g, item, list->n - 1);
}

/* Adds an item; NULL: no memory. */
static struct kl_answer_item *add_item(struct kl_generation *g, const struct kl_item_events *events,
                                       struct kl_answer_item added)
{
    close_item(g, events, false);
    struct kl_answer_items *list = grow(g);
    if (list == NULL)
        return NULL;
    struct kl_answer_item *item = &list->items[list->n++];
    *item = added;
    item->is_open = item->is_cut = true;
    if (events != NULL)
        events->begin(g, item, list->n - 1);
    return item;
}

enum kl_status kl_answer_items_text(struct kl_generation *g, const struct kl_item_events *events,
                                    const char *text, size_t len)
{
    const struct kl_answer_choice *c = &g->choices[0];
    struct kl_answer_item *item = open_item(g);
    const struct kl_answer_item added = {.begin = c->text.len,
                                         .end = c->text.len,
                                         .logprobs_begin = c->logprobs.len,
                                         .logprobs_end = c->logprobs.len};
    if (item == NULL || item->is_call)
        item = add_item(g, events, added);
    if (item == NULL)
        return KL_ERR_MEMORY;
    enum kl_status status = kl_document_logprobs(g, 0, text, len);
    item->end = c->text.len;
    item->logprobs_end = c->logprobs.len;
    return status;
}

enum kl_status kl_answer_items_call(struct kl_generation *g, const struct kl_item_events *events,
                                    const struct kl_call_piece *piece)
{
    const struct kl_answer_item added = {.is_call = true, .call = piece->index};
    enum kl_status status = kl_document_call(g, 0, piece);
    if (status != KL_OK)
        return status;
    if (piece->part == KL_CALL_BEGIN && add_item(g, events, added) == NULL)
        return KL_ERR_MEMORY;
    if (piece->part == KL_CALL_END)
        close_item(g, events, false);
    return KL_OK;
}

void kl_answer_items_end(struct kl_generation *g, const struct kl_item_events *events)
{
    const struct kl_answer_item *item = open_item(g);
    /* a call that is still open has no end */
    close_item(g, events, item != NULL && (item->is_call || kl_answer_is_cut(g)));
}
