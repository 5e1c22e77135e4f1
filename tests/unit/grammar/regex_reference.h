/*
 * Random patterns, and texts that they match by definition: a node maps a set of places in a text,
 * at which it begins, to those at which it ends. Part of test_regex.c.
 */
#ifndef KL_TESTS_REGEX_REFERENCE_H
#define KL_TESTS_REGEX_REFERENCE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "grammar/regex.h"

enum { REF_NODES = 64, REF_TEXT = 12 };
enum ref_kind {
    REF_EMPTY,
    REF_SET,
    REF_BEGIN,
    REF_END,
    REF_LOOK,
    REF_CONCAT,
    REF_EITHER,
    REF_REPEAT
};

struct ref_node {
    enum ref_kind kind;
    unsigned set;    /* of the letters below */
    int left, right; /* nodes */
    int least, most; /* most -1: no limit */
};

static const char *const ref_letters[] = {"a", "b", "é", "漢"};

static struct ref_node ref_nodes[REF_NODES];
static int ref_count;
static uint64_t ref_seed = 1;

static int ref_random(int n)
{
    ref_seed = ref_seed * 6364136223846793005ull + 1442695040888963407ull;
    return (int)((ref_seed >> 33) % (uint64_t)n);
}

static int ref_make(int depth)
{
    int at = ref_count++;
    struct ref_node node = {.kind = REF_SET, .set = 1u << ref_random(4)};
    int choice = depth == 0 || ref_count > REF_NODES - 8 ? ref_random(5) : ref_random(14);
    if (choice == 0)
        node.kind = REF_EMPTY;
    else if (choice == 1)
        node.set = 1u + (unsigned)ref_random(15);
    else if (choice == 4 && ref_random(2) == 0)
        node.kind = ref_random(2) == 0 ? REF_BEGIN : REF_END;
    else if (choice >= 5)
        node.kind = choice < 9 ? REF_CONCAT : choice < 11 ? REF_EITHER : REF_REPEAT;
    else if (choice == 3 && depth > 0)
        node.kind = REF_LOOK, node.least = ref_random(2);
    if (node.kind >= REF_LOOK)
        node.left = ref_make(depth - 1);
    if (node.kind == REF_CONCAT || node.kind == REF_EITHER)
        node.right = ref_make(depth - 1);
    if (node.kind == REF_REPEAT) {
        node.least = ref_random(3);
        node.most = ref_random(2) == 0 ? -1 : node.least + ref_random(3);
    }
    ref_nodes[at] = node;
    return at;
}

static size_t ref_print(int at, char *out)
{
    const struct ref_node *node = &ref_nodes[at];
    size_t n = 0;
    switch (node->kind) {
    case REF_EMPTY:
        break;
    case REF_SET:
        n += (size_t)sprintf(out, "[");
        for (int i = 0; i < 4; i++)
            if (node->set >> i & 1)
                n += (size_t)sprintf(out + n, "%s", ref_letters[i]);
        n += (size_t)sprintf(out + n, "]");
        break;
    case REF_BEGIN:
    case REF_END:
        n += (size_t)sprintf(out, node->kind == REF_BEGIN ? "^" : "$");
        break;
    case REF_LOOK:
        n += (size_t)sprintf(out, node->least ? "(?!" : "(?=");
        n += ref_print(node->left, out + n);
        n += (size_t)sprintf(out + n, ")");
        break;
    case REF_CONCAT:
        n += ref_print(node->left, out);
        n += ref_print(node->right, out + n);
        break;
    case REF_EITHER:
    case REF_REPEAT:
        n += (size_t)sprintf(out, "(?:");
        n += ref_print(node->left, out + n);
        if (node->kind == REF_EITHER) {
            n += (size_t)sprintf(out + n, "|");
            n += ref_print(node->right, out + n);
        }
        n += (size_t)sprintf(out + n, ")");
        if (node->kind == REF_REPEAT && node->most < 0)
            n += (size_t)sprintf(out + n, "{%d,}", node->least);
        else if (node->kind == REF_REPEAT)
            n += (size_t)sprintf(out + n, "{%d,%d}", node->least, node->most);
        break;
    }
    out[n] = '\0';
    return n;
}

/* text: numbers of letters. Bit i of the sets: the place before letter i. */
static uint32_t ref_match(int at, const int *text, int len, uint32_t from)
{
    const struct ref_node *node = &ref_nodes[at];
    uint32_t to = 0;
    switch (node->kind) {
    case REF_EMPTY:
        return from;
    case REF_SET:
        for (int i = 0; i < len; i++)
            if (from >> i & 1 && node->set >> text[i] & 1)
                to |= 2u << i;
        return to;
    case REF_BEGIN:
        return from & 1u;
    case REF_END:
        return from & 1u << len;
    case REF_LOOK:
        for (int i = 0; i <= len; i++)
            if (from >> i & 1 && (ref_match(node->left, text, len, 1u << i) == 0) == node->least)
                to |= 1u << i;
        return to;
    case REF_CONCAT:
        return ref_match(node->right, text, len, ref_match(node->left, text, len, from));
    case REF_EITHER:
        return ref_match(node->left, text, len, from) | ref_match(node->right, text, len, from);
    case REF_REPEAT:
        for (int i = 0; i < node->least; i++)
            from = ref_match(node->left, text, len, from);
        to = from;
        for (int i = node->least; node->most < 0 ? i < 2 * REF_TEXT : i < node->most; i++)
            to |= from = ref_match(node->left, text, len, from);
        return to;
    }
    return 0;
}

static void ref_compare(const struct kl_regex *regex, enum kl_regex_mode mode, int root,
                        const char *pattern)
{
    struct kl_regex_run *run = open_run(regex);
    for (int i = 0; i < 30; i++) {
        int text[REF_TEXT], len = i == 0 ? 0 : ref_random(REF_TEXT);
        char bytes[4 * REF_TEXT] = "";
        for (int k = 0; k < len; k++) {
            text[k] = ref_random(4) & ref_random(4);
            strcat(bytes, ref_letters[text[k]]);
        }
        uint32_t all = (2u << len) - 1;
        uint32_t from = mode == KL_REGEX_SEARCH ? all : 1u;
        uint32_t to = mode == KL_REGEX_SEARCH ? all : 1u << len;
        bool expected = (ref_match(root, text, len, from) & to) != 0;
        uint32_t state = follow(run, bytes, strlen(bytes));
        if (kl_regex_run_accepts(run, state) != expected)
            fail_msg("%s (mode %d): \"%s\" should be %d", pattern, mode, bytes, expected);
        if (expected)
            assert_int_not_equal(state, KL_REGEX_DEAD);
    }
    kl_regex_run_close(run);
}

static void random_patterns_match_as_the_reference_says(void **state)
{
    (void)state;
    for (int i = 0; i < 4000; i++) {
        char pattern[4096];
        ref_count = 0;
        int root = ref_make(5);
        size_t n = ref_print(root, pattern);
        for (int mode = KL_REGEX_SEARCH; mode <= KL_REGEX_WHOLE; mode++) {
            struct kl_regex *regex = compile_bytes(pattern, n, (enum kl_regex_mode)mode);
            ref_compare(regex, (enum kl_regex_mode)mode, root, pattern);
            kl_regex_free(regex);
        }
    }
}

#endif
