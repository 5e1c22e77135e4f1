/*
 * POST /completion and /completions, as llama-server has them (tools/server/README.md there): raw
 * prompts, and answers in its own shape. A stream ends without [DONE].
 *
 * Slots are not told apart here, so id_slot is accepted and is -1 in answers.
 */
#include "api/llama_completion.h"

#include <stdlib.h>
#include <string.h>

#include "api/answer_fields.h"
#include "api/answer_json.h"
#include "api/fields.h"
#include "api/logprobs_json.h"
#include "api/prompt_fields.h"
#include "api/reply_json.h"
#include "api/token_columns.h"
#include "api/usage_json.h"
#include "base/clock.h"
#include "service/intake.h"
#include "json/json_memory.h"
#include "json/json_numbers.h"
#include "json/json_text.h"

/* The largest answers and log-probabilities of all choices are far below it. */
#define MOST_DOCUMENT ((size_t)256 << 20)

/* ---- state ----------------------------------------------------------------------------------- */

/* Of a choice: what its text was so far. */
struct lines {
    bool has_new_line;
    size_t indent; /* blanks at the beginning of this line */
    bool is_blank; /* nothing else is in it so far */
};

struct state {
    json_t *kept; /* {"settings", "prompts", "fields"}, see llama_fields.c */
    json_t *response_fields;
    bool timings_per_token, return_tokens;
    uint64_t limit_ns; /* of an answer with a line break, since its first token; 0: none */
    size_t n_indent;   /* an answer ends with a line that has less; 0: any */
    struct lines lines[];
};

static void release(void *state)
{
    struct state *s = state;
    if (s == NULL)
        return;
    json_decref(s->kept);
    free(s);
}

static json_int_t number_of(const json_t *fields, const char *name)
{
    json_int_t n = (json_int_t)json_number_value(json_object_get(fields, name));
    return n > 0 ? n : 0;
}

static void begin(struct kl_generation *g)
{
    struct state *s = calloc(1, sizeof *s + g->n_choices * sizeof s->lines[0]);
    g->state = s;
    g->release_state = release;
    if (s == NULL || g->kept == NULL)
        return;
    s->kept = kl_json_read(g->kept, strlen(g->kept), NULL);
    if (kl_json_was_short()) { /* has_state then says so */
        json_decref(s->kept);
        s->kept = NULL;
    }
    const json_t *fields = json_object_get(s->kept, "fields");
    s->response_fields = json_object_get(fields, "response_fields");
    s->timings_per_token = json_is_true(json_object_get(fields, "timings_per_token"));
    s->return_tokens = json_is_true(json_object_get(fields, "return_tokens"));
    s->limit_ns = (uint64_t)number_of(fields, "t_max_predict_ms") * 1000000u;
    s->n_indent = (size_t)number_of(fields, "n_indent");
}

/* Whether there was memory for it. */
static bool has_state(const struct kl_generation *g)
{
    const struct state *s = g->state;
    return s != NULL && s->kept != NULL;
}

/* Follows the lines of a choice. Returns how much of a piece of text belongs to the answer: it ends
 * before a line that is indented less than the request wants. */
static size_t follow_lines(const struct state *s, struct lines *l, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\n') {
            l->has_new_line = l->is_blank = true;
            l->indent = 0;
        } else if (l->is_blank && (text[i] == ' ' || text[i] == '\t')) {
            l->indent++;
        } else if (l->is_blank) {
            l->is_blank = false;
            if (l->indent < s->n_indent)
                return i;
        }
    }
    return len;
}

/* Ends a choice whose time is over, or whose text left the indentation. */
static void end_early(struct kl_generation *g, size_t choice, bool left)
{
    const struct state *s = g->state;
    struct kl_answer_choice *c = &g->choices[choice];
    bool late = s->limit_ns > 0 && s->lines[choice].has_new_line &&
                kl_now_ns() - c->first_text_ns > s->limit_ns;
    if ((late || left) && !c->ended)
        kl_choice_end(c);
}

/* ---- objects --------------------------------------------------------------------------------- */

static void add(json_t *object, const char *name, json_t *value)
{
    if (value != NULL)
        json_object_set_new(object, name, value);
}

static const char *stop_type(const struct kl_answer_choice *c)
{
    switch (c->finish) {
    case KL_FINISH_STOP:
        return c->stopped_by > 0 ? "word" : "eos";
    case KL_FINISH_LENGTH:
    case KL_FINISH_DEADLINE:
        return "limit";
    default:
        return "none";
    }
}

/* Returns the values at paths such as "timings/predicted_ms" that a request asks for, under these
 * names. Takes result. */
static json_t *choose_fields(const struct state *s, json_t *result)
{
    size_t i;
    const json_t *path;
    if (json_array_size(s->response_fields) == 0)
        return result;
    json_t *chosen = json_object();
    json_array_foreach(s->response_fields, i, path)
    {
        const char *at = json_string_value(path);
        json_t *value = result;
        while (value != NULL && *at != '\0') {
            size_t len = strcspn(at, "/");
            char name[64] = "";
            if (len < sizeof name)
                memcpy(name, at, len);
            value = json_object_get(value, name);
            at += len + (at[len] == '/');
        }
        if (value != NULL)
            json_object_set(chosen, json_string_value(path), value);
    }
    json_decref(result);
    return chosen;
}

/* Returns the object that ends a choice, without its tokens and their probabilities. */
static json_t *result_json(const struct kl_generation *g, size_t choice, json_t *content)
{
    const struct state *s = g->state;
    const struct kl_answer_choice *c = &g->choices[choice];
    const json_t *prompts = json_object_get(s->kept, "prompts");
    json_t *settings = json_object_get(s->kept, "settings");
    json_t *prompt = json_array_get(prompts, choice / g->n_per_prompt);
    const char *word = c->stopped_by > 0
                           ? json_string_value(json_array_get(json_object_get(settings, "stop"),
                                                              c->stopped_by - 1))
                           : NULL;
    json_int_t n_ctx = json_integer_value(json_object_get(settings, "n_ctx"));
    json_int_t n_tokens = (json_int_t)c->prompt_tokens + c->answer_tokens;
    bool is_full = c->finish == KL_FINISH_LENGTH && n_tokens >= n_ctx;
    json_t *result = json_pack(
        "{s:i, s:o, s:i, s:b, s:s, s:I, s:I, s:O, s:O, s:b, s:b, s:s, s:s, s:I, s:o, s:o*}",
        "index", (int)choice, "content", content, "id_slot", -1, "stop", 1, "model",
        g->model->served.model_name, "tokens_predicted", (json_int_t)c->answer_tokens,
        "tokens_evaluated", (json_int_t)c->prompt_tokens, "generation_settings", settings, "prompt",
        prompt, "has_new_line", s->lines[choice].has_new_line, "truncated", is_full, "stop_type",
        stop_type(c), "stopping_word", word != NULL ? word : "", "tokens_cached", n_tokens,
        "timings", kl_timings_json(g, choice, 1), "x_kinglet", kl_notes_json(g, c->finish));
    return result;
}

/* Returns the id of a token, and the element of completion_probabilities. */
static void token_json(const struct kl_generation *g, const struct kl_choice_token *token,
                       json_t *row[2])
{
    row[0] = json_integer(token->logprobs[0].id);
    row[1] =
        g->logprobs ? kl_token_logprobs_json(g->model->served.tokenizer, token, true) : json_null();
}

/* ---- streams --------------------------------------------------------------------------------- */

static json_t *piece_json(const struct kl_generation *g, size_t choice, const char *text,
                          size_t len)
{
    const struct state *s = g->state;
    const struct kl_answer_choice *c = &g->choices[choice];
    json_t *piece =
        json_pack("{s:i, s:o, s:b, s:i, s:I, s:I}", "index", (int)choice, "content",
                  kl_json_text(text, len), "stop", 0, "id_slot", -1, "tokens_predicted",
                  (json_int_t)c->answer_tokens, "tokens_evaluated", (json_int_t)c->prompt_tokens);
    if (s->timings_per_token)
        add(piece, "timings", kl_timings_so_far_json(g, choice));
    return piece;
}

static void stream_progress(struct kl_generation *g)
{
    if (!has_state(g))
        return;
    json_t *piece = piece_json(g, 0, "", 0);
    add(piece, "tokens", json_array());
    add(piece, "prompt_progress", kl_progress_json(g));
    kl_stream_json(g->exchange, piece);
}

static enum kl_status stream_text(struct kl_generation *g, size_t choice, const char *text,
                                  size_t len)
{
    struct state *s = g->state;
    struct kl_choice_token token;
    if (!has_state(g))
        return KL_ERR_MEMORY;
    if (g->choices[choice].ended)
        return KL_OK;
    size_t kept = follow_lines(s, &s->lines[choice], text, len);
    json_t *piece = piece_json(g, choice, text, kept);
    json_t *ids = json_array(), *probs = json_array(), *row[2];
    while (kl_choice_take_token(&g->choices[choice], &token)) {
        token_json(g, &token, row);
        json_array_append_new(ids, row[0]);
        json_array_append_new(probs, row[1]);
    }
    add(piece, "tokens", ids);
    if (g->logprobs)
        add(piece, "completion_probabilities", probs);
    else
        json_decref(probs);
    kl_stream_json(g->exchange, piece);
    end_early(g, choice, kept < len);
    return KL_OK;
}

static void stream_choice_done(struct kl_generation *g, size_t choice)
{
    if (!has_state(g)) {
        kl_stream_cut(g->exchange);
        return;
    }
    json_t *last = result_json(g, choice, json_string(""));
    add(last, "tokens", json_array());
    kl_stream_json(g->exchange, choose_fields(g->state, last));
}

static void stream_end(struct kl_generation *g)
{
    kl_stream_end(g->exchange);
}

static void stream_error(struct kl_generation *g, const struct kl_api_error *error)
{
    kl_sse_error_event(g, error);
    kl_stream_end(g->exchange);
}

/* ---- documents ------------------------------------------------------------------------------- */

static enum kl_status document_text(struct kl_generation *g, size_t choice, const char *text,
                                    size_t len)
{
    struct state *s = g->state;
    struct kl_answer_choice *c = &g->choices[choice];
    struct kl_choice_token token;
    json_t *row[2];
    if (!has_state(g))
        return KL_ERR_MEMORY;
    if (c->ended)
        return KL_OK;
    size_t kept = follow_lines(s, &s->lines[choice], text, len);
    enum kl_status status = kl_document_text(g, choice, text, kept);
    while (status == KL_OK && (g->logprobs || s->return_tokens) &&
           kl_choice_take_token(c, &token)) {
        token_json(g, &token, row);
        status = kl_columns_append(&c->logprobs, row, 2);
    }
    end_early(g, choice, kept < len);
    return status;
}

/* Whether a member that is printed by columns is wanted. */
static bool wants(const struct state *s, const char *name)
{
    size_t i;
    const json_t *field;
    if (json_array_size(s->response_fields) == 0)
        return true;
    json_array_foreach(s->response_fields, i, field)
    {
        if (strcmp(json_string_value(field), name) == 0)
            return true;
    }
    return false;
}

static void print_result(struct kl_printer *p, const struct kl_generation *g, size_t choice)
{
    const struct state *s = g->state;
    const struct kl_answer_choice *c = &g->choices[choice];
    json_t *content = kl_json_text(c->text.len > 0 ? c->text.data : "", c->text.len);
    bool comma = kl_print_open_object(p, choose_fields(s, result_json(g, choice, content)));
    if (wants(s, "tokens")) {
        kl_print(p, "%s\"tokens\":[", comma ? "," : "");
        if (s->return_tokens)
            kl_columns_print(&c->logprobs, 2, 0, p);
        kl_print(p, "]");
        comma = true;
    }
    if (g->logprobs && wants(s, "completion_probabilities")) {
        kl_print(p, "%s\"completion_probabilities\":[", comma ? "," : "");
        kl_columns_print(&c->logprobs, 2, 1, p);
        kl_print(p, "]");
    }
    kl_print(p, "}");
}

/* One result, or an array of those of several prompts or choices. */
static void document_end(struct kl_generation *g)
{
    struct kl_printer p;
    kl_printer_init(&p, MOST_DOCUMENT);
    if (!has_state(g)) {
        kl_json_tell_short();
        kl_reply_printed(g->exchange, &p);
        return;
    }
    kl_print(&p, "%s", g->n_choices > 1 ? "[" : "");
    for (size_t i = 0; i < g->n_choices; i++) {
        kl_print(&p, "%s", i > 0 ? "," : "");
        print_result(&p, g, i);
    }
    kl_print(&p, "%s\n", g->n_choices > 1 ? "]" : "");
    kl_reply_printed(g->exchange, &p);
}

const struct kl_answer_format kl_llama_stream = {
    .stream_type = KL_SSE_TYPE,
    .begin = begin,
    .progress = stream_progress,
    .heartbeat = kl_sse_heartbeat,
    .text = stream_text,
    .choice_done = stream_choice_done,
    .end = stream_end,
    .error = stream_error,
};
const struct kl_answer_format kl_llama_document = {
    .begin = begin, .text = document_text, .end = document_end, .error = kl_document_error};

/* ---- requests -------------------------------------------------------------------------------- */

static enum kl_status parse(const char *text, size_t len, bool is_query,
                            struct kl_generation_request *r, struct kl_api_error *error)
{
    (void)is_query;
    json_t *body;
    enum kl_status status = kl_read_body(text, len, r, &body, error);
    if (status == KL_OK)
        status = kl_prompt_field(body, &r->raw, error);
    return status == KL_OK ? kl_llama_fields(body, r, error) : status;
}

static const struct kl_dialect dialect = {kl_answer_headers, parse, &kl_llama_stream,
                                          &kl_llama_document};

KL_HANDLER(kl_handle_llama_completion)
{
    kl_generation_start(x, &dialect);
}
