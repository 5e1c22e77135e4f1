/*
 * The items of OpenAI's Responses API as messages of a conversation.
 *
 * Items are messages (with parts of text), calls of functions and their outputs, and references to
 * items of kept answers. Reasoning is left out: no model reads it again. Everything else is refused
 * by name. Worker's.
 */
#ifndef KL_API_RESPONSES_INPUT_H
#define KL_API_RESPONSES_INPUT_H

#include <jansson.h>

#include "http/api_error.h"
#include "service/answer_store.h"

/* The most bytes of kept items that one request may make the server read again: some 60,000 tokens.
 */
#define KL_RESPONSES_MAX_KEPT ((size_t)256 << 10)

/* The IDs of an answer and of its items: the item's contains the answer's, so that the answer is
 * found by it. */
#define KL_RESPONSE_PREFIX    "resp_"
#define KL_RESPONSE_ID_SIZE   (sizeof KL_RESPONSE_PREFIX - 1 + KL_ANSWER_ID_SIZE)
#define KL_RESPONSE_ITEM_SIZE 64
/* prefix: "msg" or "fc". */
void kl_response_item_id(const char *record_id, const char *prefix, size_t i,
                         char id[KL_RESPONSE_ITEM_SIZE]);

struct kl_responses_input {
    json_t *messages; /* an array of messages in the form of Chat Completions, for
                         kl_chat_input_parse */
    json_t *own; /* an array that gets the items, too, with those that references stand for; NULL:
                    none */
    struct kl_answer_store *store; /* where references are looked up */
    uint64_t scope;
    size_t max_read, n_read; /* bytes of kept items that it may read, and has read */
    /* the rest is its own */
    json_t *referred; /* the items of the last answer that was referred to */
    char referred_id[KL_ANSWER_ID_SIZE];
    size_t next_referred, n_compared; /* where the search goes on; IDs that it has compared */
    bool follows;                     /* the next call belongs to the last message */
};

/* Appends items to input->messages; where: the name of the array, for errors ("input"). Strings are
 * shared with the items. */
enum kl_status kl_responses_input_add(struct kl_responses_input *input, const json_t *items,
                                      const char *where, struct kl_api_error *error);

void kl_responses_input_release(struct kl_responses_input *input);

/* Returns a share of the kept answer of that ID ("resp_..."); NULL: there is none. */
struct kl_answer_record *kl_response_find(struct kl_answer_store *store, uint64_t scope,
                                          const char *id);

/* Forgets it; false: there is none. */
bool kl_response_delete(struct kl_answer_store *store, uint64_t scope, const char *id);

#endif
