#include "api/unsupported_fields.h"

#include <stdbool.h>
#include <string.h>

/* Values that mean the same as leaving a field out. null is always one of them. */
enum neutral {
    NONE = 0,
    FALSE_ = 1,       /* false */
    TRUE_ = 2,        /* true */
    NUMBER = 4,       /* rule.number */
    NOT_POSITIVE = 8, /* 0 and below */
    EMPTY = 16,       /* "", [], {} */
    WORDS = 32,       /* one of rule.words */
    TEXT = 64         /* {"type": "text"}, ["text"] */
};

#define CHATS    (KL_FIELDS_OF_CHAT | KL_FIELDS_OF_NATIVE | KL_FIELDS_OF_RESPONSES)
#define ANY      (CHATS | KL_FIELDS_OF_COMPLETIONS | KL_FIELDS_OF_LLAMA)
#define NO_LLAMA (CHATS | KL_FIELDS_OF_COMPLETIONS)

struct rule {
    const char *name;
    unsigned neutral;
    double number;
    const char *words[2];
    const char *instead;   /* advice for the message, or NULL */
    const char *same_as;   /* accepted if this supported field has the same value */
    const char *only_with; /* has no effect without this field */
    unsigned routes;       /* 0: any */
};

#define LIMIT    "the limit is called max_tokens here"
#define NEW      "the limit is called max_new_tokens here"
#define SYSTEM   "give it as the first of messages, with the role system"
#define RULES    "schema is offered, and more in /v1/chat/completions"
#define OUTPUT   "the limit is called max_output_tokens here"
#define FORMAT   "text.format is offered"
#define INPUT    "the conversation is called input here"
#define ONE_TEXT "only text is read and written"

static const struct rule rules[] = {
    /* OpenAI, Chat Completions */
    {.name = "audio", .instead = ONE_TEXT},
    {.name = "function_call",
     .neutral = WORDS,
     .words = {"none", "auto"},
     .instead = "/v1/chat/completions has tools",
     .routes = KL_FIELDS_OF_NATIVE},
    {.name = "functions",
     .neutral = EMPTY,
     .instead = "/v1/chat/completions has tools",
     .routes = KL_FIELDS_OF_NATIVE},
    {.name = "modalities", .neutral = EMPTY | TEXT, .instead = ONE_TEXT},
    {.name = "response_format",
     .neutral = TEXT,
     .instead = "schema is offered",
     .routes = KL_FIELDS_OF_NATIVE},
    {.name = "verbosity", .neutral = WORDS, .words = {"medium"}},
    {.name = "web_search_options"},
    /* and Completions */
    {.name = "best_of", .neutral = NUMBER, .number = 1, .routes = CHATS | KL_FIELDS_OF_LLAMA},
    {.name = "echo", .neutral = FALSE_, .routes = CHATS | KL_FIELDS_OF_LLAMA},
    {.name = "suffix", .neutral = EMPTY, .routes = CHATS | KL_FIELDS_OF_LLAMA},
    /* llama-server; parameters of one of these fields have no effect without it */
    {.name = "adaptive_target", .neutral = NUMBER, .number = -1},
    {.name = "dynatemp_range", .neutral = NUMBER, .number = 0},
    {.name = "grammar", .neutral = EMPTY, .instead = RULES, .routes = KL_FIELDS_OF_NATIVE},
    {.name = "image_data", .neutral = EMPTY, .instead = ONE_TEXT},
    {.name = "json_schema", .instead = "schema is offered", .routes = KL_FIELDS_OF_NATIVE},
    {.name = "lora", .neutral = EMPTY},
    {.name = "mirostat", .neutral = NUMBER, .number = 0},
    {.name = "multimodal_data", .neutral = EMPTY, .instead = ONE_TEXT},
    {.name = "n_cmpl",
     .neutral = NUMBER,
     .number = 1,
     .instead = "n is, in /v1/chat/completions",
     .routes = NO_LLAMA},
    {.name = "n_indent", .neutral = NUMBER, .number = 0, .routes = NO_LLAMA},
    {.name = "n_predict",
     .instead = NEW,
     .same_as = "max_new_tokens",
     .routes = KL_FIELDS_OF_NATIVE},
    {.name = "n_probs", .neutral = NUMBER, .number = 0, .routes = NO_LLAMA},
    {.name = "post_sampling_probs",
     .neutral = FALSE_,
     .instead = "logprobs are those before sampling",
     .only_with = "n_probs"},
    {.name = "reasoning_budget", .neutral = NUMBER, .number = -1},
    {.name = "return_tokens", .neutral = FALSE_, .routes = NO_LLAMA},
    {.name = "samplers", .neutral = EMPTY, .routes = NO_LLAMA},
    {.name = "system_prompt", .neutral = EMPTY, .instead = SYSTEM},
    {.name = "t_max_predict_ms",
     .neutral = NUMBER,
     .number = 0,
     .instead = "the header X-Deadline-Ms is",
     .routes = NO_LLAMA},
    {.name = "thinking_budget_tokens", .neutral = NUMBER, .number = -1},
    {.name = "top_n_sigma", .neutral = NOT_POSITIVE},
    {.name = "xtc_probability", .neutral = NUMBER, .number = 0},
    /* vLLM, SGLang */
    {.name = "add_generation_prompt", .neutral = TRUE_, .routes = KL_FIELDS_OF_NATIVE},
    {.name = "continue_final_message", .routes = KL_FIELDS_OF_NATIVE},
    {.name = "allowed_token_ids", .neutral = EMPTY},
    {.name = "bad_words", .neutral = EMPTY},
    {.name = "chat_template", .neutral = EMPTY},
    {.name = "documents", .neutral = EMPTY},
    {.name = "ebnf", .neutral = EMPTY, .instead = "grammar is offered"},
    {.name = "guided_choice", .neutral = EMPTY, .instead = "choice is offered"},
    {.name = "guided_grammar", .neutral = EMPTY, .instead = "grammar is offered"},
    {.name = "guided_json", .instead = "json_schema is offered"},
    {.name = "guided_regex", .neutral = EMPTY, .instead = "regex is offered"},
    {.name = "include_stop_str_in_output", .neutral = FALSE_},
    {.name = "length_penalty", .neutral = NUMBER, .number = 1},
    {.name = "logits_processors", .neutral = EMPTY},
    {.name = "min_tokens", .neutral = NUMBER, .number = 0},
    {.name = "prompt_logprobs", .neutral = FALSE_},
    {.name = "regex", .neutral = EMPTY, .instead = RULES, .routes = KL_FIELDS_OF_NATIVE},
    {.name = "skip_special_tokens", .neutral = TRUE_},
    {.name = "stop_token_ids", .neutral = EMPTY, .instead = "stop is"},
    {.name = "structural_tag", .neutral = EMPTY},
    {.name = "structured_outputs", .neutral = EMPTY, .instead = "response_format is offered"},
    {.name = "truncate_prompt_tokens",
     .neutral = NUMBER,
     .number = -1,
     .instead = "context_policy is"},
    {.name = "use_beam_search", .neutral = FALSE_},
    /* text-generation-webui, KoboldCpp, Ollama, Transformers */
    {.name = "ban_eos_token", .neutral = FALSE_},
    {.name = "banned_strings", .neutral = EMPTY},
    {.name = "banned_tokens", .neutral = EMPTY},
    {.name = "custom_token_bans", .neutral = EMPTY},
    {.name = "dynamic_temperature", .neutral = FALSE_},
    {.name = "encoder_repetition_penalty", .neutral = NUMBER, .number = 1},
    {.name = "epsilon_cutoff", .neutral = NUMBER, .number = 0},
    {.name = "eta_cutoff", .neutral = NUMBER, .number = 0},
    {.name = "guidance_scale", .neutral = NUMBER, .number = 1},
    {.name = "images", .neutral = EMPTY, .instead = ONE_TEXT},
    {.name = "min_length", .neutral = NUMBER, .number = 0},
    {.name = "mirostat_mode", .neutral = NUMBER, .number = 0},
    {.name = "no_repeat_ngram_size", .neutral = NUMBER, .number = 0},
    {.name = "nsigma", .neutral = NOT_POSITIVE},
    {.name = "num_beams", .neutral = NUMBER, .number = 1},
    {.name = "penalty_alpha", .neutral = NUMBER, .number = 0},
    {.name = "sampler_order", .neutral = EMPTY},
    {.name = "sampler_priority", .neutral = EMPTY},
    {.name = "smoothing_factor", .neutral = NUMBER, .number = 0},
    {.name = "system", .neutral = EMPTY, .instead = SYSTEM},
    {.name = "temperature_last", .neutral = FALSE_},
    {.name = "tfs", .neutral = NUMBER, .number = 1},
    {.name = "tfs_z", .neutral = NUMBER, .number = 1},
    {.name = "top_a", .neutral = NUMBER, .number = 0},
    {.name = "typical",
     .neutral = NUMBER,
     .number = 1,
     .instead = "it is called typical_p here",
     .same_as = "typical_p"},
    /* /v1/responses: what it does not have, and names of /v1/chat/completions */
    {.name = "background",
     .neutral = FALSE_,
     .instead = "stream is",
     .routes = KL_FIELDS_OF_RESPONSES},
    {.name = "conversation",
     .instead = "previous_response_id is",
     .routes = KL_FIELDS_OF_RESPONSES},
    {.name = "function_call", .neutral = EMPTY, .routes = KL_FIELDS_OF_RESPONSES},
    {.name = "functions", .neutral = EMPTY, .routes = KL_FIELDS_OF_RESPONSES},
    {.name = "max_completion_tokens", .instead = OUTPUT, .routes = KL_FIELDS_OF_RESPONSES},
    {.name = "max_new_tokens", .instead = OUTPUT, .routes = KL_FIELDS_OF_RESPONSES},
    {.name = "max_tokens", .instead = OUTPUT, .routes = KL_FIELDS_OF_RESPONSES},
    {.name = "messages", .instead = INPUT, .routes = KL_FIELDS_OF_RESPONSES},
    {.name = "n", .neutral = NUMBER, .number = 1, .routes = KL_FIELDS_OF_RESPONSES},
    {.name = "prompt", .instead = "instructions are", .routes = KL_FIELDS_OF_RESPONSES},
    {.name = "response_format",
     .neutral = TEXT,
     .instead = FORMAT,
     .routes = KL_FIELDS_OF_RESPONSES},
    {.name = "grammar", .neutral = EMPTY, .instead = FORMAT, .routes = KL_FIELDS_OF_RESPONSES},
    {.name = "json_schema", .instead = FORMAT, .routes = KL_FIELDS_OF_RESPONSES},
    {.name = "regex", .neutral = EMPTY, .instead = FORMAT, .routes = KL_FIELDS_OF_RESPONSES},
    {.name = "choice", .neutral = EMPTY, .instead = FORMAT, .routes = KL_FIELDS_OF_RESPONSES},
    {.name = "schema", .instead = FORMAT, .routes = KL_FIELDS_OF_RESPONSES},
    /* /v1/messages */
    {.name = "container", .routes = KL_FIELDS_OF_MESSAGES},
    {.name = "mcp_servers", .neutral = EMPTY, .routes = KL_FIELDS_OF_MESSAGES},
    {.name = "response_format",
     .neutral = TEXT,
     .instead = "output_config.format is offered",
     .routes = KL_FIELDS_OF_MESSAGES},
    {.name = "stop",
     .neutral = EMPTY,
     .instead = "it is called stop_sequences here",
     .routes = KL_FIELDS_OF_MESSAGES},
    /* fields that one route here supports and the other does not */
    {.name = "choice", .neutral = EMPTY, .instead = RULES, .routes = KL_FIELDS_OF_NATIVE},
    {.name = "schema", .instead = "json_schema is offered", .routes = KL_FIELDS_OF_CHAT},
    {.name = "max_new_tokens",
     .instead = LIMIT,
     .same_as = "max_tokens",
     .routes = KL_FIELDS_OF_CHAT},
    {.name = "max_tokens",
     .instead = NEW,
     .same_as = "max_new_tokens",
     .routes = KL_FIELDS_OF_NATIVE},
    {.name = "max_completion_tokens",
     .instead = NEW,
     .same_as = "max_new_tokens",
     .routes = KL_FIELDS_OF_NATIVE},
    {.name = "logprobs",
     .neutral = FALSE_ | NUMBER,
     .number = 0,
     .instead = "/v1/chat/completions has them",
     .routes = KL_FIELDS_OF_NATIVE},
    {.name = "top_logprobs",
     .neutral = NUMBER,
     .number = 0,
     .instead = "/v1/chat/completions has them",
     .routes = KL_FIELDS_OF_NATIVE},
    {.name = "n",
     .neutral = NUMBER,
     .number = 1,
     .instead = "/v1/chat/completions gives several answers",
     .routes = KL_FIELDS_OF_NATIVE},
    {.name = "stream",
     .neutral = TRUE_,
     .instead = "/v1/chat/completions answers in one piece",
     .routes = KL_FIELDS_OF_NATIVE},
    {.name = "tool_choice",
     .neutral = WORDS,
     .words = {"none", "auto"},
     .instead = "/v1/chat/completions has tools",
     .routes = KL_FIELDS_OF_NATIVE},
    {.name = "tools",
     .neutral = EMPTY,
     .instead = "/v1/chat/completions has tools",
     .routes = KL_FIELDS_OF_NATIVE},
};

static bool numbers_equal(double a, double b)
{
    return !(a < b) && !(a > b);
}

static bool is_text(const json_t *value)
{
    const json_t *word = json_is_object(value)         ? json_object_get(value, "type")
                         : json_array_size(value) == 1 ? json_array_get(value, 0)
                                                       : NULL;
    return json_is_string(word) && strcmp(json_string_value(word), "text") == 0;
}

static bool is_empty(const json_t *value)
{
    return (json_is_string(value) && json_string_length(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0);
}

static bool is_word(const struct rule *r, const json_t *value)
{
    const char *text = json_string_value(value);
    for (size_t i = 0; i < 2 && text != NULL && r->words[i] != NULL; i++) {
        if (strcmp(text, r->words[i]) == 0)
            return true;
    }
    return false;
}

/* Whether the value means the same as leaving the field out, for its rule alone. */
static bool is_neutral(const struct rule *r, const json_t *value)
{
    bool number = json_is_number(value);
    double n = json_number_value(value);
    return json_is_null(value) || ((r->neutral & FALSE_) != 0 && json_is_false(value)) ||
           ((r->neutral & TRUE_) != 0 && json_is_true(value)) ||
           ((r->neutral & NUMBER) != 0 && number && numbers_equal(n, r->number)) ||
           ((r->neutral & NOT_POSITIVE) != 0 && number && n <= 0) ||
           ((r->neutral & EMPTY) != 0 && is_empty(value)) ||
           ((r->neutral & WORDS) != 0 && is_word(r, value)) ||
           ((r->neutral & TEXT) != 0 && is_text(value));
}

/* Compares as numbers: 8 and 8.0 are the same. */
static bool says_the_same(const json_t *value, const json_t *ours)
{
    return json_is_number(value) && json_is_number(ours) &&
           numbers_equal(json_number_value(value), json_number_value(ours));
}

/* Whether a field has an effect; a penalty of 1 has none. */
static bool is_given(const json_t *value)
{
    return value != NULL && !json_is_null(value) && !is_empty(value) &&
           !(json_is_number(value) && numbers_equal(json_number_value(value), 1));
}

enum kl_status kl_unsupported_fields_check(const json_t *body, enum kl_field_routes route,
                                           struct kl_api_error *error)
{
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        const struct rule *r = &rules[i];
        const json_t *value = json_object_get(body, r->name);
        if (value == NULL || ((r->routes != 0 ? r->routes : ANY) & route) == 0 ||
            is_neutral(r, value) ||
            (r->same_as != NULL && says_the_same(value, json_object_get(body, r->same_as))) ||
            (r->only_with != NULL && !is_given(json_object_get(body, r->only_with))))
            continue;
        bool way = r->instead != NULL;
        return kl_api_fail(error, 400, "unsupported", r->name,
                           "%s is not offered by this server%s%s, and ignoring it would change "
                           "the answer; leave it out",
                           r->name, way ? ": " : "", way ? r->instead : "");
    }
    return KL_OK;
}

const char *kl_unsupported_field_at(size_t i)
{
    return i < sizeof rules / sizeof rules[0] ? rules[i].name : NULL;
}
