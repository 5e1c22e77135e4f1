#include "engine/answer.h"

#include <string.h>

#include "engine/logprobs.h"
#include "engine/request_events.h"
#include "text/tokenizer.h"

enum kl_finish kl_answer_finish(enum kl_answer answer)
{
    switch (answer) {
    case KL_ANSWER_CONTINUES:
    case KL_ANSWER_FAILED:
        break;
    case KL_ANSWER_STOPS:
        return KL_FINISH_STOP;
    case KL_ANSWER_FULL:
        return KL_FINISH_LENGTH;
    case KL_ANSWER_REPEATS:
        return KL_FINISH_REPETITION;
    }
    return KL_FINISH_ERROR;
}

/* Appends the text of a token (-1: none) to the pending text; sets how much of its end is withheld,
 * and whether a stop string was found. */
static enum kl_status push_text(struct kl_request *r, int32_t token, bool last, bool *stops)
{
    size_t scanned = r->pending.len;
    enum kl_status status = KL_OK;
    if (token >= 0)
        status = kl_detokenizer_push(&r->detokenizer, token, &r->pending);
    if (status == KL_OK && last)
        status = kl_detokenizer_finish(&r->detokenizer, &r->pending);
    *stops = false;
    r->withheld = 0;
    if (status == KL_OK && r->pending.len > 0)
        r->withheld =
            kl_stop_scan(&r->stops, r->pending.data + scanned, r->pending.len - scanned, stops);
    return status;
}

static bool repeats_itself(struct kl_request *r, int32_t token)
{
    size_t len = 0;
    if (r->loop_guard.symbols == NULL)
        return false;
    const char *text = kl_tokenizer_piece(r->detokenizer.tokenizer, token, &len);
    return kl_loop_guard_push(&r->loop_guard, token, text, len);
}

static enum kl_answer rule_failed(const struct kl_request *r, struct kl_error *err)
{
    const int32_t *tokens;
    size_t n;
    if (kl_request_rule_forced(&r->rule, &r->rule.state, &tokens, &n, err) == KL_OK)
        kl_fail(err, KL_ERR_FORMAT, "the rule does not accept a token that it allowed before");
    return KL_ANSWER_FAILED;
}

enum kl_answer kl_answer_accept(struct kl_request *r, int32_t token, struct kl_error *err)
{
    bool ended = kl_tokenizer_is_end(r->detokenizer.tokenizer, token);
    if (r->rule.matcher != NULL && !kl_request_rule_accept(&r->rule, &r->rule.state, token))
        return rule_failed(r, err);
    if (r->token_ids && !r->logprobs && !kl_tokenizer_is_control(r->detokenizer.tokenizer, token))
        kl_request_send_token(r, &(struct kl_logprob){.id = token}, 1);
    if (!ended)
        r->tokens[r->n_tokens++] = token;
    bool full = kl_request_answer_tokens(r) == r->max_answer;
    bool repeats = !ended && repeats_itself(r, token), last = ended || full || repeats;
    bool stops;
    enum kl_status status = push_text(r, ended ? -1 : token, last, &stops);
    if (status != KL_OK) {
        r->withheld = r->pending.len;
        kl_fail(err, status, "token %d: its text does not fit into %zu bytes", (int)token,
                KL_PENDING_SIZE);
        return KL_ANSWER_FAILED;
    }
    if (last && !stops)
        r->withheld = 0;
    kl_request_cut_text(r);
    if (stops || ended)
        return KL_ANSWER_STOPS;
    if (repeats)
        return KL_ANSWER_REPEATS;
    return full ? KL_ANSWER_FULL : KL_ANSWER_CONTINUES;
}

/* Ends an answer that no token may continue. */
static enum kl_answer end_text(struct kl_request *r, struct kl_error *err)
{
    bool stops;
    enum kl_status status = push_text(r, -1, true, &stops);
    if (status != KL_OK || !stops)
        r->withheld = 0;
    kl_request_cut_text(r);
    if (status == KL_OK)
        return KL_ANSWER_STOPS;
    kl_fail(err, status, "the end of the answer does not fit into %zu bytes", KL_PENDING_SIZE);
    return KL_ANSWER_FAILED;
}

/* Makes the history that the repetition penalty sees that of the request: when the rows were added
 * to the batch, it got the proposed tokens as well. */
static void correct_history(const struct kl_request *r, struct kl_seen *seen, size_t n_vocab)
{
    struct kl_want unused;
    struct kl_history history = kl_request_history(r, r->n_tokens);
    if (seen->n > r->n_tokens)
        seen->n = 0;
    kl_sampler_wants(&r->sampling, &history, n_vocab, seen, &unused);
}

void kl_answer_send_logprobs(struct kl_request *r, const float *logits, size_t n_vocab,
                             int32_t token)
{
    struct kl_logprob logprobs[1 + KL_MAX_TOP_LOGPROBS];
    const struct kl_tokenizer *tokenizer = r->detokenizer.tokenizer;
    if (kl_tokenizer_is_control(tokenizer, token) || kl_tokenizer_is_end(tokenizer, token))
        return;
    size_t n = kl_logprobs(logits, n_vocab, token, r->top_logprobs, logprobs);
    kl_request_send_token(r, logprobs, n);
}

/* The proposed tokens behind those of a request. */
struct proposal {
    size_t end;       /* of all of them, in request->tokens */
    size_t n_used;    /* rows whose tokens are part of the answer */
    bool as_proposed; /* up to here */
};

/* The proposed token is overwritten by the accepted one. */
static enum kl_answer accept_next(struct kl_request *r, int32_t token, struct proposal *p,
                                  struct kl_error *err)
{
    p->n_used += p->as_proposed;
    p->as_proposed = p->as_proposed && r->n_tokens < p->end && r->tokens[r->n_tokens] == token;
    return kl_answer_accept(r, token, err);
}

/* Text and events that may not have room for those of one more token are sent first. */
static bool has_room(const struct kl_request *r)
{
    return r->pending.len + KL_TOKEN_TEXT_SIZE <= KL_PENDING_SIZE &&
           r->n_token_events < KL_STEP_LOGPROBS;
}

/* With the last token of max_tokens, an answer is complete if only its end may follow. */
static enum kl_answer is_full(const struct kl_request *r)
{
    const int32_t *tokens;
    size_t n;
    struct kl_error err;
    bool ends = kl_request_rule_forced(&r->rule, &r->rule.state, &tokens, &n, &err) == KL_OK &&
                n > 0 && kl_tokenizer_is_end(r->detokenizer.tokenizer, tokens[0]);
    return ends ? KL_ANSWER_STOPS : KL_ANSWER_FULL;
}

/* Holds back forced tokens until their rows are computed, for log-probabilities. */
static void hold_forced(struct kl_request *r, const int32_t *tokens, size_t n)
{
    size_t left = r->max_answer - kl_request_answer_tokens(r);
    r->n_forced = n < left ? n : left;
    memcpy(r->tokens + r->n_tokens, tokens, r->n_forced * sizeof *tokens);
}

static enum kl_answer follow_rule(struct kl_request *r, struct proposal *p, struct kl_error *err)
{
    enum kl_answer answer = KL_ANSWER_CONTINUES;
    const int32_t *tokens;
    size_t n;
    while (answer == KL_ANSWER_CONTINUES) {
        r->rule.forces_more = !has_room(r);
        if (r->rule.forces_more || r->n_forced > 0)
            return answer;
        if (kl_request_rule_forced(&r->rule, &r->rule.state, &tokens, &n, err) != KL_OK)
            return KL_ANSWER_FAILED;
        if (n > 0 && r->logprobs)
            hold_forced(r, tokens, n);
        if (n == 0 || r->logprobs)
            return answer;
        for (size_t i = 0; i < n && has_room(r) && answer == KL_ANSWER_CONTINUES; i++)
            answer = accept_next(r, tokens[i], p, err);
    }
    return answer == KL_ANSWER_FULL ? is_full(r) : answer;
}

enum kl_answer kl_answer_follow_rule(struct kl_request *r, struct kl_error *err)
{
    struct proposal none = {0};
    return follow_rule(r, &none, err);
}

/* Returns the token that follows a row: a forced one, or one of its candidates. Sends its
 * log-probabilities if they are asked for. */
static int32_t next_token(struct kl_request *r, struct kl_sampler *sampler,
                          const struct kl_want *want, struct kl_candidates *candidates)
{
    struct kl_history history = kl_request_history(r, r->n_tokens);
    const float *logits = want->all ? kl_sampler_copy(sampler, candidates) : NULL;
    int32_t token;
    if (r->n_forced > 0) {
        token = r->tokens[r->n_tokens];
        r->n_forced--;
    } else {
        token = kl_sampler_choose(sampler, &r->sampling, want, &history, candidates, &r->random);
    }
    if (r->logprobs && token >= 0)
        kl_answer_send_logprobs(r, logits, want->n_vocab, token);
    return token;
}

/* Chooses a token from the candidates of a row, and accepts it and what the rule forces then. */
static enum kl_answer choose(struct kl_request *r, struct kl_sampler *sampler,
                             const struct kl_want *want, struct kl_candidates *candidates,
                             struct proposal *p, struct kl_error *err)
{
    if (want->allowed != NULL && want->n_allowed == 0)
        return rule_failed(r, err);
    int32_t token = next_token(r, sampler, want, candidates);
    if (token == KL_CHOICE_BANNED)
        return end_text(r, err);
    if (token < 0) {
        kl_fail(err, KL_ERR_FORMAT,
                "the model computed no usable number for the next token: its file may be damaged");
        return KL_ANSWER_FAILED;
    }
    enum kl_answer answer = accept_next(r, token, p, err);
    if (r->rule.matcher == NULL)
        return answer;
    if (answer == KL_ANSWER_FULL)
        return is_full(r);
    return answer == KL_ANSWER_CONTINUES ? follow_rule(r, p, err) : answer;
}

enum kl_answer kl_answer_choose(struct kl_request *r, struct kl_sampler *sampler,
                                struct kl_answer_rows *rows, size_t *n_used, struct kl_error *err)
{
    enum kl_answer answer = KL_ANSWER_CONTINUES;
    struct proposal p = {.end = r->n_tokens + r->n_proposed, .as_proposed = true};
    if (r->max_answer == 0)
        answer = KL_ANSWER_FULL;
    for (size_t row = 0; row < rows->n && p.as_proposed && answer == KL_ANSWER_CONTINUES; row++) {
        if (rows->candidates[row].overflow && row > 0)
            break; /* a proposed row: the next pass computes it again */
        if (r->n_proposed > 0)
            correct_history(r, rows->seen, rows->wants[row].n_vocab);
        answer = choose(r, sampler, &rows->wants[row], &rows->candidates[row], &p, err);
        if (!has_room(r))
            break;
    }
    r->n_proposed = 0;
    *n_used = p.n_used;
    return answer;
}
