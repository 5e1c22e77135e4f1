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

/* Random pieces, shorter and longer than where the way of merging changes. */
static void assert_random_pieces(const struct tiny_vocab *v, const char *alphabet)
{
    static struct fixture f;
    struct kl_bpe_scratch scratch = {0};
    open_fixture(&f, v);
    uint32_t random = 12345;
    for (size_t round = 0; round < 150; round++) {
        char piece[LONGEST];
        size_t len = 1 + round * (sizeof piece - 1) / 150;
        for (size_t i = 0; i < len; i++) {
            random = random * 1664525u + 1013904223u;
            piece[i] = alphabet[(random >> 16) % strlen(alphabet)];
        }
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
    assert_random_pieces(&v, "a");
    assert_random_pieces(&v, "ab");
    assert_random_pieces(&v, "abcd");
    assert_random_pieces(&v, "aaabcx");
}

/* No training makes these, but the definition says what they mean: a token that two merges make,
 * and merges that rank before the ones that make their halves. */
static void merges_out_of_order_as_defined(void **state)
{
    (void)state;
    static const char *const merges[] = {"ab ab",   "abc a",   "b c", "a bc", "a b",
                                         "ab c",    "abc abc", "c c", "cc c", "c cc",
                                         "ccc ccc", "ba ba",   "b a"};
    struct tiny_vocab v;
    tiny_init(&v);
    tiny_token(&v, "ab", 1);
    tiny_token(&v, "abc", 1);
    tiny_token(&v, "ba", 1);
    for (size_t i = 0; i < sizeof merges / sizeof *merges; i++)
        tiny_merge(&v, merges[i]);
    assert_random_pieces(&v, "ab");
    assert_random_pieces(&v, "abc");
    assert_random_pieces(&v, "cccab");
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
        cmocka_unit_test(merges_out_of_order_as_defined),
        cmocka_unit_test(every_byte_has_its_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
