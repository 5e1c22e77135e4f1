#include "service/raw_prompt.h"

#include <stdlib.h>
#include <string.h>

#include "service/context_policy.h"

/* Bytes of a token, for how much of a text can be left: those of code have 3 on average, and blanks
 * at the beginning of lines seldom more than this. */
#define MOST_TOKEN 16

/* ---- collecting ------------------------------------------------------------------------------ */

/* Makes room for `more` elements behind n. Arrays grow by doubling: *array is full when n is a
 * power of two or 0. */
static bool grow(void *array, size_t n, size_t more, size_t size)
{
    void **at = array;
    size_t room = 1, wanted = n + more;
    if (n > 0) {
        while (room < n)
            room *= 2;
        if (wanted <= room)
            return true;
    }
    while (room < wanted)
        room *= 2;
    void *moved = realloc(*at, room * size);
    if (moved == NULL)
        return false;
    *at = moved;
    return true;
}

static struct kl_raw_part *add_part(struct kl_raw_input *input, enum kl_raw_kind kind)
{
    if (!grow(&input->parts, input->n_parts, 1, sizeof *input->parts))
        return NULL;
    struct kl_raw_part *part = &input->parts[input->n_parts++];
    *part = (struct kl_raw_part){.kind = kind};
    return part;
}

enum kl_status kl_raw_input_begin(struct kl_raw_input *input)
{
    if (!grow(&input->begins, input->n_prompts, 1, sizeof *input->begins))
        return KL_ERR_MEMORY;
    input->begins[input->n_prompts++] = input->n_parts;
    return KL_OK;
}

enum kl_status kl_raw_input_text(struct kl_raw_input *input, const char *text, size_t len,
                                 bool special)
{
    struct kl_raw_part *part = add_part(input, KL_RAW_TEXT);
    if (part == NULL)
        return KL_ERR_MEMORY;
    part->text = text;
    part->len = len;
    part->special = special;
    return KL_OK;
}

/* The last part of the last prompt, if it has ids, which others may follow. */
static struct kl_raw_part *last_ids(const struct kl_raw_input *input)
{
    size_t begin = input->n_prompts > 0 ? input->begins[input->n_prompts - 1] : 0;
    struct kl_raw_part *last = input->n_parts > begin ? &input->parts[input->n_parts - 1] : NULL;
    return last != NULL && last->kind == KL_RAW_IDS ? last : NULL;
}

enum kl_status kl_raw_input_ids(struct kl_raw_input *input, const int32_t *ids, size_t n)
{
    if (n == 0)
        return KL_OK;
    if (!grow(&input->ids, input->n_ids, n, sizeof *input->ids))
        return KL_ERR_MEMORY;
    memcpy(input->ids + input->n_ids, ids, n * sizeof *ids);
    struct kl_raw_part *part = last_ids(input);
    if (part != NULL) {
        part->n_ids += n;
        input->n_ids += n;
        return KL_OK;
    }
    part = add_part(input, KL_RAW_IDS);
    if (part == NULL)
        return KL_ERR_MEMORY;
    part->ids_at = input->n_ids;
    part->n_ids = n;
    input->n_ids += n;
    return KL_OK;
}

enum kl_status kl_raw_input_fim(struct kl_raw_input *input, enum kl_fim_token fim)
{
    struct kl_raw_part *part = add_part(input, KL_RAW_FIM);
    if (part == NULL)
        return KL_ERR_MEMORY;
    part->fim = fim;
    return KL_OK;
}

static bool add_text(struct kl_raw_input *input, enum kl_raw_cut cut, const char *text, size_t len)
{
    if (len == 0)
        return true;
    bool added = kl_raw_input_text(input, text, len, false) == KL_OK;
    if (added)
        input->parts[input->n_parts - 1].cut = cut;
    return added;
}

static bool add_string(struct kl_raw_input *input, const char *text)
{
    return add_text(input, KL_RAW_EXTRA, text, strlen(text));
}

/* Appends a token that the model may lack. */
static bool add_mark(struct kl_raw_input *input, enum kl_fim_token fim, const char *otherwise)
{
    bool added = kl_raw_input_fim(input, fim) == KL_OK;
    if (added) {
        input->parts[input->n_parts - 1].cut = KL_RAW_EXTRA;
        input->parts[input->n_parts - 1].text = otherwise;
        input->parts[input->n_parts - 1].len = strlen(otherwise);
    }
    return added;
}

/* The names of the repository and of the file with the gap are llama-server's: neither is known. */
static bool add_files(struct kl_raw_input *input, const struct kl_raw_gap *gap)
{
    if (gap->n_files == 0)
        return true;
    bool added = add_mark(input, KL_FIM_REPOSITORY, "") && add_string(input, "myproject\n");
    for (size_t i = 0; i < gap->n_files && added; i++) {
        const struct kl_raw_file *file = &gap->files[i];
        added = add_mark(input, KL_FIM_FILE, "\n\n--- ") &&
                add_text(input, KL_RAW_EXTRA, file->name, file->name_len) &&
                add_string(input, "\n") &&
                add_text(input, KL_RAW_EXTRA, file->text, file->text_len);
    }
    return added && add_mark(input, KL_FIM_FILE, "\n\n--- ") && add_string(input, "filename\n");
}

enum kl_status kl_raw_input_gap(struct kl_raw_input *input, const struct kl_raw_gap *gap)
{
    bool added = kl_raw_input_begin(input) == KL_OK && add_files(input, gap) &&
                 kl_raw_input_fim(input, KL_FIM_PREFIX) == KL_OK &&
                 add_text(input, KL_RAW_BEFORE, gap->prefix, gap->prefix_len) &&
                 add_text(input, KL_RAW_KEPT, gap->line, gap->line_len) &&
                 kl_raw_input_fim(input, KL_FIM_SUFFIX) == KL_OK &&
                 add_text(input, KL_RAW_BEHIND, gap->suffix, gap->suffix_len) &&
                 kl_raw_input_fim(input, KL_FIM_MIDDLE) == KL_OK;
    return added ? KL_OK : KL_ERR_MEMORY;
}

void kl_raw_input_release(struct kl_raw_input *input)
{
    free(input->parts);
    free(input->begins);
    free(input->ids);
    *input = (struct kl_raw_input){0};
}

/* ---- encoding -------------------------------------------------------------------------------- */

static const char *field(const struct kl_raw_encoding *e)
{
    return e->input->field != NULL ? e->input->field : "prompt";
}

enum kl_status kl_raw_encoding_begin(struct kl_raw_encoding *e, const struct kl_raw_input *input,
                                     const struct kl_tokenizer *tokenizer, size_t limit,
                                     size_t room, struct kl_api_error *error)
{
    *e = (struct kl_raw_encoding){
        .input = input, .limit = limit, .room = room, .encoder.encoder.tokenizer = tokenizer};
    e->prompts = calloc(input->n_prompts, sizeof *e->prompts);
    e->lens = calloc(input->n_parts + 1, sizeof *e->lens);
    if (e->prompts == NULL || e->lens == NULL)
        return kl_api_fail_memory(error, "the prompt");
    e->n_prompts = input->n_prompts;
    return KL_OK;
}

void kl_raw_encoding_release(struct kl_raw_encoding *e)
{
    for (size_t i = 0; i < e->n_prompts; i++)
        kl_tokens_release(&e->prompts[i]);
    free(e->prompts);
    free(e->lens);
    kl_prompt_encoder_release(&e->encoder);
    *e = (struct kl_raw_encoding){0};
}

static enum kl_status fail_encoding(const struct kl_raw_encoding *e, enum kl_status status,
                                    struct kl_api_error *error)
{
    struct kl_error err;
    if (status == KL_ERR_LIMIT)
        return kl_api_fail(error, 400, "invalid_value", field(e),
                           "a text of %s has more than %zu bytes", field(e), KL_ENCODER_MAX_TEXT);
    kl_encoder_fail(e->encoder.encoder.tokenizer, status, &err);
    return kl_api_fail_internal(error, &err);
}

static enum kl_status push(struct kl_raw_encoding *e, int32_t id, struct kl_api_error *error)
{
    if (kl_tokens_push(&e->prompts[e->at], id) == KL_OK)
        return KL_OK;
    return kl_api_fail_memory(error, "the prompt");
}

static enum kl_status push_ids(struct kl_raw_encoding *e, const struct kl_raw_part *part,
                               struct kl_api_error *error)
{
    size_t n_vocab = kl_tokenizer_size(e->encoder.encoder.tokenizer);
    const int32_t *ids = e->input->ids + part->ids_at;
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < part->n_ids && status == KL_OK; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= n_vocab)
            return kl_api_fail(error, 400, "invalid_value", field(e),
                               "%s: %d is no token of this model, whose ids end at %zu", field(e),
                               (int)ids[i], n_vocab - 1);
        status = push(e, ids[i], error);
    }
    return status;
}

/* Appends a token for filling in; where the model has none, the text instead of it. */
static enum kl_status push_fim(struct kl_raw_encoding *e, const struct kl_raw_part *part,
                               struct kl_api_error *error)
{
    const struct kl_tokenizer *tokenizer = e->encoder.encoder.tokenizer;
    int32_t id = kl_fim_find(tokenizer, part->fim);
    struct kl_span span = {part->text, part->len, false};
    struct kl_error err;
    if (id >= 0)
        return push(e, id, error);
    if (part->text == NULL)
        return kl_api_fail(error, 400, "unsupported", field(e),
                           "this model cannot fill in the middle of a text: its vocabulary has no "
                           "tokens for that; serve a model for code, such as Qwen2.5-Coder");
    if (kl_tokenizer_encode(tokenizer, &span, 1, &e->prompts[e->at], &err) == KL_OK)
        return KL_OK;
    return kl_api_fail_internal(error, &err);
}

/* Returns the text of a part; of one that may be cut, no more than could be left of it. */
static struct kl_span span_of(const struct kl_raw_encoding *e, const struct kl_raw_part *part)
{
    struct kl_span span = {part->text, part->len, part->special};
    size_t most = e->room < SIZE_MAX / 4 / MOST_TOKEN ? e->room * MOST_TOKEN : SIZE_MAX / 2;
    if (part->cut == KL_RAW_KEPT || span.len <= most)
        return span;
    size_t at = part->cut == KL_RAW_BEHIND ? most : span.len - most;
    while (at < span.len && ((unsigned char)span.text[at] & 0xc0) == 0x80)
        at++; /* inside a character */
    if (part->cut == KL_RAW_BEHIND) {
        span.len = at;
    } else {
        span.text += at;
        span.len -= at;
    }
    return span;
}

/* Encodes a part of text; *done: all of it, and it is appended. */
static enum kl_status encode_text(struct kl_raw_encoding *e, const struct kl_raw_part *part,
                                  size_t *effort, bool *done, struct kl_api_error *error)
{
    enum kl_status status = KL_OK;
    size_t limit = part->cut == KL_RAW_KEPT ? e->limit : SIZE_MAX / 2;
    if (!e->encoding) {
        e->span = span_of(e, part);
        e->prompt = (struct kl_prompt){.spans = &e->span, .n_spans = 1};
        status = kl_prompt_encoder_begin(&e->encoder, &e->prompt, limit);
        e->encoding = true;
    }
    if (status == KL_OK)
        status = kl_prompt_encoder_step(&e->encoder, effort, done);
    if (status != KL_OK)
        return fail_encoding(e, status, error);
    if (!*done)
        return KL_OK;
    e->encoding = false;
    if (e->encoder.n_tokens > limit)
        return kl_context_too_long(e->encoder.n_tokens, e->limit, field(e), error);
    if (kl_prompt_encoder_copy(&e->encoder, &e->prompts[e->at]) != KL_OK)
        return kl_api_fail_memory(error, "the prompt");
    return KL_OK;
}

static enum kl_status encode_part(struct kl_raw_encoding *e, size_t *effort, bool *done,
                                  struct kl_api_error *error)
{
    const struct kl_raw_part *part = &e->input->parts[e->part];
    size_t before = e->prompts[e->at].len;
    enum kl_status status;
    *done = true;
    switch (part->kind) {
    case KL_RAW_IDS:
        status = push_ids(e, part, error);
        break;
    case KL_RAW_FIM:
        status = push_fim(e, part, error);
        break;
    default:
        *done = false;
        status = encode_text(e, part, effort, done, error);
        break;
    }
    e->lens[e->part] = e->prompts[e->at].len - before;
    return status;
}

/* ---- prompts --------------------------------------------------------------------------------- */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Removes tokens of the parts [begin, end) of a prompt with a gap, until it has e->room. */
static enum kl_status cut_prompt(struct kl_raw_encoding *e, size_t begin, size_t end,
                                 struct kl_api_error *error)
{
    struct kl_tokens *tokens = &e->prompts[e->at];
    size_t have[KL_RAW_EXTRA + 1] = {0}, take[KL_RAW_EXTRA + 1] = {0}, at = 0, n = 0;
    for (size_t i = begin; i < end; i++)
        have[e->input->parts[i].cut] += e->lens[i];
    if (have[KL_RAW_KEPT] > e->room)
        return kl_context_too_long(have[KL_RAW_KEPT], e->room, field(e), error);
    size_t room = e->room - have[KL_RAW_KEPT];
    size_t left = room - least(have[KL_RAW_BEFORE], room);
    take[KL_RAW_KEPT] = have[KL_RAW_KEPT];
    take[KL_RAW_BEHIND] = least(have[KL_RAW_BEHIND], left > room / 4 ? left : room / 4);
    take[KL_RAW_BEFORE] = least(have[KL_RAW_BEFORE], room - take[KL_RAW_BEHIND]);
    take[KL_RAW_EXTRA] =
        least(have[KL_RAW_EXTRA], room - take[KL_RAW_BEHIND] - take[KL_RAW_BEFORE]);
    for (size_t i = begin; i < end; i++) {
        enum kl_raw_cut cut = e->input->parts[i].cut;
        size_t len = e->lens[i], drop = least(len, have[cut] - take[cut]);
        have[cut] -= drop;
        size_t first = cut == KL_RAW_BEHIND ? at : at + drop;
        memmove(tokens->ids + n, tokens->ids + first, (len - drop) * sizeof *tokens->ids);
        n += len - drop;
        at += len;
    }
    tokens->len = n;
    return KL_OK;
}

/* Puts the token that begins texts before a prompt that is a text or begins with one, unless it
 * has it: Llama's models are lost without. An empty prompt gets one of every model, as OpenAI's API
 * does it. */
static enum kl_status begin_text(struct kl_raw_encoding *e, bool is_text,
                                 struct kl_api_error *error)
{
    static const char name[] = "<|endoftext|>";
    const struct kl_tokenizer *tokenizer = e->encoder.encoder.tokenizer;
    struct kl_tokens *tokens = &e->prompts[e->at];
    int32_t id = e->input->adds_bos ? kl_tokenizer_text_begin(tokenizer) : -1;
    bool is_wanted = id >= 0 && (tokens->len == 0 || (is_text && tokens->ids[0] != id));
    if (!is_wanted && (tokens->len > 0 || e->input->may_be_empty))
        return KL_OK;
    if (!is_wanted)
        id = kl_tokenizer_find(tokenizer, name, strlen(name));
    if (id >= 0)
        return kl_tokens_push_front(tokens, id) == KL_OK ? KL_OK
                                                         : kl_api_fail_memory(error, "the prompt");
    return kl_api_fail(error, 400, "invalid_value", field(e),
                       "%s is empty, and the model has no token that begins a text", field(e));
}

/* Completes a prompt, of the parts [begin, end). */
static enum kl_status end_prompt(struct kl_raw_encoding *e, size_t begin, size_t end,
                                 struct kl_api_error *error)
{
    bool has_gap = false, is_text = begin < end && e->input->parts[begin].kind == KL_RAW_TEXT;
    for (size_t i = begin; i < end; i++)
        has_gap = has_gap || e->input->parts[i].cut != KL_RAW_KEPT;
    if (has_gap && e->prompts[e->at].len > e->room)
        return cut_prompt(e, begin, end, error);
    enum kl_status status = has_gap ? KL_OK : begin_text(e, is_text, error);
    if (status != KL_OK)
        return status;
    size_t n = e->prompts[e->at].len;
    return n > e->limit ? kl_context_too_long(n, e->limit, field(e), error) : KL_OK;
}

enum kl_status kl_raw_encoding_step(struct kl_raw_encoding *e, size_t *effort, bool *done,
                                    struct kl_api_error *error)
{
    const struct kl_raw_input *input = e->input;
    *done = false;
    while (e->at<input->n_prompts && * effort> 0) {
        size_t end = e->at + 1 < input->n_prompts ? input->begins[e->at + 1] : input->n_parts;
        bool encoded = false;
        enum kl_status status;
        if (e->part == end) {
            status = end_prompt(e, input->begins[e->at], end, error);
            e->at++;
        } else {
            status = encode_part(e, effort, &encoded, error);
            e->part += encoded;
        }
        if (status != KL_OK)
            return status;
    }
    *done = e->at == input->n_prompts;
    return KL_OK;
}
