/*
 * Regular expressions in linear time: an automaton over the bytes of UTF-8, without backtracking.
 *
 * Syntax: that of ECMAScript with the u flag (https://tc39.es/ecma262/#sec-patterns), as JSON
 * Schema asks for, without what is not regular or not supported: back references, look-behind, \b
 * and \p; these are refused by name. Counted repetitions are expanded, within
 * KL_REGEX_MAX_POSITIONS.
 *
 * kl_regex is immutable and may be shared by threads. kl_regex_run builds the states of the
 * deterministic automaton as they are reached, and belongs to one thread.
 */
#ifndef KL_GRAMMAR_REGEX_H
#define KL_GRAMMAR_REGEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct kl_regex;
struct kl_regex_run;

/* Longest pattern, deepest nesting, and positions of the expanded pattern. */
#define KL_REGEX_MAX_PATTERN   65536
#define KL_REGEX_MAX_DEPTH     100
#define KL_REGEX_MAX_POSITIONS 50000
#define KL_REGEX_MAX_LOOKS     16 /* look-aheads */

enum kl_regex_mode {
    KL_REGEX_SEARCH, /* a match anywhere in the text, as JSON Schema's pattern */
    KL_REGEX_WHOLE   /* the whole text */
};

/* KL_ERR_INVALID: not a pattern; KL_ERR_UNSUPPORTED: a construct by name; KL_ERR_LIMIT: over a
 * limit by name; KL_ERR_MEMORY. The text names the construct and its place. */
enum kl_status kl_regex_compile(const char *pattern, size_t len, enum kl_regex_mode mode,
                                struct kl_regex **regex, struct kl_error *err);
void kl_regex_free(struct kl_regex *regex); /* NULL is allowed */
size_t kl_regex_positions(const struct kl_regex *regex);
size_t kl_regex_bytes(const struct kl_regex *regex);

/* regex must outlive the run. */
enum kl_status kl_regex_run_open(const struct kl_regex *regex, struct kl_regex_run **run,
                                 struct kl_error *err);
void kl_regex_run_close(struct kl_regex_run *run);

/* States are numbers. 0 is dead: no text that begins like this matches. Every other state can
 * still be continued to a match; behind 1 every continuation matches. */
#define KL_REGEX_DEAD 0u
#define KL_REGEX_ALL  1u
uint32_t kl_regex_run_start(struct kl_regex_run *run);
/* Dead also after a failure: see _failure. */
uint32_t kl_regex_run_step(struct kl_regex_run *run, uint32_t state, uint8_t byte);
/* Whether a text that ends here matches. */
bool kl_regex_run_accepts(const struct kl_regex_run *run, uint32_t state);
/* Whether every continuation matches (of whole characters). */
bool kl_regex_run_accepts_all(const struct kl_regex_run *run, uint32_t state);
/* Whether it is known that no continuation is dead: a match is searched for anywhere. */
bool kl_regex_run_stays(const struct kl_regex_run *run, uint32_t state);
/* From now on, new states are paid from *work_left, about one for each thread that is followed;
 * where it is used up, the run fails. Several runs may share it; it must outlive them. Without it
 * they take the time they need. KL_REGEX_MASK_WORK: for one mask, some 20 ms; while it is computed
 * no other answer goes on. */
#define KL_REGEX_MASK_WORK ((uint64_t)1 << 20)
void kl_regex_run_count(struct kl_regex_run *run, uint64_t *work_left);
/* KL_OK, or KL_ERR_MEMORY, KL_ERR_LIMIT (too many states, too much work): sticks. */
enum kl_status kl_regex_run_failure(const struct kl_regex_run *run);
size_t kl_regex_run_bytes(const struct kl_regex_run *run);

#endif
