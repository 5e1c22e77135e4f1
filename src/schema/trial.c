#include "schema/trial.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "grammar/matcher.h"

/* The longest token that is looked for where a text is cut without the tokenizer's own rules. */
enum { LONGEST_TOKEN = 64 };

struct judgement {
    const struct kl_trial_tools *tools;
    struct kl_trial *trial;
    struct kl_matcher *matcher;
    uint64_t *allowed; /* [vocabulary / 64 + 1] */
    struct kl_tokens tokens;
    int32_t end_token;
    struct kl_error *err;
};

/* ---- text to tokens -------------------------------------------------------------------------- */

/* Whether the tokens spell the text: those of a text that the model wants normalised (NFC) spell
 * another one if it was not. */
static bool spell(const struct kl_tokenizer *tokenizer, const struct kl_tokens *tokens,
                  struct kl_json_span text)
{
    size_t at = 0;
    for (size_t i = 0; i < tokens->len; i++) {
        size_t n;
        const char *piece = kl_tokenizer_piece(tokenizer, tokens->ids[i], &n);
        if (n > text.len - at || memcmp(piece, text.text + at, n) != 0)
            return false;
        at += n;
    }
    return at == text.len;
}

/* Cuts a text into the longest tokens from the left. */
static enum kl_status cut(struct judgement *j, struct kl_json_span text)
{
    const struct kl_tokenizer *tokenizer = j->tools->tokenizer;
    j->tokens.len = 0;
    for (size_t at = 0, n; at < text.len; at += n) {
        int32_t id = -1;
        n = text.len - at < LONGEST_TOKEN ? text.len - at : LONGEST_TOKEN;
        for (; n > 0; n--) {
            id = kl_tokenizer_find(tokenizer, text.text + at, n);
            if (id >= 0 && !kl_tokenizer_is_control(tokenizer, id))
                break;
        }
        if (n == 0)
            return kl_fail(j->err, KL_ERR_UNSUPPORTED,
                           "the vocabulary has no token for the byte %u",
                           (unsigned)(unsigned char)text.text[at]);
        if (kl_tokens_push(&j->tokens, id) != KL_OK)
            return kl_fail_memory(j->err, "tokens", j->tokens.len * sizeof(int32_t));
    }
    return KL_OK;
}

static enum kl_status encode(struct judgement *j, struct kl_json_span text)
{
    const struct kl_span span = {.text = text.text, .len = text.len};
    j->tokens.len = 0;
    enum kl_status status = kl_tokenizer_encode(j->tools->tokenizer, &span, 1, &j->tokens, j->err);
    if (status != KL_OK || spell(j->tools->tokenizer, &j->tokens, text))
        return status;
    return cut(j, text);
}

/* ---- one text -------------------------------------------------------------------------------- */

static enum kl_status add_time(struct judgement *j, double us)
{
    struct kl_trial *t = j->trial;
    if (t->n_masks == KL_TRIAL_MAX_MASKS)
        return kl_fail(j->err, KL_ERR_LIMIT, "the instances have more than %d tokens",
                       KL_TRIAL_MAX_MASKS);
    if (t->n_masks == t->masks_room) {
        size_t room = t->masks_room == 0 ? 256 : 2 * t->masks_room;
        double *times = realloc(t->mask_us, room * sizeof *times);
        if (times == NULL)
            return kl_fail_memory(j->err, "the times of masks", room * sizeof *times);
        t->mask_us = times;
        t->masks_room = room;
    }
    t->mask_us[t->n_masks++] = us;
    return KL_OK;
}

/* Computes the mask and then lets the rule accept a token; *accepted: it did. The error of a rule
 * that reached a limit goes to the trial. */
static enum kl_status step(struct judgement *j, struct kl_rule_state *state, int32_t token,
                           size_t at, bool *accepted)
{
    size_t n_allowed;
    uint64_t start = kl_now_ns();
    enum kl_status status =
        kl_matcher_allowed(j->matcher, state, j->allowed, &n_allowed, &j->trial->error);
    if (status != KL_OK)
        return status;
    bool masked = (j->allowed[token / 64] >> (token % 64) & 1) == 0;
    *accepted = kl_matcher_accept(j->matcher, state, token);
    status = add_time(j, (double)(kl_now_ns() - start) * 1e-3);
    if (status != KL_OK || masked != *accepted)
        return status;
    /* a limit that accepting reached sticks */
    status = kl_matcher_allowed(j->matcher, state, j->allowed, &n_allowed, &j->trial->error);
    if (status == KL_OK)
        return kl_fail(j->err, KL_ERR_FORMAT,
                       "a bug: token %d at byte %zu is %s by the mask, but the rule %s it",
                       (int)token, at, masked ? "forbidden" : "allowed",
                       *accepted ? "accepts" : "refuses");
    return status;
}

static enum kl_status judge(struct judgement *j, struct kl_json_span text,
                            struct kl_trial_instance *instance)
{
    struct kl_rule_state state;
    size_t at = 0;
    enum kl_status status = encode(j, text);
    instance->tokens = j->tokens.len;
    kl_matcher_begin(j->matcher, &state);
    for (size_t i = 0; i < j->tokens.len && status == KL_OK; i++) {
        size_t n;
        bool accepted = false;
        int32_t token = j->tokens.ids[i];
        const char *piece = kl_tokenizer_piece(j->tools->tokenizer, token, &n);
        status = step(j, &state, token, at, &accepted);
        if (status == KL_OK && !accepted) {
            size_t fit = kl_matcher_accept_bytes(j->matcher, &state, piece, n);
            instance->stopped_at = at + fit;
            if (fit == n)
                status = kl_fail(j->err, KL_ERR_FORMAT,
                                 "a bug: token %d at byte %zu is refused, but not its bytes",
                                 (int)token, at);
            return status;
        }
        at += n;
    }
    if (status != KL_OK)
        return status;
    instance->stopped_at = at;
    return step(j, &state, j->end_token, at, &instance->accepted);
}

/* ---- all ------------------------------------------------------------------------------------- */

static enum kl_status judge_all(struct judgement *j, const struct kl_json_span *texts, size_t n)
{
    struct kl_trial *t = j->trial;
    t->instances = calloc(n > 0 ? n : 1, sizeof *t->instances);
    if (t->instances == NULL)
        return kl_fail_memory(j->err, "instances", n * sizeof *t->instances);
    for (size_t i = 0; i < n; i++) {
        enum kl_status status = judge(j, texts[i], &t->instances[i]);
        if (status != KL_OK)
            return status;
    }
    t->n_instances = n;
    return KL_OK;
}

static enum kl_status prepare(struct judgement *j)
{
    size_t n_words = kl_token_trie_vocab(j->tools->trie) / 64 + 1;
    size_t n_tokens = kl_tokenizer_size(j->tools->tokenizer);
    j->allowed = calloc(n_words, sizeof *j->allowed);
    if (j->allowed == NULL)
        return kl_fail_memory(j->err, "a mask", n_words * sizeof *j->allowed);
    while ((size_t)j->end_token < n_tokens &&
           !kl_tokenizer_is_end(j->tools->tokenizer, j->end_token))
        j->end_token++;
    if ((size_t)j->end_token == n_tokens)
        return kl_fail(j->err, KL_ERR_UNSUPPORTED,
                       "the tokenizer has no token that ends an answer");
    return KL_OK;
}

enum kl_status kl_trial_run(const struct kl_trial_tools *tools, const json_t *schema,
                            const struct kl_json_span *texts, size_t n_texts,
                            struct kl_trial *trial, struct kl_error *err)
{
    struct kl_rule *rule;
    struct judgement j = {.tools = tools, .trial = trial, .err = err};
    *trial = (struct kl_trial){0};
    uint64_t start = kl_now_ns();
    enum kl_status status =
        kl_schema_compile(schema, tools->reading, &rule, &trial->refusal, &trial->error);
    if (status == KL_OK)
        status = kl_matcher_open(rule, tools->trie, &j.matcher, err);
    trial->compile_us = (double)(kl_now_ns() - start) * 1e-3;
    trial->states = rule != NULL ? rule->n_states : 0;
    if (status == KL_OK)
        status = prepare(&j);
    if (status == KL_OK)
        status = judge_all(&j, texts, n_texts);
    kl_matcher_close(j.matcher);
    kl_rule_disown(rule);
    free(j.allowed);
    kl_tokens_release(&j.tokens);
    /* what the rule cannot do is a result; no memory is none */
    if (trial->error.status == KL_ERR_MEMORY && err != NULL)
        *err = trial->error;
    return trial->error.status == KL_OK || trial->error.status == KL_ERR_MEMORY ? status : KL_OK;
}

void kl_trial_release(struct kl_trial *trial)
{
    free(trial->instances);
    free(trial->mask_us);
    *trial = (struct kl_trial){0};
}
