#include "engine/answer.h"

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

enum kl_answer kl_answer_accept(struct kl_request *r, int32_t token, struct kl_error *err)
{
    bool ended = kl_tokenizer_is_end(r->detokenizer.tokenizer, token);
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

/* Chooses the token of a row, and sends its log-probabilities if they are asked for. */
static int32_t choose(struct kl_request *r, struct kl_sampler *sampler, const struct kl_want *want,
                      struct kl_candidates *candidates)
{
    struct kl_history history = kl_request_history(r, r->n_tokens);
    const float *logits = want->all ? kl_sampler_copy(sampler, candidates) : NULL;
    int32_t token =
        kl_sampler_choose(sampler, &r->sampling, want, &history, candidates, &r->random);
    if (r->logprobs && token >= 0)
        kl_answer_send_logprobs(r, logits, want->n_vocab, token);
    return token;
}

enum kl_answer kl_answer_choose(struct kl_request *r, struct kl_sampler *sampler,
                                struct kl_answer_rows *rows, size_t *n_used, struct kl_error *err)
{
    enum kl_answer answer = KL_ANSWER_CONTINUES;
    bool as_proposed = true;
    size_t used = 0;
    while (used < rows->n && as_proposed && answer == KL_ANSWER_CONTINUES) {
        const struct kl_want *want = &rows->wants[used];
        struct kl_candidates *candidates = &rows->candidates[used++];
        if (rows->n > 1)
            correct_history(r, rows->seen, want->n_vocab);
        int32_t token = choose(r, sampler, want, candidates);
        if (token == KL_CHOICE_BANNED) {
            answer = end_text(r, err);
            break;
        }
        if (token < 0) {
            kl_fail(err, KL_ERR_FORMAT,
                    "the model computed no usable number for the next token: its file may be "
                    "damaged");
            answer = KL_ANSWER_FAILED;
            break;
        }
        /* The proposed token is overwritten by the accepted one. Text that may not have room for
         * that of one more token is sent first. */
        as_proposed = used < rows->n && r->tokens[r->n_tokens] == token;
        answer = kl_answer_accept(r, token, err);
        as_proposed = as_proposed && r->pending.len + KL_TOKEN_TEXT_SIZE <= KL_PENDING_SIZE &&
                      r->n_token_events < KL_STEP_LOGPROBS;
    }
    r->n_proposed = 0;
    *n_used = used;
    return answer;
}
