#include "text/pretokenizer.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define WORD (KL_CHAR_LETTER | KL_CHAR_NUMBER | KL_CHAR_SPACE)

/* The code point at text, which is valid UTF-8: only the length has to be found out. */
static inline size_t decode_valid(const char *text, uint32_t *code_point)
{
    const unsigned char *t = (const unsigned char *)text;
    if (t[0] < 0x80) {
        *code_point = t[0];
        return 1;
    }
    if (t[0] < 0xE0) {
        *code_point = (t[0] & 0x1Fu) << 6 | (t[1] & 0x3Fu);
        return 2;
    }
    if (t[0] < 0xF0) {
        *code_point = (t[0] & 0x0Fu) << 12 | (t[1] & 0x3Fu) << 6 | (t[2] & 0x3Fu);
        return 3;
    }
    *code_point =
        (t[0] & 0x07u) << 18 | (t[1] & 0x3Fu) << 12 | (t[2] & 0x3Fu) << 6 | (t[3] & 0x3Fu);
    return 4;
}

/* The end of the run from `at` on of characters whose flags in `mask` are exactly `wanted`. */
static inline size_t run_end(const uint8_t *flags, const char *text, size_t len, size_t at,
                             unsigned mask, unsigned wanted)
{
    while (at < len) {
        uint32_t c;
        size_t n = decode_valid(text + at, &c);
        if ((flags[c] & mask) != wanted)
            break;
        at += n;
    }
    return at;
}

static inline bool is_newline(char c)
{
    return c == '\r' || c == '\n';
}

/* ---- qwen2 and llama3 --------------------------------------------------------------------------
 *
 *   (?i:'s|'t|'re|'ve|'m|'ll|'d) | [^\r\n\p{L}\p{N}]?\p{L}+ | \p{N} | ?[^\s\p{L}\p{N}]+[\r\n]*
 *   | \s*[\r\n]+ | \s+(?!\S) | \s+
 *
 * (the fourth alternative begins with an optional space). llama3 has \p{N}{1,3} for \p{N}.
 */

/* (?i:'s|'t|'re|'ve|'m|'ll|'d): its length or 0. The long s (U+017F) is an s to the reference. */
static size_t contraction(const char *text, size_t len)
{
    if (len < 2 || text[0] != '\'')
        return 0;
    char first = (char)(text[1] | 0x20);
    if (first == 's' || first == 't' || first == 'm' || first == 'd')
        return 2;
    if (len < 3)
        return 0;
    if (text[1] == '\xC5' && text[2] == '\xBF')
        return 3;
    char second = (char)(text[2] | 0x20);
    if (((first == 'r' || first == 'v') && second == 'e') || (first == 'l' && second == 'l'))
        return 3;
    return 0;
}

/* White space before something else: its last character goes with that, unless it is the only one.
 */
static size_t without_last(const char *text, size_t end)
{
    size_t last = end - 1;
    while (((unsigned char)text[last] & 0xC0) == 0x80)
        last--;
    return last > 0 ? last : end;
}

/* \s*[\r\n]+ | \s+(?!\S) | \s+ at the beginning of white space. */
static size_t white_space(const uint8_t *flags, const char *text, size_t len)
{
    size_t end = run_end(flags, text, len, 0, KL_CHAR_SPACE, KL_CHAR_SPACE);
    for (size_t i = end; i > 0; i--) {
        if (is_newline(text[i - 1]))
            return i;
    }
    return end == len ? end : without_last(text, end);
}

/* The end of the numbers from `at` on, of which there are at most n. */
static size_t numbers_end(const uint8_t *flags, const char *text, size_t len, size_t at, size_t n)
{
    for (; n > 0 && at < len; n--) {
        uint32_t c;
        size_t bytes = decode_valid(text + at, &c);
        if ((flags[c] & KL_CHAR_NUMBER) == 0)
            break;
        at += bytes;
    }
    return at;
}

static inline size_t qwen2_or_llama3_piece(const struct kl_char_classes *classes, const char *text,
                                           size_t len, size_t max_numbers)
{
    const uint8_t *flags = classes->flags;
    size_t n = contraction(text, len);
    if (n > 0)
        return n;

    uint32_t c;
    n = decode_valid(text, &c);
    unsigned kind = flags[c] & WORD;
    if (kind & KL_CHAR_LETTER)
        return run_end(flags, text, len, n, KL_CHAR_LETTER, KL_CHAR_LETTER);
    if (kind & KL_CHAR_NUMBER)
        return numbers_end(flags, text, len, n, max_numbers - 1);
    if (!is_newline(text[0]) && n < len) {
        size_t end = run_end(flags, text, len, n, KL_CHAR_LETTER, KL_CHAR_LETTER);
        if (end > n)
            return end;
    }
    if (kind == 0 || c == ' ') {
        size_t end = run_end(flags, text, len, kind == 0 ? 0 : n, WORD, 0);
        if (kind == 0 || end > n) {
            while (end < len && is_newline(text[end]))
                end++;
            return end;
        }
    }
    return white_space(flags, text, len);
}

static size_t qwen2_piece(const struct kl_char_classes *classes, const char *text, size_t len)
{
    return qwen2_or_llama3_piece(classes, text, len, 1);
}

static size_t llama3_piece(const struct kl_char_classes *classes, const char *text, size_t len)
{
    return qwen2_or_llama3_piece(classes, text, len, 3);
}

/* ---- smollm ------------------------------------------------------------------------------------
 *
 * Every \p{N} is a piece; of the text between them, each stretch for itself, GPT-2's rule:
 *
 *   's|'t|'re|'ve|'m|'ll|'d | ?\p{L}+ | ?\p{N}+ | ?[^\s\p{L}\p{N}]+ | \s+(?!\S) | \s+
 *
 * (the alternatives from the second to the fourth begin with an optional space)
 */

/* 's|'t|'re|'ve|'m|'ll|'d: its length or 0. */
static size_t small_contraction(const char *text, size_t len)
{
    if (len < 2 || text[0] != '\'')
        return 0;
    if (memchr("stmd", text[1], 4) != NULL)
        return 2;
    if (len < 3)
        return 0;
    return memcmp(text + 1, "re", 2) == 0 || memcmp(text + 1, "ve", 2) == 0 ||
                   memcmp(text + 1, "ll", 2) == 0
               ? 3
               : 0;
}

static size_t smollm_piece(const struct kl_char_classes *classes, const char *text, size_t len)
{
    const uint8_t *flags = classes->flags;
    size_t n = small_contraction(text, len);
    if (n > 0)
        return n;

    uint32_t c;
    n = decode_valid(text, &c);
    unsigned kind = flags[c] & WORD;
    if (kind & KL_CHAR_NUMBER)
        return n;
    if (c == ' ' && n < len) {
        decode_valid(text + n, &c);
        unsigned next = flags[c] & WORD;
        if (next == KL_CHAR_LETTER || next == 0)
            return run_end(flags, text, len, n, WORD, next);
    } else if (kind == KL_CHAR_LETTER || kind == 0) {
        return run_end(flags, text, len, n, WORD, kind);
    }
    size_t end = run_end(flags, text, len, n, KL_CHAR_SPACE, KL_CHAR_SPACE);
    if (end == len)
        return end;
    decode_valid(text + end, &c);
    return flags[c] & KL_CHAR_NUMBER ? end : without_last(text, end); /* a number ends a stretch */
}

#define QWEN2  .nfc = true, .all_bytes = true, .piece = qwen2_piece
#define LLAMA3 .all_bytes = true, .whole_tokens = true, .adds_bos = true, .piece = llama3_piece

/* One row for each name of a rule; converters have given some of them several. */
static const struct kl_pretokenizer pretokenizers[] = {
    {.name = "qwen2", QWEN2},      {.name = "deepseek-r1-qwen", QWEN2},
    {.name = "llama-bpe", LLAMA3}, {.name = "llama3", LLAMA3},
    {.name = "llama-v3", LLAMA3},  {.name = "smollm", .piece = smollm_piece},
};

enum kl_status kl_pretokenizer_find(const char *name, size_t len,
                                    const struct kl_pretokenizer **out, struct kl_error *err)
{
    char names[256] = "";
    for (size_t i = 0; i < sizeof pretokenizers / sizeof pretokenizers[0]; i++) {
        const char *known = pretokenizers[i].name;
        if (len == strlen(known) && memcmp(name, known, len) == 0) {
            *out = &pretokenizers[i];
            return KL_OK;
        }
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i > 0 ? ", " : "", known);
    }
    return kl_fail(err, KL_ERR_UNSUPPORTED,
                   "tokenizer.ggml.pre is \"%.*s\", which is not supported; these are: %s",
                   (int)(len < 64 ? len : 64), name, names);
}
