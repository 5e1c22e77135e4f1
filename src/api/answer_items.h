/*
 * An answer as a list of items, messages and calls of tools, in the order in which the model wrote
 * them: for formats that have one list for both (Responses, Messages).
 *
 * The list is the `state` of the generation (service/generation.h), whose first choice has the
 * texts. The loop's thread.
 */
#ifndef KL_API_ANSWER_ITEMS_H
#define KL_API_ANSWER_ITEMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/generation.h"

struct kl_answer_item {
    bool is_call, is_open;
    bool is_cut;                         /* the answer ended in it; so it is while it is open */
    size_t call;                         /* of a call: index in choice.calls */
    size_t begin, end;                   /* of a message: bytes of choice.text */
    size_t logprobs_begin, logprobs_end; /* and of choice.logprobs */
};

struct kl_answer_items {
    uint64_t n_events; /* of a stream, so far: for the format */
    size_t n;
    struct kl_answer_item items[]; /* [n] */
};

/* Called for streams when the last item of the list has begun, without content, and when it is
 * complete or cut. */
struct kl_item_events {
    void (*begin)(struct kl_generation *g, const struct kl_answer_item *item, size_t i);
    void (*end)(struct kl_generation *g, const struct kl_answer_item *item, size_t i);
};

/* Makes the list; false: no memory. The next three make it, too, where there is none. */
bool kl_answer_items_begin(struct kl_generation *g);

/* For `text`, `call` and `choice_done` of a format (dialect.h). events: NULL for documents. */
enum kl_status kl_answer_items_text(struct kl_generation *g, const struct kl_item_events *events,
                                    const char *text, size_t len);
enum kl_status kl_answer_items_call(struct kl_generation *g, const struct kl_item_events *events,
                                    const struct kl_call_piece *piece);
void kl_answer_items_end(struct kl_generation *g, const struct kl_item_events *events);

/* Returns the text of a message so far, [*len], not NUL-terminated. */
const char *kl_answer_item_text(const struct kl_generation *g, const struct kl_answer_item *item,
                                size_t *len);

/* Returns whether the limit of tokens, or the deadline, has ended the answer. */
bool kl_answer_is_cut(const struct kl_generation *g);

#endif
