/* src/text/bpe.c, against the definition: merge the leftmost pair of the lowest rank, again and
 * again. On the vocabularies of real models: tests/fidelity/test_tokenizer.py */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "text/bpe.h"
#include "tiny_vocab.h"

#define NO_MERGE INT32_MAX
#define LONGEST  400

struct fixture {
    struct kl_vocab vocab;
    struct kl_bpe bpe;
    int32_t ranks[TINY_MAX][TINY_MAX]; /* of the merge of two tokens */
    int32_t results[TINY_MAX];         /* the token that the merge of a rank makes */
};

/* The merges of these tests are ASCII, so their text is their bytes. */
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
        int32_t left_id = kl_vocab_find(&f->vocab, token, left);
        int32_t right_id = kl_vocab_find(&f->vocab, right, strlen(right));
        f->ranks[left_id][right_id] = (int32_t)rank;
        f->results[rank] = kl_vocab_find(&f->vocab, token, strlen(token));
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
    int32_t expected[LONGEST];
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

/* Random pieces, shorter and longer than where the way of merging changes. */
static void assert_random_pieces(const struct tiny_vocab *v, const char *alphabet, size_t rounds)
{
    static struct fixture f;
    struct kl_bpe_scratch scratch = {0};
    open_fixture(&f, v);
    uint32_t random = 12345;
    for (size_t round = 1; round <= rounds; round++) {
        char piece[LONGEST];
        size_t len = round * LONGEST / rounds;
        for (size_t i = 0; i < len; i++)
            piece[i] = alphabet[next_random(&random) % strlen(alphabet)];
        assert_by_definition(&f, piece, len, &scratch);
    }
    kl_bpe_scratch_release(&scratch);
    close_fixture(&f);
}

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
    assert_random_pieces(&v, "a", LONGEST);
    assert_random_pieces(&v, "ab", LONGEST);
    assert_random_pieces(&v, "abcd", LONGEST);
    assert_random_pieces(&v, "aaabcx", LONGEST);
}

#define N_RANDOM 16

/* Merges of a, b, c and what they make, in any order; merges: where their texts are kept. */
static void random_vocab(struct tiny_vocab *v, char (*merges)[40], uint32_t *random)
{
    const char *tokens[3 + N_RANDOM] = {"a", "b", "c"};
    size_t n = 3;
    tiny_init(v);
    for (size_t i = 0; i < N_RANDOM; i++) {
        const char *left = tokens[next_random(random) % n];
        const char *right = tokens[next_random(random) % n];
        snprintf(merges[i], sizeof merges[i], "%s %s", left, right);
        if (strlen(merges[i]) > 13 || tiny_has_merge(v, merges[i]))
            continue;
        size_t before = v->n_tokens;
        tiny_merge(v, merges[i]);
        if (v->n_tokens > before)
            tokens[n++] = v->tokens[before];
    }
    for (size_t i = v->n_merges; i > 1; i--) {
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
        random_vocab(&v, merges, &random);
        assert_random_pieces(&v, round % 2 == 0 ? "ab" : "abc", 8);
    }
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
        cmocka_unit_test(every_byte_has_its_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
