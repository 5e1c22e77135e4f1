/* src/grammar/gbnf_machine.c against a slow reference: random small grammars, whose texts are found
 * by trying everything, byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "grammar/gbnf.h"

enum { RULES = 4, MAX_NODES = 200, MAX_TEXT = 10, DEPTH = 4, GRAMMARS = 6000 };

enum node_kind { CHARS, EMPTY, SEQUENCE, CHOICE, REPETITION, REFERENCE };
struct node {
    enum node_kind kind;
    int a, b; /* nodes; CHARS: of `chars`; REPETITION: node; REFERENCE: rule */
    int least, most;
    bool ends, empty;
};

/* Characters: as grammars write them, and as a list with the bytes of each. */
static const struct {
    const char *written;
    const char *list[10]; /* NULL behind the last one */
} chars[] = {{"\"a\"", {"a"}},
             {"\"b\"", {"b"}},
             {"\"\\u00e9\"", {"é"}},
             {"[ab]", {"a", "b"}},
             {"[b-cê]", {"b", "c", "ê"}},
             {"[^a]", {"b", "c", "é", "ê", "Ó", "ĩ", "Ī", "ē"}},
             {".", {"a", "b", "c", "é", "ê", "Ó", "ĩ", "Ī", "ē"}}};
#define N_CHARS ((int)(sizeof chars / sizeof *chars))
/* All bytes of the texts. */
static const char alphabet[] = {'a', 'b', 'c', '\xC3', '\xC4', '\xA9', '\xAA', '\x93'};

static struct node nodes[MAX_NODES];
static int n_nodes, rules[RULES];
static uint64_t seed = 1;

static int below(int n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (int)((seed >> 33) % (uint64_t)n);
}

/* ---- grammars ---- */

static int make_node(int depth)
{
    int kind = depth == 0 ? below(3) : below(12), at = n_nodes++;
    struct node *n = &nodes[at];
    *n = (struct node){.kind = CHARS, .a = below(N_CHARS)};
    if (kind == 1) {
        *n = (struct node){.kind = REFERENCE, .a = below(RULES)};
    } else if (kind == 2 && below(3) == 0) {
        n->kind = EMPTY;
    } else if (kind >= 3) {
        int a = make_node(depth - 1), b = kind < 9 ? make_node(depth - 1) : 0;
        *n = (struct node){.kind = kind < 7 ? SEQUENCE : kind < 9 ? CHOICE : REPETITION};
        n->a = a;
        n->b = b;
        n->least = below(3);
        n->most = below(2) == 0 ? -1 : n->least + below(3);
    }
    return at;
}

static void write_node(int at, char *out)
{
    const struct node *n = &nodes[at];
    out += strlen(out);
    switch (n->kind) {
    case CHARS:
        strcpy(out, chars[n->a].written);
        break;
    case EMPTY:
        strcpy(out, "\"\"");
        break;
    case REFERENCE:
        sprintf(out, "%s%d", n->a == 0 ? "root #" : "r", n->a);
        if (n->a == 0)
            strcpy(out, "root");
        break;
    case SEQUENCE:
    case CHOICE:
        strcpy(out, n->kind == SEQUENCE ? " " : "(");
        write_node(n->a, out);
        strcat(out, n->kind == SEQUENCE ? " " : " | ");
        write_node(n->b, out);
        strcat(out, n->kind == SEQUENCE ? " " : ")");
        break;
    case REPETITION:
        strcpy(out, "(");
        write_node(n->a, out);
        out += strlen(out);
        if (n->most == -1 && n->least < 2)
            strcpy(out, n->least == 0 ? ")*" : ")+");
        else if (n->most == 1 && n->least == 0)
            strcpy(out, ")?");
        else if (n->most == -1)
            sprintf(out, "){%d,}", n->least);
        else
            sprintf(out, "){%d,%d}", n->least, n->most);
        break;
    }
}

/* Sets ends and empty by going over all nodes until nothing changes. */
static void settle(void)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (int i = 0; i < n_nodes; i++) {
            struct node *n = &nodes[i], *a = &nodes[n->a], *b = &nodes[n->b];
            bool ends = true, empty = true;
            if (n->kind == CHARS)
                empty = false;
            else if (n->kind == REFERENCE)
                ends = nodes[rules[n->a]].ends, empty = nodes[rules[n->a]].empty;
            else if (n->kind == SEQUENCE)
                ends = a->ends && b->ends, empty = a->empty && b->empty;
            else if (n->kind == CHOICE)
                ends = a->ends || b->ends, empty = a->empty || b->empty;
            else if (n->kind == REPETITION)
                ends = n->least == 0 || a->ends, empty = n->least == 0 || a->empty;
            changed |= ends != n->ends || empty != n->empty;
            n->ends = ends;
            n->empty = empty;
        }
    }
}

/* Marks rules that a node refers to: in front of any byte (left), or anywhere. */
static void references(int at, bool left, bool *found)
{
    const struct node *n = &nodes[at];
    if (!n->ends)
        return;
    if (n->kind == REFERENCE)
        found[n->a] = true;
    if (n->kind == SEQUENCE || n->kind == CHOICE || (n->kind == REPETITION && n->most != 0))
        references(n->a, left, found);
    if (n->kind == CHOICE || (n->kind == SEQUENCE && (!left || nodes[n->a].empty)))
        references(n->b, left, found);
}

static bool is_left_recursive(void)
{
    bool reached[RULES] = {true}, begins[RULES][RULES] = {{false}};
    for (int round = 0; round < RULES; round++)
        for (int r = 0; r < RULES; r++)
            if (reached[r])
                references(rules[r], false, reached);
    for (int r = 0; r < RULES; r++)
        references(rules[r], true, begins[r]);
    for (int k = 0; k < RULES; k++)
        for (int i = 0; i < RULES; i++)
            for (int j = 0; j < RULES; j++)
                begins[i][j] |= begins[i][k] && begins[k][j];
    for (int r = 0; r < RULES; r++)
        if (reached[r] && begins[r][r])
            return true;
    return false;
}

/* ---- texts ---- */

static const char *text;
static int text_len;
/* Where a node that begins at a place of the text may end, as bits; OPEN: behind the text. */
enum { OPEN = 1 << 30, KNOWN = 1 << 29 };
static int memo[MAX_NODES][MAX_TEXT + 2];

static int ends_of(int at, int from);

static int ends_of_chars(int which, int from)
{
    int ends = 0, left = text_len - from;
    for (int i = 0; chars[which].list[i] != NULL; i++) {
        const char *c = chars[which].list[i];
        int len = (int)strlen(c);
        if (left < len && memcmp(c, text + from, (size_t)left) == 0)
            ends |= OPEN;
        if (left >= len && memcmp(c, text + from, (size_t)len) == 0)
            ends |= 1 << (from + len);
    }
    return ends;
}

/* Ends of a node that begins at any of these places. */
static int ends_from_all(int at, int places)
{
    int ends = places & OPEN;
    for (int i = 0; i <= text_len; i++)
        if (places >> i & 1)
            ends |= ends_of(at, i);
    return ends;
}

static int ends_of_repetition(const struct node *n, int from)
{
    int now = 1 << from, ends = 0;
    for (int times = 0; times <= n->least + text_len + 1; times++) {
        if (times >= n->least)
            ends |= now;
        else if (now & OPEN)
            ends |= OPEN;
        if (times == n->most || !nodes[n->a].ends)
            break;
        now = ends_from_all(n->a, now);
    }
    return ends;
}

static int ends_of(int at, int from)
{
    const struct node *n = &nodes[at];
    int ends = 0;
    if (!n->ends)
        return 0;
    if (memo[at][from] != 0)
        return memo[at][from] & ~KNOWN;
    switch (n->kind) {
    case CHARS:
        ends = ends_of_chars(n->a, from);
        break;
    case EMPTY:
        ends = 1 << from;
        break;
    case REFERENCE:
        ends = ends_of(rules[n->a], from);
        break;
    case SEQUENCE:
        ends = ends_from_all(n->b, ends_of(n->a, from));
        break;
    case CHOICE:
        ends = ends_of(n->a, from) | ends_of(n->b, from);
        break;
    case REPETITION:
        ends = ends_of_repetition(n, from);
        break;
    }
    memo[at][from] = ends | KNOWN;
    return ends;
}

static int judge(const char *bytes, int len)
{
    text = bytes;
    text_len = len;
    memset(memo, 0, sizeof memo);
    return ends_of(rules[0], 0);
}

/* Walks a random text; at each byte of it all other bytes are tried, too. */
static int walk(struct kl_machine *machine, const char *grammar)
{
    const struct kl_machine_kind *kind = machine->kind;
    struct kl_rule_state state, to, next;
    char bytes[MAX_TEXT + 1];
    int len = 0;
    kind->begin(machine, &state);
    for (;; len++) {
        int found = judge(bytes, len), pick = below(1000), n_allowed = 0;
        if (kind->is_complete(machine, &state) != ((found >> len & 1) != 0))
            fail_msg("%.*s is complete? of\n%s", len, bytes, grammar);
        if (len == MAX_TEXT)
            return len;
        for (size_t i = 0; i < sizeof alphabet; i++) {
            bytes[len] = alphabet[(i + (size_t)pick) % sizeof alphabet];
            size_t mark = kind->mark(machine);
            bool allowed = kind->step(machine, &state, (uint8_t)bytes[len], &to);
            kind->release(machine, mark);
            found = judge(bytes, len + 1);
            if (allowed != ((found & (OPEN | 1 << (len + 1))) != 0))
                fail_msg("%.*s may begin? of\n%s", len + 1, bytes, grammar);
            n_allowed += allowed;
        }
        if (n_allowed == 0)
            return len;
        for (bool taken = false; !taken;) {
            bytes[len] = alphabet[below((int)sizeof alphabet)];
            taken = kind->step(machine, &state, (uint8_t)bytes[len], &next);
        }
        state = next;
    }
}

static void agrees_with_trying_everything(void **cmocka_state)
{
    (void)cmocka_state;
    int n_run = 0, n_recursive = 0, n_endless = 0, n_bytes = 0;
    for (int i = 0; i < GRAMMARS; i++) {
        char grammar[4096] = "";
        n_nodes = 0;
        for (int r = 0; r < RULES; r++)
            rules[r] = make_node(1 + below(DEPTH));
        for (int r = 0; r < RULES; r++) {
            sprintf(grammar + strlen(grammar), r == 0 ? "root ::= " : "r%d ::= ", r);
            write_node(rules[r], grammar);
            strcat(grammar, "\n");
        }
        settle();
        struct kl_rule *rule;
        struct kl_error err;
        enum kl_status status = kl_gbnf_compile(grammar, strlen(grammar), &rule, &err);
        enum kl_status expected = !nodes[rules[0]].ends ? KL_ERR_INVALID
                                  : is_left_recursive() ? KL_ERR_UNSUPPORTED
                                                        : KL_OK;
        if (status != expected)
            fail_msg("%s instead of %s: %s in\n%s", kl_status_name(status),
                     kl_status_name(expected), status == KL_OK ? "" : err.text, grammar);
        n_endless += status == KL_ERR_INVALID;
        n_recursive += status == KL_ERR_UNSUPPORTED;
        if (status != KL_OK)
            continue;
        n_run++;
        struct kl_machine *machine;
        assert_int_equal(rule->kind->open(rule, &machine, &err), KL_OK);
        for (int k = 0; k < 5; k++)
            n_bytes += walk(machine, grammar);
        machine->kind->close(machine);
        kl_rule_disown(rule);
    }
    printf("%d grammars run over %d bytes, %d left recursive, %d endless\n", n_run, n_bytes,
           n_recursive, n_endless);
    assert_true(n_run > GRAMMARS / 4 && n_recursive > 100 && n_endless > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(agrees_with_trying_everything)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
