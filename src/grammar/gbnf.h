/*
 * GBNF, the grammars of llama.cpp, as rules (rule.h): the whole answer is a text of the grammar.
 *
 * Syntax (https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md):
 *
 *   name ::= alternative | alternative     the grammar begins at the rule `root`
 *   "text"  [a-z0-9]  [^\n]  .  (...)  name  one after the other: a sequence
 *   x*  x+  x?  x{2}  x{2,}  x{2,5}          repetitions
 *   \n \r \t \\ \" \[ \] \- \^ \x41 \u00e9 \U0001F600   characters by escape, in texts and classes
 *   # to the end of the line                 a comment
 *
 * A rule ends at the end of the line; inside parentheses, after ::= and after | it goes on. Classes
 * and '.' match whole characters, newline included.
 *
 * Differences from llama.cpp: a rule that is defined twice is refused there silently or by
 * accident, here by name. Tokens (<think>, <[1000]>) are refused, since a rule here is about bytes.
 * Repetitions are counted exactly, however many. Alternatives that no finite text completes are
 * left out, which changes no text of the grammar and lets no answer get stuck; a root of which
 * nothing is left is refused. Left recursion is refused by the name of its rule, as there.
 */
#ifndef KL_GRAMMAR_GBNF_H
#define KL_GRAMMAR_GBNF_H

#include <stddef.h>

#include "base/error.h"
#include "grammar/rule.h"

/* Limits of compiling: bytes of the text; parentheses within each other (parsing is recursive);
 * operators after one item (also a nesting); rules; parts of the text, which memory is held for
 * while it is compiled; instructions after repetitions are written out; bytes of characters'
 * classes. */
#define KL_GBNF_MAX_TEXT        ((size_t)1 << 20)
#define KL_GBNF_MAX_DEPTH       100
#define KL_GBNF_MAX_OPERATORS   8
#define KL_GBNF_MAX_RULES       10000
#define KL_GBNF_MAX_PARTS       200000
#define KL_GBNF_MAX_POSITIONS   200000
#define KL_GBNF_MAX_CLASS_BYTES ((size_t)2 << 20)

/* Limits of a machine: places of the grammar at which one byte is tried (an ambiguous grammar has
 * many); its memory; places visited between _mark and _release, which is the time of one mask. */
#define KL_GBNF_MAX_PLACES        65536
#define KL_GBNF_MAX_MACHINE_BYTES ((size_t)8 << 20)
#define KL_GBNF_MAX_WORK          ((uint64_t)32 << 20)

/* text: need not be NUL-terminated; not used after the call. KL_ERR_INVALID: not a grammar, with
 * line and column, what was expected and what was found; KL_ERR_UNSUPPORTED: tokens, left
 * recursion; KL_ERR_LIMIT: over a limit by name; KL_ERR_MEMORY. */
enum kl_status kl_gbnf_compile(const char *text, size_t len, struct kl_rule **rule,
                               struct kl_error *err);

#endif
