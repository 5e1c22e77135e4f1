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
 * Differences from llama.cpp: a rule that is defined twice is refused (there the later definition
 * replaces the earlier one), and so are [] and reversed ranges. Tokens (<think>, <[1000]>) are
 * refused, since a rule here is about bytes. Repetitions are counted exactly, however many.
 * Alternatives that no finite text completes are left out, which changes no text of the grammar and
 * lets no answer get stuck; a root of which nothing is left is refused. Left recursion is refused
 * by the name of its rule, as there.
 */
#ifndef KL_GRAMMAR_GBNF_H
#define KL_GRAMMAR_GBNF_H

#include <stddef.h>

#include "base/error.h"
#include "grammar/rule.h"

/* Limits of compiling, each against a grammar that is made to cost: bytes of the text; parentheses
 * within each other, and operators after one item (compiling is recursive); rules; parts of the
 * text and instructions with repetitions written out (memory); bytes of the classes. */
#define KL_GBNF_MAX_TEXT        ((size_t)1 << 20)
#define KL_GBNF_MAX_DEPTH       100
#define KL_GBNF_MAX_OPERATORS   8
#define KL_GBNF_MAX_RULES       10000
#define KL_GBNF_MAX_PARTS       200000
#define KL_GBNF_MAX_POSITIONS   200000
#define KL_GBNF_MAX_CLASS_BYTES ((size_t)2 << 20)

/* Limits of a machine: places of the grammar at which one byte is tried (an ambiguous grammar has
 * many); memory of its states; places visited from one _release to the next, which bounds the time
 * of one mask. */
#define KL_GBNF_MAX_PLACES        65536
#define KL_GBNF_MAX_MACHINE_BYTES ((size_t)8 << 20)
#define KL_GBNF_MAX_WORK          ((uint64_t)256 << 10)

/* text: need not be NUL-terminated; not used after the call. KL_ERR_INVALID: not a grammar, with
 * line and column, what was expected and what was found; KL_ERR_UNSUPPORTED: tokens, left
 * recursion; KL_ERR_LIMIT: over a limit by name; KL_ERR_MEMORY. */
enum kl_status kl_gbnf_compile(const char *text, size_t len, struct kl_rule **rule,
                               struct kl_error *err);

#endif
