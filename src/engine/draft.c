#include "engine/draft.h"

#include <stdlib.h>
#include <string.h>

/* Lengths of the sequences whose last position is kept: short ones find a place soon, long ones the
 * right one among several. */
static const size_t lengths[] = {1, 2, 4, 8};
enum { N_LENGTHS = sizeof lengths / sizeof lengths[0], LONGEST = 8 };

/* Tokens that are compared to learn how long a match is. */
enum { MOST_LENGTH = 32 };

/* A place that was wrong may be right again behind an exchanged token; after more it is lost. */
enum { MOST_MISSES = 3 };

static size_t room_for(size_t ctx_size)
{
    return 2 * ctx_size + 1;
}

/* An entry for every sequence of a text of the whole context. */
static unsigned bits_for(size_t ctx_size)
{
    unsigned bits = 10;
    while (((size_t)1 << bits) < N_LENGTHS * ctx_size && bits < 31)
        bits++;
    return bits;
}

size_t kl_drafter_bytes(size_t ctx_size)
{
    return room_for(ctx_size) * sizeof(int32_t) +
           ((size_t)1 << bits_for(ctx_size)) * sizeof(uint32_t);
}

enum kl_status kl_drafter_open(struct kl_drafter *d, size_t ctx_size,
                               const struct kl_draft_memory *memory, struct kl_draft_rates *rates,
                               struct kl_error *err)
{
    *d = (struct kl_drafter){.memory = memory,
                             .rates = rates,
                             .room = room_for(ctx_size),
                             .table_bits = bits_for(ctx_size)};
    d->text = malloc(d->room * sizeof *d->text);
    d->table = calloc((size_t)1 << d->table_bits, sizeof *d->table);
    if (d->text == NULL || d->table == NULL)
        return kl_fail_memory(err, "drafts", kl_drafter_bytes(ctx_size));
    return KL_OK;
}

void kl_drafter_release(struct kl_drafter *d)
{
    free(d->text);
    free(d->table);
    *d = (struct kl_drafter){0};
}

void kl_drafter_begin(struct kl_drafter *d)
{
    d->own = (struct kl_draft_rates){0};
    d->n_text = 0;
    memset(d->places, 0, sizeof d->places);
    memset(d->table, 0, ((size_t)1 << d->table_bits) * sizeof *d->table);
}

/* ---- places ---------------------------------------------------------------------------------- */

/* The token at a place; -1: it has none. */
static int32_t token_at(const struct kl_drafter *d, enum kl_draft_source source, uint64_t at)
{
    if (source == KL_DRAFT_EARLIER)
        return kl_draft_memory_token(d->memory, at);
    return at < d->n_text ? d->text[at] : -1;
}

/* Where a text goes on after a wrong guess: where the token that came is close by, it goes on
 * behind that (some tokens were left out or inserted), otherwise behind the wrong one (exchanged).
 */
static uint64_t behind_change(const struct kl_drafter *d, enum kl_draft_source source, uint64_t at,
                              int32_t token)
{
    static const int nearby[] = {1, -1, 2, -2};
    for (size_t i = 0; i < sizeof nearby / sizeof nearby[0]; i++) {
        uint64_t other = at + (uint64_t)nearby[i];
        if (token_at(d, source, other) == token)
            return other + 1;
    }
    return at + 1;
}

/* Counts what the places guessed, and moves them behind the token that came. */
static void move_places(struct kl_drafter *d, int32_t token)
{
    for (enum kl_draft_source s = 0; s < KL_N_DRAFT_SOURCES; s++) {
        struct kl_draft_place *place = &d->places[s];
        int32_t guess = place->found ? token_at(d, s, place->at) : -1;
        if (guess < 0) {
            place->found = false;
            place->length = 0;
            continue;
        }
        kl_draft_rates_count(&d->own, d->rates, s, place->length, place->before, guess == token);
        if (guess == token) {
            place->at++;
            place->length++;
            place->n_misses = 0;
            continue;
        }
        place->at = behind_change(d, s, place->at, token);
        if (place->length > 1)
            place->before = place->length;
        place->length = 0;
        place->found = ++place->n_misses <= MOST_MISSES;
    }
}

/* Returns how many tokens before a place are equal to the latest ones. */
static size_t match_length(const struct kl_drafter *d, enum kl_draft_source source, uint64_t at)
{
    size_t n = 0;
    while (n < MOST_LENGTH && n < at && n < d->n_text && d->text[d->n_text - 1 - n] >= 0 &&
           token_at(d, source, at - 1 - n) == d->text[d->n_text - 1 - n])
        n++;
    return n;
}

/* Moves to a place if its match is longer. The end of the text is none: hashes of sequences in the
 * prediction and elsewhere may be equal, and then it is found in the table. */
static void take_longer(struct kl_drafter *d, enum kl_draft_source source, uint64_t at,
                        size_t least)
{
    struct kl_draft_place *place = &d->places[source];
    if (source != KL_DRAFT_EARLIER && at >= d->n_text)
        return;
    size_t length = match_length(d, source, at);
    if (length >= least && (!place->found || length > place->length))
        *place = (struct kl_draft_place){.found = true, .at = at, .length = length};
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Fills entries with those of the sequences that end with the text, the shortest first; returns how
 * many there are. salt: sequences of the prediction are kept apart. */
static size_t find_entries(struct kl_drafter *d, uint64_t salt, uint32_t *entries[N_LENGTHS])
{
    const uint64_t odd = 0x9E3779B97F4A7C15u;   /* 2^64 divided by the golden ratio */
    uint64_t hash = salt * 0xD6E8FEB86659FD93u; /* any odd number */
    size_t n = 0;
    for (size_t i = 1; i <= LONGEST && i <= d->n_text && d->text[d->n_text - i] >= 0; i++) {
        hash = (hash ^ (uint64_t)d->text[d->n_text - i]) * odd;
        hash ^= hash >> 29;
        if (i == lengths[n])
            entries[n++] = &d->table[hash * odd >> (64 - d->table_bits)];
    }
    return n;
}

static void look_up(struct kl_drafter *d, enum kl_draft_source source, uint32_t *entries[],
                    size_t n)
{
    /* an entry of another sequence may be the end of the text, which nothing follows */
    for (size_t i = n; i-- > 0 && d->places[source].length < lengths[i];)
        if (*entries[i] > 0 && *entries[i] < d->n_text)
            take_longer(d, source, *entries[i], lengths[i]);
}

static void read_token(struct kl_drafter *d, const struct kl_draft_input *in, int32_t token)
{
    size_t at = d->n_text, prompt = in->n_prediction + 1;
    bool predicted = at < in->n_prediction;
    uint32_t *entries[N_LENGTHS];
    if (at >= prompt + in->n_prompt)
        move_places(d, token);
    d->text[d->n_text++] = token;
    size_t n = find_entries(d, predicted, entries);
    if (at + 1 >= prompt + in->n_prompt) {
        look_up(d, KL_DRAFT_CONVERSATION, entries, n);
        if (d->places[KL_DRAFT_EARLIER].length < KL_DRAFT_MEMORY_MATCH) {
            uint64_t place = kl_draft_memory_find(d->memory, in->scope, d->text, d->n_text);
            if (place != KL_DRAFT_NOWHERE)
                take_longer(d, KL_DRAFT_EARLIER, place, KL_DRAFT_MEMORY_MATCH);
        }
    }
    for (size_t i = 0; i < n; i++)
        *entries[i] = (uint32_t)d->n_text;
    if (at + 1 < prompt + in->n_prompt || in->n_prediction == 0)
        return;
    if (at + 1 == prompt + in->n_prompt) /* the answer is likely to begin as the prediction does */
        d->places[KL_DRAFT_PREDICTION] = (struct kl_draft_place){.found = true};
    n = find_entries(d, 1, entries);
    look_up(d, KL_DRAFT_PREDICTION, entries, n);
}

/* All that a drafter reads of a request, one after the other. */
static size_t all_text(const struct kl_draft_input *in)
{
    return in->n_prediction + 1 + in->n_tokens;
}

void kl_drafter_read(struct kl_drafter *d, const struct kl_draft_input *in)
{
    for (size_t n = 0; n < KL_DRAFT_PIECE && d->n_text < all_text(in) && d->n_text < d->room; n++) {
        size_t at = d->n_text;
        if (at == in->n_prediction)
            d->text[d->n_text++] = -1;
        else if (at < in->n_prediction)
            read_token(d, in, in->prediction[at]);
        else
            read_token(d, in, in->tokens[at - in->n_prediction - 1]);
    }
}

/* ---- guessing -------------------------------------------------------------------------------- */

size_t kl_draft(const struct kl_drafter *d, const struct kl_draft_input *in, struct kl_draft *out,
                size_t max, enum kl_draft_source *source)
{
    float best = 0.0f;
    if (d->n_text < all_text(in))
        return 0;
    for (enum kl_draft_source s = 0; s < KL_N_DRAFT_SOURCES; s++) {
        float chance =
            kl_draft_rates_chance(&d->own, d->rates, s, d->places[s].length, d->places[s].before);
        if (d->places[s].found && chance > best) {
            best = chance;
            *source = s;
        }
    }
    if (!(best > 0.0f))
        return 0;
    const struct kl_draft_place *place = &d->places[*source];
    float all_right = 1.0f;
    size_t n = 0;
    for (; n < max && n < KL_DRAFT_MAX; n++) {
        uint64_t at = place->at + n;
        bool own = *source != KL_DRAFT_EARLIER && at >= d->n_text; /* it repeats the end */
        int32_t token = own ? out[at - d->n_text].token : token_at(d, *source, at);
        if (token < 0)
            break;
        all_right *=
            kl_draft_rates_chance(&d->own, d->rates, *source, place->length + n, place->before);
        out[n] = (struct kl_draft){token, all_right};
    }
    return n;
}
