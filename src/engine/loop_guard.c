#include "engine/loop_guard.h"

#include <string.h>

#include "base/utf8.h"

/* For each repetition of KL_LOOP_REPEATS periods and KL_LOOP_TOKENS tokens there is a window that
 * is at most half of it and more than a quarter: at least two periods, enough to find the period.
 * Each window is searched whenever as many symbols as it holds were added, and so at least once
 * inside the repetition. (The smallest window is for lists, where 256 tokens are fewer symbols.) */
#define SMALLEST_WINDOW ((size_t)KL_LOOP_TOKENS / 4)

/* The numbers of all items are equal. */
static int32_t value_of(int32_t symbol)
{
    return symbol < 0 ? -1 : symbol;
}

static uint32_t tokens_of(int32_t symbol)
{
    return symbol < 0 ? (uint32_t)-symbol : 1;
}

void kl_loop_guard_init(struct kl_loop_guard *guard, int32_t *symbols)
{
    *guard = (struct kl_loop_guard){.symbols = symbols, .line = KL_LOOP_LINE_BEGINS};
}

/* ---- periods --------------------------------------------------------------------------------- */

/* Returns where the greatest suffix of x begins, in the order of the numbers or the opposite one,
 * and its period. Crochemore and Perrin, "Two-way string-matching", 1991, section 3.1. */
static size_t greatest_suffix(const int32_t *x, size_t n, bool opposite, size_t *period)
{
    size_t begin = 0, candidate = 1, k = 0, p = 1;
    while (candidate + k < n) {
        int32_t a = value_of(x[candidate + k]), b = value_of(x[begin + k]);
        if (a == b) {
            k++;
            if (k == p) {
                candidate += p;
                k = 0;
            }
        } else if ((a < b) != opposite) {
            candidate += k + 1;
            k = 0;
            p = candidate - begin;
        } else {
            begin = candidate;
            candidate++;
            k = 0;
            p = 1;
        }
    }
    *period = p;
    return begin;
}

/* Returns the smallest period of x if that is at most n / 2, otherwise any number: the period after
 * a critical position, which is the later of the two. */
static size_t small_period(const int32_t *x, size_t n)
{
    size_t p, opposite_p;
    size_t at = greatest_suffix(x, n, false, &p);
    return greatest_suffix(x, n, true, &opposite_p) > at ? opposite_p : p;
}

static bool is_enough(const struct kl_loop_level *level)
{
    return level->period != 0 && level->run >= KL_LOOP_REPEATS * level->period &&
           level->tokens >= KL_LOOP_TOKENS;
}

/* Finds the period of the last symbols, and how far back it goes. */
static void search(const struct kl_loop_guard *g, size_t window, struct kl_loop_level *level)
{
    size_t p = small_period(g->symbols + g->n - window, window);
    struct kl_loop_level found = {.period = (uint32_t)p};
    if (p > window / 2)
        return;
    for (size_t i = g->n; i-- > 0 && !is_enough(&found); found.run++) {
        if (found.run >= p && value_of(g->symbols[i]) != value_of(g->symbols[i + p]))
            break;
        found.tokens += tokens_of(g->symbols[i]);
    }
    if (found.run >= window)
        *level = found;
}

static bool add_symbol(struct kl_loop_guard *g, int32_t symbol)
{
    bool repeats = false;
    g->symbols[g->n++] = symbol;
    size_t window = SMALLEST_WINDOW;
    for (size_t i = 0; i < KL_LOOP_LEVELS && window <= g->n; i++, window *= 2) {
        struct kl_loop_level *level = &g->levels[i];
        if (level->period != 0 &&
            value_of(g->symbols[g->n - 1 - level->period]) == value_of(symbol)) {
            level->run++;
            level->tokens += tokens_of(symbol);
        } else {
            *level = (struct kl_loop_level){0};
        }
        if (level->period == 0 && g->n % window == 0)
            search(g, window, level);
        repeats |= is_enough(level);
    }
    return repeats;
}

/* ---- items of a list ------------------------------------------------------------------------- */

/* Properties of the text of a token. */
struct content {
    bool number; /* digits, perhaps after spaces, and nothing else */
    bool digit, letter, newline;
    bool begins_line; /* only blanks and marks after the last newline, if any */
    bool closes;      /* begins with the mark after the number of an item */
};

static bool is_mark(uint32_t c)
{
    return c < 0x80 && strchr(" \t*#>-+_`(", (int)c) != NULL && c != 0;
}

/* Beyond ASCII, only punctuation that is likely in lists counts as such. */
static bool is_letter(uint32_t c)
{
    if (c < 0x80)
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    bool punctuation = (c >= 0x2000 && c <= 0x206F) || (c >= 0x3000 && c <= 0x303F) ||
                       (c >= 0xFF00 && c <= 0xFF20);
    return !punctuation;
}

static struct content content_of(const char *text, size_t len)
{
    struct content found = {.number = len > 0, .begins_line = true};
    uint32_t c;
    bool valid;
    for (size_t at = 0; at < len;) {
        size_t size = kl_utf8_decode(text + at, len - at, &c, &valid);
        bool digit = c >= '0' && c <= '9';
        if (at == 0)
            found.closes = c == '.' || c == ')' || c == 0x3001 || c == 0xFF09 || c == 0xFF0E;
        found.digit |= digit;
        found.letter |= is_letter(c);
        found.newline |= c == '\n';
        found.begins_line = c == '\n' || (found.begins_line && is_mark(c));
        found.number &= digit || (c == ' ' && !found.digit);
        at += size;
    }
    found.number &= found.digit;
    return found;
}

/* Turns the pending tokens into symbols: as the number of an item, or each by itself. */
static bool decide(struct kl_loop_guard *g, bool item)
{
    bool repeats = item && add_symbol(g, -(int32_t)g->n_digits);
    for (size_t i = item ? g->n_digits : 0; i < g->n_pending; i++)
        repeats |= add_symbol(g, g->pending[i]);
    g->n_pending = g->n_digits = 0;
    return repeats;
}

/* Returns whether the token may belong to the beginning of an item, as the pending tokens before it
 * on the line. */
static bool is_undecided(struct kl_loop_guard *g, const struct content *c)
{
    if (c->newline || c->letter || g->n_pending == KL_LOOP_PENDING)
        return false;
    if (c->number && (g->line == KL_LOOP_LINE_BEGINS || g->line == KL_LOOP_NUMBER)) {
        g->line = KL_LOOP_NUMBER;
        g->n_digits++;
        return true;
    }
    if (c->digit || g->line == KL_LOOP_LINE_BEGINS || g->line == KL_LOOP_TEXT)
        return false;
    if (g->line == KL_LOOP_NUMBER && !c->closes)
        return false;
    g->line = KL_LOOP_AFTER_NUMBER;
    return true;
}

bool kl_loop_guard_push(struct kl_loop_guard *g, int32_t token, const char *text, size_t len)
{
    struct content c = content_of(text, len);
    if (is_undecided(g, &c)) {
        g->pending[g->n_pending++] = token;
        return false;
    }
    bool says = c.letter && !c.newline &&
                (g->line == KL_LOOP_AFTER_NUMBER || (g->line == KL_LOOP_NUMBER && c.closes));
    bool repeats = decide(g, says);
    repeats |= add_symbol(g, token);
    bool begins = c.begins_line && (c.newline || g->line == KL_LOOP_LINE_BEGINS);
    g->line = begins ? KL_LOOP_LINE_BEGINS : KL_LOOP_TEXT;
    return repeats;
}
