/*
 * The machine of a JSON schema: reads a document byte by byte and refuses the first byte after
 * which no document can be valid.
 *
 * JSON is deterministic: one byte decides how to go on, and one stack is enough, whatever the
 * schema says. So alternatives do not multiply stacks: all nodes that apply to the value at hand
 * are judged together (value_plan.h), with three values. A node that cannot become true any more is
 * dead, and as soon as the node of the document is dead, the byte is refused. At the end of a value
 * each node is true or not, so oneOf, not, if, contains and uniqueItems are exact.
 *
 * A state: the innermost open container (frame), where in JSON's syntax the text is (phase), the
 * link of the value that is expected or being read, and what was read of a string or a number.
 * Frames are entries of a word store and are never changed: a byte that changes a container makes
 * another frame. Internal to schema/.
 */
#ifndef KL_SCHEMA_SCHEMA_MACHINE_H
#define KL_SCHEMA_SCHEMA_MACHINE_H

#include "grammar/regex_count.h"
#include "grammar/regex_least.h"
#include "grammar/rule.h"
#include "schema/hash_index.h"
#include "schema/schema.h"
#include "schema/value_plan.h"

/* Words of a state. */
enum {
    S_FRAME,  /* the innermost open container; 0: none */
    S_PHASE,  /* enum kl_phase, KL_IN_KEY, and what was read of an escape (string_steps.c) */
    S_LINK,   /* of the value that is expected or being read; in a name that may run out: list of
                 the hashes of what it begins with, or KL_NO_LIST: it is no name that is begun */
    S_ATOMS,  /* string: the state of its automata; number: its text; literal: kind and position */
    S_LENGTH, /* string: code points, up to plan->strings.cap; number: bytes */
    S_HASH_LOW,
    S_HASH_HIGH /* of a string's characters, where it matters */
};

#define KL_NO_LIST UINT32_MAX

enum kl_phase {
    KL_PHASE_VALUE,       /* a value must follow */
    KL_PHASE_VALUE_SPACE, /* answers: a space, then a value */
    KL_PHASE_AFTER,       /* behind a value: ',' or the end of the container */
    KL_PHASE_OBJECT,      /* behind '{' */
    KL_PHASE_KEY,         /* behind ',' of an object: a name */
    KL_PHASE_KEY_SPACE,   /* answers: a space, then a name */
    KL_PHASE_COLON,       /* behind a name */
    KL_PHASE_ARRAY,       /* behind '[' */
    KL_PHASE_LITERAL,
    /* in a number */
    KL_PHASE_MINUS,
    KL_PHASE_ZERO,
    KL_PHASE_DIGITS,
    KL_PHASE_POINT,
    KL_PHASE_FRACTION,
    KL_PHASE_E,
    KL_PHASE_E_SIGN,
    KL_PHASE_EXPONENT,
    /* in a string */
    KL_PHASE_STRING, /* between characters */
    KL_PHASE_ESCAPE,
    KL_PHASE_HEX,
    KL_PHASE_PAIR,        /* behind the first half of a surrogate pair: a backslash */
    KL_PHASE_PAIR_ESCAPE, /* then 'u' */
    /* in a character of UTF-8: bytes that are missing, and limits of the next one */
    KL_PHASE_UTF8_1,
    KL_PHASE_UTF8_2,
    KL_PHASE_UTF8_3,
    KL_PHASE_UTF8_E0,
    KL_PHASE_UTF8_ED,
    KL_PHASE_UTF8_F0,
    KL_PHASE_UTF8_F4
};
#define KL_PHASE_BITS 0x3Fu
#define KL_IN_KEY     0x40u

/* Words of a frame: the innermost open container. Behind them: a bit for each node of its plan that
 * is bad; object: a bit for each name of plan->keys that was seen; array: for each node of
 * plan->contains how many items it contains. */
enum {
    F_PARENT, /* frame; 0: none */
    F_LINK,
    F_FLAGS,
    F_DEPTH,
    F_COUNT, /* members or items that have begun (object) or ended (array) */
    F_SEEN,  /* object: list of hashes of the other names, and S_LINK of each; array: of hashes of
                its items; 0: none */
    F_HASH_LOW,
    F_HASH_HIGH, /* of the content so far, with KL_FRAME_HASHES */
    F_NAME_LOW,
    F_NAME_HIGH, /* of the last name */
    F_NEXT_ITEM, /* answers: of a set of strings that must differ (string_steps.c) */
    F_WORDS
};
#define KL_FRAME_OBJECT 1u
#define KL_FRAME_STRICT 2u /* a bad node of it is the death of the document */
#define KL_FRAME_HASHES 4u /* an array around it, or it itself, has unique items */

#define KL_MAX_JSON_DEPTH 500

/* Answers nest no deeper by choice: where a value need not be a container, it is none. What must be
 * nested further has room. */
#define KL_ANSWER_DEPTH 400

/* Which names may follow in a frame. */
struct kl_name_gate {
    uint32_t frame;   /* 0: not known */
    uint32_t *before; /* [key_set.n + 1] number of possible ones before the i-th of the set */
    bool *patterns;   /* [n_patterns] a name that matches only this pattern */
    size_t n_before, n_patterns;
    uint64_t signature; /* of all of this */
    bool other;         /* a name that is neither named nor matches a pattern */
    bool any;
    /* plan->names_run_out: hashes of the names that are there and of all named ones, and of all
     * that these begin with */
    struct kl_hash_index used, begun;
};

struct kl_schema_rule {
    struct kl_rule rule;
    struct kl_schema_graph graph;
    enum kl_schema_reading reading;
};

struct kl_schema_machine {
    struct kl_machine base;
    const struct kl_schema_graph *graph;
    bool answers;
    struct kl_plans plans;
    struct kl_word_store store;
    struct kl_regex_run **runs;   /* [graph->n_regexes] NULL: not needed yet */
    uint64_t work_left;           /* of the runs, for one mask */
    struct kl_regex_least *least; /* [graph->n_regexes] of the runs */
    struct kl_regex_count *counts;
    struct kl_name_gate gate;
    /* scratch memory */
    uint8_t *bad, *next, *own; /* [n_judged] of the nodes of a plan */
    size_t n_judged;
    uint32_t *frame; /* [frame_room] a frame that is being made */
    size_t frame_room;
    uint32_t *tuple; /* [tuple_room] */
    size_t tuple_room;
    bool *matched; /* [matched_room] */
    size_t matched_room;
    char *number; /* [number_room] */
    size_t number_room;
};

enum kl_status kl_schema_machine_open(const struct kl_rule *rule, struct kl_machine **machine,
                                      struct kl_error *err);

/* ---- frames.c -------------------------------------------------------------------------------- */

static inline const uint32_t *kl_frame(const struct kl_schema_machine *m, uint32_t frame)
{
    size_t n;
    return kl_word_store_get(&m->store, frame, &n);
}

/* Takes over the failure of a part; always false. */
bool kl_schema_machine_fail(struct kl_schema_machine *m);

/* Makes room in the scratch memory for a plan. */
bool kl_machine_reserve(struct kl_schema_machine *m, const struct kl_plan *plan);

static inline struct kl_link *kl_machine_link(const struct kl_schema_machine *m, uint32_t link)
{
    return m->plans.links[link];
}

static inline struct kl_plan *kl_frame_plan(const struct kl_schema_machine *m, uint32_t frame)
{
    return kl_machine_link(m, kl_frame(m, frame)[F_LINK])->plan;
}

/* Whether the document is dead if the nodes m->bad of a frame are bad, in addition to those that
 * are bad already. Uses m->bad and m->next. */
bool kl_frame_dies(struct kl_schema_machine *m, uint32_t frame);

/* Whether the document is dead if these demanded nodes of the value that is expected are. */
bool kl_value_dies(struct kl_schema_machine *m, uint32_t frame, const struct kl_link *link,
                   const uint8_t *dead_demanded);

/* Whether a bad node of the value of `link` in a frame is the death of the document. */
bool kl_value_is_strict(const struct kl_schema_machine *m, uint32_t frame,
                        const struct kl_link *link);

/* Opens a container in a frame. 0: it may not be there, or the machine failed. */
uint32_t kl_frame_open(struct kl_schema_machine *m, uint32_t parent, const struct kl_link *link,
                       bool is_object);

/* The value of `link` ends, in frame: m->bad are the nodes of its plan that are bad. Sets *state to
 * what follows; false: the document is dead. */
bool kl_value_end(struct kl_schema_machine *m, uint32_t frame, const struct kl_link *link,
                  uint64_t hash, struct kl_rule_state *state);

/* The container ends. */
bool kl_frame_close(struct kl_schema_machine *m, uint32_t frame, struct kl_rule_state *state);

/* Copies a frame to m->frame, where it is changed, and stores it from there; NULL, 0: failure. */
uint32_t *kl_frame_copy(struct kl_schema_machine *m, uint32_t frame, size_t *n);
uint32_t kl_frame_store(struct kl_schema_machine *m, size_t n);

/* Whether a list of hashes contains one; adds one. */
bool kl_hashes_contain(const struct kl_schema_machine *m, uint32_t list, uint64_t hash);
uint32_t kl_hashes_add(struct kl_schema_machine *m, uint32_t list, uint64_t hash);

static inline uint64_t kl_hash_mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9E3779B97F4A7C15u;
    return hash ^ (hash >> 29);
}

/* Adds a byte to the hash of the characters of a string; 0: it is empty. */
static inline uint64_t kl_string_hash_add(uint64_t hash, uint8_t byte)
{
    return kl_hash_mix(hash, byte + 1u);
}

static inline bool kl_has_bit(const uint32_t *bits, uint32_t i)
{
    return (bits[i / 32] >> (i % 32) & 1) != 0;
}

static inline void kl_set_bit(uint32_t *bits, uint32_t i)
{
    bits[i / 32] |= 1u << (i % 32);
}

static inline size_t kl_bit_words(size_t n)
{
    return (n + 31) / 32;
}

/* ---- members.c: names and items -------------------------------------------------------------- */

/* Which names may follow in the frame of an object; NULL: failure. */
const struct kl_name_gate *kl_name_gate(struct kl_schema_machine *m, uint32_t frame);

/* For answers: whether a value that is no container may follow, of this link in a frame, where
 * containers are too deep already. */
bool kl_value_avoids_depth(struct kl_schema_machine *m, uint32_t frame, const struct kl_link *link);

/* Whether an item may follow in the frame of an array; *link: its link. Sets *frame to the one that
 * the item is in. */
bool kl_item_begins(struct kl_schema_machine *m, uint32_t *frame, const struct kl_link **link);

/* Whether a name that began like this, state in it, can become a name that may be there. */
bool kl_name_lives(struct kl_schema_machine *m, const struct kl_rule_state *state);
/* The name ends: *to is the state behind its closing quote. false: it may not be there. */
bool kl_name_ends(struct kl_schema_machine *m, const struct kl_rule_state *from,
                  struct kl_rule_state *to);
/* Whether it may end. */
bool kl_name_may_end(struct kl_schema_machine *m, const struct kl_rule_state *state);

/* ---- unused_names.c -------------------------------------------------------------------------- */

/* For the frame of m->gate: collects the names that are used. */
bool kl_names_collect(struct kl_schema_machine *m, uint32_t frame);
/* Whether a name of the frame of m->gate has begun like others that are used. Otherwise all names
 * that begin like this are left. */
bool kl_name_is_doubtful(const struct kl_schema_machine *m, const struct kl_rule_state *state);
/* Whether a name is left behind what led to this state of a pattern, with this hash; */
bool kl_pattern_has_unused(struct kl_schema_machine *m, uint32_t regex, uint32_t state,
                           uint64_t hash);
/* ... or one of the longest length, which the name has. */
bool kl_longest_is_unused(struct kl_schema_machine *m, const struct kl_rule_state *state);

/* ---- string_steps.c: strings ----------------------------------------------------------------- */

bool kl_string_begin(struct kl_schema_machine *m, struct kl_rule_state *state);
/* One more byte of a string or name. */
bool kl_string_step(struct kl_schema_machine *m, const struct kl_rule_state *from, uint8_t byte,
                    struct kl_rule_state *to);
/* The state behind the closing quote. */
bool kl_string_end(struct kl_schema_machine *m, const struct kl_rule_state *from,
                   struct kl_rule_state *to);
bool kl_string_is_free(struct kl_schema_machine *m, const struct kl_rule_state *state,
                       struct kl_free_string *string);
/* Whether the document stays alive although an automaton of the string died, or it grew longer. */
bool kl_string_lives(struct kl_schema_machine *m, const struct kl_rule_state *state, bool died);
/* Whether the closing quote may follow. */
bool kl_string_closes(struct kl_schema_machine *m, const struct kl_rule_state *state);
/* Leaves the hash out (rule.h). */
bool kl_string_plain(struct kl_schema_machine *m, const struct kl_rule_state *state,
                     struct kl_rule_state *plain);
/* Whether an answer writes characters of this string as escapes only where it must. */
bool kl_string_is_limited(struct kl_schema_machine *m, const struct kl_rule_state *state);

/* ---- number_steps.c -------------------------------------------------------------------------- */

bool kl_number_step(struct kl_schema_machine *m, const struct kl_rule_state *from, uint8_t byte,
                    struct kl_rule_state *to);
/* The number ends before this state's next byte. */
bool kl_number_end(struct kl_schema_machine *m, const struct kl_rule_state *from,
                   struct kl_rule_state *to);

#endif
