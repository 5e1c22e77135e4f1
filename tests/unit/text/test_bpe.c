/* src/text/bpe.c, against the definition: merge the leftmost pair of the lowest rank, again and
 * again. On the vocabularies of real models: tests/fidelity/test_tokenizer.py */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "text/bpe.h"
#include "text/char_tokens.h"
#include "tiny_vocab.h"

#define NO_MERGE INT32_MAX
#define LONGEST  400 /* bytes; longer than what merges by blocks of ranks */

struct fixture {
    struct kl_vocab vocab;
    struct kl_bpe bpe;
    int32_t ranks[TINY_MAX][TINY_MAX]; /* of the merge of two tokens */
    int32_t results[TINY_MAX];         /* the token that the merge of a rank makes */
};

/* The id of the token that is written so. All bytes of these tests stand for themselves in the byte
 * alphabet: characters up to U+00FF. */
static int32_t id_of(const struct fixture *f, const char *name, size_t len)
{
    char bytes[64];
    size_t n = 0;
    for (size_t i = 0; i < len;) {
        uint32_t c;
        bool valid;
        i += kl_utf8_decode(name + i, len - i, &c, &valid);
        assert_true(valid && c < 256);
        bytes[n++] = (char)c;
    }
    return kl_vocab_find(&f->vocab, bytes, n);
}

static void tabulate(struct fixture *f, const struct tiny_vocab *v)
{
    for (size_t i = 0; i < TINY_MAX; i++) {
        for (size_t j = 0; j < TINY_MAX; j++)
            f->ranks[i][j] = NO_MERGE;
    }
    for (size_t rank = 0; rank < v->n_merges; rank++) {
        char token[64];
        size_t left = strcspn(v->merges[rank], " ");
        const char *right = v->merges[rank] + left + 1;
        snprintf(token, sizeof token, "%.*s%s", (int)left, v->merges[rank], right);
        int32_t left_id = id_of(f, token, left);
        int32_t right_id = id_of(f, right, strlen(right));
        f->ranks[left_id][right_id] = (int32_t)rank;
        f->results[rank] = id_of(f, token, strlen(token));
    }
}

static void open_fixture(struct fixture *f, const struct tiny_vocab *v)
{
    struct kl_gguf *gguf = tiny_gguf(v);
    struct kl_error err = {0};
    if (kl_vocab_load(&f->vocab, gguf, &err) != KL_OK ||
        kl_bpe_load(&f->bpe, gguf, &f->vocab, &err) != KL_OK)
        fail_msg("%s", err.text);
    kl_gguf_close(gguf);
    tabulate(f, v);
}

static void close_fixture(struct fixture *f)
{
    kl_bpe_release(&f->bpe);
    kl_vocab_release(&f->vocab);
}

static size_t by_definition(const struct fixture *f, const char *piece, size_t len, int32_t *ids)
{
    size_t n = len;
    for (size_t i = 0; i < n; i++)
        ids[i] = (unsigned char)piece[i];
    while (true) {
        int32_t best = NO_MERGE;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            int32_t rank = f->ranks[ids[i]][ids[i + 1]];
            if (rank < best) {
                best = rank;
                at = i;
            }
        }
        if (best == NO_MERGE)
            return n;
        ids[at] = f->results[best];
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof *ids);
        n--;
    }
}

static void assert_by_definition(const struct fixture *f, const char *piece, size_t len,
                                 struct kl_bpe_scratch *scratch)
{
    int32_t expected[LONGEST + 4];
    struct kl_tokens ids = {0};
    assert_int_equal(kl_bpe_encode(&f->bpe, piece, len, scratch, &ids), KL_OK);
    assert_int_equal(ids.len, by_definition(f, piece, len, expected));
    assert_memory_equal(ids.ids, expected, ids.len * sizeof *expected);
    kl_tokens_release(&ids);
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u; /* Knuth, TAOCP 3.3.4 */
    return *state >> 16;
}

/* The parts that pieces are composed of. */
struct units {
    const char *texts[8];
    size_t n;
};

/* Random pieces, shorter and longer than where the way of merging changes. */
static void assert_random_pieces(const struct tiny_vocab *v, const struct units *units,
                                 size_t rounds)
{
    static struct fixture f;
    struct kl_bpe_scratch scratch = {0};
    open_fixture(&f, v);
    uint32_t random = 12345;
    for (size_t round = 1; round <= rounds; round++) {
        char piece[LONGEST + 4];
        size_t len = 0;
        while (len < round * LONGEST / rounds) {
            const char *unit = units->texts[next_random(&random) % units->n];
            memcpy(piece + len, unit, strlen(unit));
            len += strlen(unit);
        }
        assert_by_definition(&f, piece, len, &scratch);
    }
    kl_bpe_scratch_release(&scratch);
    close_fixture(&f);
}

static const struct units letters[] = {{{"a"}, 1},
                                       {{"a", "b"}, 2},
                                       {{"a", "b", "c"}, 3},
                                       {{"a", "b", "c", "d"}, 4},
                                       {{"a", "a", "a", "b", "c", "x"}, 6}};

static void merges_as_defined(void **state)
{
    (void)state;
    static const char *const merges[] = {"a a",       "a b",  "b c",  "aa aa", "ab c",
                                         "aa b",      "c ab", "d d",  "dd d",  "abc abc",
                                         "aaaa aaaa", "b b",  "aab c"};
    struct tiny_vocab v;
    tiny_init(&v);
    for (size_t i = 0; i < sizeof merges / sizeof *merges; i++)
        tiny_merge(&v, merges[i]);
    for (size_t i = 0; i < sizeof letters / sizeof *letters; i++)
        assert_random_pieces(&v, &letters[i], LONGEST);
}

#define N_RANDOM 16

/* Merges of some bytes and what they make, in any order if `shuffled`; merges: where their texts
 * are kept. */
static void random_vocab(struct tiny_vocab *v, const struct units *bytes, bool shuffled,
                         char (*merges)[40], uint32_t *random)
{
    const char *tokens[8 + N_RANDOM];
    size_t n = bytes->n;
    memcpy(tokens, bytes->texts, sizeof bytes->texts);
    tiny_init(v);
    for (size_t i = 0; i < N_RANDOM; i++) {
        const char *left = tokens[next_random(random) % n];
        const char *right = tokens[next_random(random) % n];
        snprintf(merges[i], sizeof merges[i], "%s %s", left, right);
        if (strlen(merges[i]) > 18 || tiny_has_merge(v, merges[i]))
            continue;
        size_t before = v->n_tokens;
        tiny_merge(v, merges[i]);
        if (v->n_tokens > before)
            tokens[n++] = v->tokens[before];
    }
    for (size_t i = shuffled ? v->n_merges : 0; i > 1; i--) {
        size_t other = next_random(random) % i;
        const char *merge = v->merges[i - 1];
        v->merges[i - 1] = v->merges[other];
        v->merges[other] = merge;
    }
}

/* No training makes such merges: some rank before those that make their halves, several make the
 * same token. The definition still says what they mean. */
static void random_merges_as_defined(void **state)
{
    (void)state;
    uint32_t random = 1;
    for (int round = 0; round < 300; round++) {
        struct tiny_vocab v;
        char merges[N_RANDOM][40];
        random_vocab(&v, &letters[2], true, merges, &random);
        assert_random_pieces(&v, &letters[1 + round % 2], 8);
    }
}

/* Characters of two and three bytes, of which some are one token from the start, some not, and some
 * only beside certain neighbours; and the same bytes in any order, which are no characters. */
static void random_characters_as_defined(void **state)
{
    (void)state;
    static const struct units names = {{"\u00E4", "\u00E5", "\u00B8", "\u00B9", "\u00C3", "a"}, 6};
    static const struct units characters = {
        {"\xE4\xB8\xB8", "\xE4\xB8\xB9", "\xE5\xB9\xB8", "\xE4\xB9\xB9", "\xC3\xB8", "a"}, 6};
    static const struct units bytes = {{"\xE4", "\xE5", "\xB8", "\xB9", "\xC3", "a"}, 6};
    uint32_t random = 7;
    for (int round = 0; round < 2000; round++) {
        struct tiny_vocab v;
        char merges[N_RANDOM][40];
        random_vocab(&v, &names, round % 4 == 0, merges, &random);
        assert_random_pieces(&v, round % 8 == 7 ? &bytes : &characters, 8);
    }
}

/* The usual case, and that it is one: what is taken at once is what merges make. */
static void characters_are_taken_at_once(void **state)
{
    (void)state;
    static struct fixture f;
    struct tiny_vocab v;
    size_t len = 0;
    const unsigned char text[] = "\xE4\xB8\xB9\xE4\xB8\xB8"
                                 "a\xE4\xB8\xB9\xE5\xB8\xB9";
    tiny_init(&v);
    tiny_merge(&v, "\u00E4 \u00B8");
    tiny_merge(&v, "\u00E4\u00B8 \u00B9");
    tiny_merge(&v, "\u00B8 \u00E5"); /* a last byte and what may come next */
    tiny_merge(&v, "\u00E4\u00B8 \u00B8");
    tiny_merge(&v, "\u00E4\u00B8\u00B9 a");
    open_fixture(&f, &v);
    size_t n = sizeof text - 1;
    assert_int_equal(kl_char_token(f.bpe.chars, text, 0, n, &len), 257);
    assert_int_equal(len, 3);
    assert_int_equal(kl_char_token(f.bpe.chars, text, 3, n, &len), 259);
    assert_int_equal(kl_char_token(f.bpe.chars, text, 6, n, &len), -1); /* ASCII */
    assert_int_equal(kl_char_token(f.bpe.chars, text, 1, n, &len), -1); /* not where one begins */
    assert_int_equal(kl_char_token(f.bpe.chars, text, 7, n, &len), 257);
    assert_int_equal(kl_char_token(f.bpe.chars, text, 10, n, &len), -1); /* not one token */
    assert_int_equal(kl_char_token(f.bpe.chars, text, 7, 9, &len), -1);  /* cut off */
    /* 丸 before 幹: its last byte goes with the next one's first before it is whole */
    const unsigned char taken[] = "\xE4\xB8\xB8\xE5\xB9\xB9";
    assert_int_equal(kl_char_token(f.bpe.chars, taken, 0, 6, &len), -1);
    assert_int_equal(kl_char_token(f.bpe.chars, taken, 0, 3, &len), 259);
    close_fixture(&f);
}

static void every_byte_has_its_token(void **state)
{
    (void)state;
    struct tiny_vocab v;
    static struct fixture f;
    struct kl_bpe_scratch scratch = {0};
    struct kl_tokens ids = {0};
    char piece[256];
    tiny_init(&v);
    open_fixture(&f, &v);
    for (int i = 0; i < 256; i++)
        piece[i] = (char)i;
    assert_int_equal(kl_bpe_encode(&f.bpe, piece, sizeof piece, &scratch, &ids), KL_OK);
    assert_int_equal(ids.len, 256);
    for (int i = 0; i < 256; i++)
        assert_int_equal(ids.ids[i], i);
    kl_tokens_release(&ids);
    kl_bpe_scratch_release(&scratch);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_as_defined),
        cmocka_unit_test(random_merges_as_defined),
        cmocka_unit_test(random_characters_as_defined),
        cmocka_unit_test(characters_are_taken_at_once),
        cmocka_unit_test(every_byte_has_its_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
