#include "api/legacy_logprobs.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/token_columns.h"
#include "base/buffer.h"
#include "base/utf8.h"
#include "json/json_memory.h"
#include "json/json_text.h"

/* The least that is reported, as OpenAI does: JSON has no infinity. */
#define LEAST_LOGPROB (-9999.0)

enum { TOKENS, TOKEN_LOGPROBS, TOP_LOGPROBS, TEXT_OFFSET, N_COLUMNS };
static const char *const names[N_COLUMNS] = {"tokens", "token_logprobs", "top_logprobs",
                                             "text_offset"};

/* Returns the name of a token as a JSON string. */
static json_t *name_json(const struct kl_tokenizer *tokenizer, int32_t id)
{
    size_t len;
    const char *piece = kl_tokenizer_piece(tokenizer, id, &len);
    if (piece == NULL || kl_utf8_valid(piece, len))
        return kl_json_text(piece != NULL ? piece : "", piece != NULL ? len : 0);
    struct kl_buffer name;
    kl_buffer_init(&name, SIZE_MAX / 2);
    enum kl_status status = kl_buffer_append_string(&name, "bytes:");
    for (size_t i = 0; i < len && status == KL_OK; i++)
        status = kl_buffer_append_format(&name, "\\x%02x", (unsigned char)piece[i]);
    json_t *json = status == KL_OK ? kl_json_text(name.data, name.len) : NULL;
    if (status != KL_OK)
        kl_json_tell_short();
    kl_buffer_release(&name);
    return json;
}

static json_t *value_json(const struct kl_logprob *logprob)
{
    return json_real(logprob->value > LEAST_LOGPROB ? logprob->value : LEAST_LOGPROB);
}

static json_t *top_json(const struct kl_tokenizer *tokenizer, const struct kl_choice_token *token)
{
    if (token->n < 2)
        return json_null();
    json_t *top = json_object();
    for (uint32_t i = 1; i <= token->n; i++) {
        /* the most likely ones in their order, the token itself last */
        const struct kl_logprob *logprob = &token->logprobs[i < token->n ? i : 0];
        json_t *name = name_json(tokenizer, logprob->id);
        if (name != NULL && json_object_get(top, json_string_value(name)) == NULL)
            json_object_set_new(top, json_string_value(name), value_json(logprob));
        json_decref(name);
    }
    return top;
}

/* Counts characters by their first bytes; text is valid UTF-8. */
static size_t count_characters(const char *text, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

/* Characters of each choice before its current piece; made when first needed. */
static size_t *counts_of(struct kl_generation *g)
{
    if (g->state == NULL)
        g->state = calloc(g->n_choices, sizeof(size_t));
    return g->state;
}

/* Takes the next token of a piece of text, before which the choice has `before` characters, and
 * sets the values of its columns. */
static bool next_row(struct kl_generation *g, size_t choice, const char *text, size_t len,
                     size_t before, json_t *row[N_COLUMNS])
{
    const struct kl_tokenizer *tokenizer = g->model->served.tokenizer;
    struct kl_answer_choice *c = &g->choices[choice];
    struct kl_choice_token token;
    if (!kl_choice_take_token(c, &token))
        return false;
    size_t piece_at = (size_t)c->n_text - len;
    size_t inside = token.text_at > piece_at ? token.text_at - piece_at : 0;
    size_t offset = before + count_characters(text, inside < len ? inside : len);
    row[TOKENS] = name_json(tokenizer, token.logprobs[0].id);
    row[TOKEN_LOGPROBS] = value_json(&token.logprobs[0]);
    row[TOP_LOGPROBS] = top_json(tokenizer, &token);
    row[TEXT_OFFSET] = json_integer((json_int_t)offset);
    return true;
}

json_t *kl_legacy_logprobs_json(struct kl_generation *g, size_t choice, const char *text,
                                size_t len)
{
    json_t *row[N_COLUMNS], *columns[N_COLUMNS], *all = json_object();
    size_t *counts = g->logprobs ? counts_of(g) : NULL;
    if (counts == NULL) {
        json_decref(all);
        return NULL;
    }
    for (size_t i = 0; i < N_COLUMNS; i++) {
        columns[i] = json_array();
        json_object_set_new(all, names[i], columns[i]);
    }
    while (next_row(g, choice, text, len, counts[choice], row)) {
        for (size_t i = 0; i < N_COLUMNS; i++)
            json_array_append_new(columns[i], row[i]);
    }
    counts[choice] += count_characters(text, len);
    return all;
}

enum kl_status kl_legacy_logprobs_text(struct kl_generation *g, size_t choice, const char *text,
                                       size_t len)
{
    json_t *row[N_COLUMNS];
    enum kl_status status = kl_document_text(g, choice, text, len);
    if (status != KL_OK || !g->logprobs)
        return status;
    size_t *counts = counts_of(g);
    if (counts == NULL)
        return KL_ERR_MEMORY;
    while (status == KL_OK && next_row(g, choice, text, len, counts[choice], row))
        status = kl_columns_append(&g->choices[choice].logprobs, row, N_COLUMNS);
    counts[choice] += count_characters(text, len);
    return status;
}

void kl_legacy_logprobs_print(const struct kl_answer_choice *choice, struct kl_printer *out)
{
    for (size_t i = 0; i < N_COLUMNS; i++) {
        kl_print(out, "%s\"%s\":[", i == 0 ? "{" : ",", names[i]);
        kl_columns_print(&choice->logprobs, N_COLUMNS, i, out);
        kl_print(out, "]");
    }
    kl_print(out, "}");
}
