#include "api/logprobs_json.h"

#include <stdlib.h>
#include <string.h>

#include "base/printer.h"
#include "json/json_memory.h"
#include "json/json_text.h"

/* The largest answers and log-probabilities of all choices are far below it. */
#define MOST_DOCUMENT ((size_t)256 << 20)

/* The least that is reported, as OpenAI does: JSON has no infinity. */
#define LEAST_LOGPROB (-9999.0)

static json_t *token_json(const struct kl_tokenizer *tokenizer, const struct kl_logprob *logprob,
                          bool with_id)
{
    size_t len;
    const char *piece = kl_tokenizer_piece(tokenizer, logprob->id, &len);
    json_t *bytes = json_array();
    for (size_t i = 0; i < len; i++)
        json_array_append_new(bytes, json_integer((unsigned char)piece[i]));
    double value = logprob->value > LEAST_LOGPROB ? logprob->value : LEAST_LOGPROB;
    json_t *json = json_pack("{s:o, s:f, s:o}", "token", kl_json_text(piece, len), "logprob", value,
                             "bytes", bytes);
    if (with_id)
        json_object_set_new(json, "id", json_integer(logprob->id));
    return json;
}

json_t *kl_token_logprobs_json(const struct kl_tokenizer *tokenizer,
                               const struct kl_choice_token *token, bool with_ids)
{
    json_t *result = token_json(tokenizer, &token->logprobs[0], with_ids), *top = json_array();
    for (uint32_t i = 1; i < token->n; i++)
        json_array_append_new(top, token_json(tokenizer, &token->logprobs[i], with_ids));
    json_object_set_new(result, "top_logprobs", top);
    return result;
}

json_t *kl_logprobs_json(struct kl_generation *g, size_t choice)
{
    struct kl_choice_token token;
    if (!g->logprobs)
        return NULL;
    json_t *content = json_array();
    while (kl_choice_take_token(&g->choices[choice], &token))
        json_array_append_new(content,
                              kl_token_logprobs_json(g->model->served.tokenizer, &token, false));
    return json_pack("{s:o, s:n}", "content", content, "refusal");
}

enum kl_status kl_document_logprobs(struct kl_generation *g, size_t choice, const char *text,
                                    size_t len)
{
    struct kl_answer_choice *c = &g->choices[choice];
    struct kl_choice_token token;
    enum kl_status status = kl_document_text(g, choice, text, len);
    while (status == KL_OK && g->logprobs && kl_choice_take_token(c, &token)) {
        json_t *json = kl_token_logprobs_json(g->model->served.tokenizer, &token, false);
        char *line = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(10));
        json_decref(json);
        if (c->logprobs.len > 0)
            status = kl_buffer_append_string(&c->logprobs, ",");
        if (status == KL_OK)
            status = line != NULL ? kl_buffer_append_string(&c->logprobs, line) : KL_ERR_MEMORY;
        free(line);
        if (kl_json_was_short())
            status = KL_ERR_MEMORY;
    }
    return status;
}

/* Appends an object without its last brace; takes it. */
static void open_object(struct kl_printer *p, json_t *object)
{
    char *text = object != NULL ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(10)) : NULL;
    json_decref(object);
    if (text != NULL)
        kl_print_bytes(p, text, strlen(text) - 1);
    free(text);
}

void kl_reply_logprobs(struct kl_generation *g, json_t *document, json_t *choices)
{
    struct kl_printer p;
    kl_printer_init(&p, MOST_DOCUMENT);
    open_object(&p, document);
    kl_print(&p, ",\"choices\":[");
    for (size_t i = 0; i < g->n_choices; i++) {
        const struct kl_buffer *logprobs = &g->choices[i].logprobs;
        if (i > 0)
            kl_print(&p, ",");
        open_object(&p, json_incref(json_array_get(choices, i)));
        kl_print(&p, ",\"logprobs\":{\"content\":[");
        if (logprobs->len > 0)
            kl_print_bytes(&p, logprobs->data, logprobs->len);
        kl_print(&p, "],\"refusal\":null}}");
    }
    kl_print(&p, "]}\n");
    json_decref(choices);
    bool failed = kl_json_was_short() || p.status != KL_OK;
    kl_reply_text(g->exchange, 200, "application/json; charset=utf-8", failed ? NULL : p.text.data);
    kl_printer_release(&p);
}
