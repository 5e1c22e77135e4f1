/* src/grammar/token_trie.c, token_nodes.c, token_blanks.c, token_sets.c, token_spans.c,
 * string_bytes.c: every token is where its bytes lead to, and in the sets that it belongs to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "grammar/token_trie_state.h"
#include "grammar_tokens.h"
#include "toy_rules.h"

static bool has(const uint64_t *mask, size_t id)
{
    return mask[id / 64] >> id % 64 & 1;
}

static bool is_in_trie(const struct kl_tokenizer *t, size_t id)
{
    size_t len;
    (void)kl_tokenizer_piece(t, (int32_t)id, &len);
    return len > 0 && !kl_tokenizer_is_control(t, (int32_t)id) &&
           !kl_tokenizer_is_end(t, (int32_t)id);
}

/* The contents of a subtree. */
struct subtree {
    size_t n_nodes, n_tokens, height;
    unsigned classes;
};

/* The bytes on the way to each node are those of its token; children are in order; the records of
 * large nodes say what is below. seen: [n] nodes; tokens come in the order of their bytes. */
static struct subtree check_node(const struct kl_tokenizer *t, const struct kl_token_trie *trie,
                                 size_t i, char *path, size_t depth, bool *seen, size_t *n_values)
{
    const struct kl_token_node *node = &trie->tokens.nodes[i];
    const struct kl_token_spans *s = &trie->tokens.spans;
    struct subtree all = {.n_nodes = 1};
    assert_true(i < trie->tokens.n && !seen[i]);
    seen[i] = true;
    path[depth++] = (char)node->byte;
    assert_true(depth <= trie->tokens.max_depth);
    assert_true(node->value != 0 || node->n > 0);
    if (node->value != 0) {
        size_t len, id = node->value - 1;
        const char *bytes = kl_tokenizer_piece(t, (int32_t)id, &len);
        assert_true(id < kl_tokenizer_size(t) && is_in_trie(t, id));
        assert_int_equal(len, depth);
        assert_memory_equal(bytes, path, len);
        assert_int_equal(s->values[(*n_values)++], id);
    }
    size_t first = *n_values;
    for (size_t child = node->first; child < node->first + node->n; child++) {
        const struct kl_token_node *c = &trie->tokens.nodes[child];
        assert_true(child == node->first || c[-1].byte < c->byte);
        struct subtree below = check_node(t, trie, child, path, depth, seen, n_values);
        all.n_nodes += below.n_nodes;
        all.height = below.height + 1 > all.height ? below.height + 1 : all.height;
        all.classes |= below.classes | 1u << trie->sets.classes.of[c->byte];
    }
    assert_int_equal(node->is_large, all.n_nodes >= KL_SPAN_MIN);
    if (node->is_large) {
        const struct kl_token_span *span = kl_token_spans_get(s, i);
        assert_int_equal(span->first, first);
        assert_int_equal(span->n_below, *n_values - first);
        assert_int_equal(span->height, all.height);
        assert_int_equal(span->classes, all.classes);
    }
    return all;
}

static void check_nodes(const struct kl_tokenizer *t, const struct kl_token_trie *trie)
{
    char path[KL_TOKEN_LEN_MAX];
    size_t n_values = 0, expected = 0;
    bool *seen = calloc(trie->tokens.n, sizeof *seen);
    for (size_t i = 0; i < trie->tokens.n_roots; i++) {
        assert_true(i == 0 || trie->tokens.nodes[i - 1].byte < trie->tokens.nodes[i].byte);
        check_node(t, trie, i, path, 0, seen, &n_values);
    }
    for (size_t i = 0; i < trie->tokens.n; i++)
        assert_true(seen[i]);
    for (size_t id = 0; id < kl_tokenizer_size(t); id++)
        expected += is_in_trie(t, id);
    assert_int_equal(n_values, expected); /* and each one is elsewhere */
    assert_int_equal(trie->tokens.spans.n_values, expected);
    for (size_t byte = 0; byte < 256; byte++) {
        bool is_plain = trie->sets.classes.plain >> trie->sets.classes.of[byte] & 1;
        assert_int_equal(is_plain, byte >= ' ' && byte < 0x7F && byte != '"' && byte != '\\');
    }
    free(seen);
}

/* The place of a token inside a string, character by character: 1 inside, 0 closing, -1 neither.
 * *chars: that begin; *used: bytes up to and with the quote. */
static int read_slowly(const char *bytes, size_t len, uint32_t *chars, size_t *used)
{
    size_t from = 0;
    *chars = 0;
    for (size_t i = 0; i < len; i++) {
        if (from == i && bytes[i] == '"') {
            *used = i + 1;
            return 0;
        }
        *chars += from == i;
        int whole = toy_character(bytes + from, i + 1 - from);
        if (whole < 0)
            return -1;
        if (whole)
            from = i + 1;
    }
    return 1;
}

static void check_inside(const struct kl_tokenizer *t, const struct kl_token_trie *trie)
{
    static const uint32_t most[] = {0, 1, 2, 3, 7, 15, 16, 17, 18, 40, 127, 128, 5000, UINT32_MAX};
    uint64_t *mask = malloc(trie->sets.n_words * sizeof *mask);
    for (size_t i = 0; i < sizeof most / sizeof *most; i++) {
        size_t n = 0, used;
        size_t found = kl_token_sets_inside(&trie->sets, most[i], mask);
        for (size_t id = 0; id < trie->sets.n_words * 64; id++) {
            uint32_t chars = 0;
            size_t len;
            const char *bytes = kl_tokenizer_piece(t, (int32_t)id, &len);
            bool expected = id < kl_tokenizer_size(t) && is_in_trie(t, id) &&
                            read_slowly(bytes, len, &chars, &used) == 1 && chars <= most[i];
            if (has(mask, id) != expected)
                fail_msg("token %zu '%.*s' with at most %u characters", id, (int)len, bytes,
                         most[i]);
            n += expected;
        }
        assert_int_equal(found, n);
    }
    free(mask);
}

/* The group of some bytes behind a quote. */
static size_t group_of(const struct kl_token_sets *s, const char *bytes, size_t len)
{
    size_t first = 0, n = s->after.n_roots, group = 0;
    for (size_t i = 0; i < len; i++) {
        size_t child = first;
        while (child < first + n && (char)s->after.nodes[child].byte != bytes[i])
            child++;
        assert_true(child < first + n);
        first = s->after.nodes[child].first;
        n = s->after.nodes[child].n;
        group = s->after.nodes[child].value - 1;
    }
    assert_true(group < s->n_groups);
    return group;
}

/* Each closing token is in the group of the bytes behind its quote, and among those to be tried. */
static void check_closing(const struct kl_tokenizer *t, const struct kl_token_trie *trie)
{
    const struct kl_token_sets *s = &trie->sets;
    size_t n = 0, len, used = 0;
    uint32_t chars;
    for (size_t id = 0; id < kl_tokenizer_size(t); id++) {
        const char *bytes = kl_tokenizer_piece(t, (int32_t)id, &len);
        if (!is_in_trie(t, id) || read_slowly(bytes, len, &chars, &used) != 0)
            continue;
        size_t group = group_of(s, bytes + used, len - used), i = s->groups[group], k = 0;
        while (i < s->groups[group + 1] && s->closing[i].id != id)
            i++;
        assert_true(i < s->groups[group + 1]);
        assert_int_equal(s->closing[i].chars, chars);
        while (k < s->n_closing && s->to_try[k].id != id)
            k++;
        assert_true(k < s->n_closing);
        assert_int_equal(s->to_try[k].chars, chars);
        assert_int_equal(s->to_try[k].behind, used < len ? (uint8_t)bytes[used] : -1);
        n++;
    }
    assert_int_equal(s->n_closing, n);
    assert_int_equal(s->groups[0], 0);
    assert_int_equal(s->groups[s->n_groups], n);
}

static bool is_blank_text(const char *bytes, size_t len)
{
    size_t i = 0;
    while (i < len && memchr("\t\n\r ", bytes[i], 4) != NULL)
        i++;
    return i == len;
}

/* Tokens of white space, and nodes behind white space: as many as there are different texts of
 * white space and one more byte at the beginning of tokens. */
static void check_blanks(const struct kl_tokenizer *t, const struct kl_token_trie *trie)
{
    const struct kl_token_blanks *b = &trie->blanks;
    const struct kl_token_spans *s = &trie->tokens.spans;
    size_t n_values = 0, n_nodes = 0, len, last_len = 0;
    const char *last = "";
    for (size_t i = 0; i < s->n_values; i++) { /* in the order of their bytes */
        const char *bytes = kl_tokenizer_piece(t, (int32_t)s->values[i], &len);
        size_t blank = 0;
        while (blank < len && is_blank_text(bytes + blank, 1))
            blank++;
        if (blank == len) {
            size_t k = 0;
            while (k < b->n_values && b->values[k] != s->values[i])
                k++;
            assert_true(k < b->n_values);
            n_values++;
        } else if (blank > 0) {
            n_nodes += last_len <= blank || memcmp(last, bytes, blank + 1) != 0;
        }
        last = bytes;
        last_len = len;
    }
    assert_int_equal(b->n_values, n_values);
    assert_int_equal(b->from[256], n_nodes);
    for (size_t byte = 0; byte < 256; byte++) {
        for (uint32_t i = b->from[byte]; i < b->from[byte + 1]; i++)
            assert_int_equal(trie->tokens.nodes[b->nodes[i]].byte, byte);
    }
}

static void check(const struct kl_tokenizer *t)
{
    struct kl_token_trie *trie = trie_of(t);
    assert_int_equal(kl_token_trie_vocab(trie), kl_tokenizer_size(t));
    assert_true(kl_token_trie_bytes(trie) > trie->tokens.n * sizeof *trie->tokens.nodes);
    check_nodes(t, trie);
    check_inside(t, trie);
    check_closing(t, trie);
    check_blanks(t, trie);
    kl_token_trie_close(trie);
}

static void tokens_are_where_their_bytes_lead(void **state)
{
    (void)state;
    struct kl_tokenizer *made = made_tokenizer();
    check(made);
    struct kl_token_trie *trie = trie_of(made);
    assert_int_equal(trie->n_ends, 2);
    assert_int_equal(trie->ends[0], MADE_CONTROL + 1);
    assert_int_equal(trie->ends[1], MADE_CONTROL + 2);
    kl_token_trie_close(trie);
    kl_tokenizer_close(made);
}

static void tokens_of_models(void **state)
{
    (void)state;
    struct kl_tokenizer *tiny = model_tokenizer("KINGLET_TEST_TINY_MODEL");
    if (tiny == NULL)
        fail_msg("KINGLET_TEST_TINY_MODEL must name the tiny model (./test.sh sets it)");
    check(tiny);
    kl_tokenizer_close(tiny);
}

/* Random bytes, most of which matter in a string, with the table and slowly. */
static void bytes_of_strings(void **state)
{
    (void)state;
    static const char matters[] = "\\\\\\\\uuuuuuDDdd88bbCCff0019aA\"nt/x \x1F\x7F\xC2\x80\xBF\xE0"
                                  "\x9F\xED\xA0\xF0\x90\xF4\x8F\xF1\xC1\xF5\xFF";
    struct kl_string_table table;
    kl_string_table_init(&table);
    uint64_t seed = 7;
    size_t n_inside = 0, n_closed = 0;
    for (size_t round = 0; round < 400000; round++) {
        char bytes[24];
        size_t len = 1 + round % sizeof bytes, used = 0, i = 0;
        for (size_t j = 0; j < len; j++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            bytes[j] = matters[(seed >> 33) % (sizeof matters - 1)];
        }
        if (round % 3 == 0) /* far into the second surrogate */
            memcpy(bytes, "\\uD83d\\uDe", len < 10 ? len : 10);
        uint8_t now = KL_STRING_BETWEEN;
        uint32_t chars;
        int expected = read_slowly(bytes, len, &chars, &used);
        while (i < len && now > KL_STRING_CLOSED)
            now = table.next[now][(uint8_t)bytes[i++]];
        assert_int_equal(now > KL_STRING_CLOSED ? 1 : now == KL_STRING_CLOSED ? 0 : -1, expected);
        if (expected == 0)
            assert_int_equal(i, used);
        n_inside += expected == 1;
        n_closed += expected == 0;
    }
    assert_true(n_inside > 1000 && n_closed > 1000);
    for (size_t byte = 0; byte < 256; byte++) {
        assert_int_equal(table.next[KL_STRING_DEAD][byte], KL_STRING_DEAD);
        assert_int_equal(table.next[KL_STRING_CLOSED][byte], KL_STRING_DEAD);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_where_their_bytes_lead),
        cmocka_unit_test(tokens_of_models),
        cmocka_unit_test(bytes_of_strings),
    };
    kl_log_set_level(KL_LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
