/*
 * Reads calls of tools out of the text of an answer, as it comes.
 *
 * A call is the JSON object of a name, which is one of the tools', and of arguments:
 *
 *     <tool_call>
 *     {"name": "get_weather", "arguments": {"city": "Paris"}}
 *     </tool_call>
 *
 * Models that were trained for that write it between these tags; others write it bare, as the
 * first text of the answer, or in a fence ("```json"); Llama's have "parameters" for "arguments".
 * All of these are read, with any whitespace: where the rule of calls begins
 * (grammar/calls_rule.h), a call is read. Everything else is content, but a tag never is, nor is
 * the whitespace before, between and behind calls. Text is held back only while it may still be the
 * beginning of a call, and a whitespace until something follows.
 *
 * An object in tags that is not a call of one of the tools is content, without the tags. Arguments
 * are passed on as they are written and not checked: a rule (api/tool_calls.h) makes them what the
 * tool wants.
 *
 * The struct is the caller's and allocates nothing. One thread at a time: the loop's.
 */
#ifndef KL_SERVICE_CALL_READER_H
#define KL_SERVICE_CALL_READER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* The names of the tools that may be called. One block of memory: free() frees it. */
struct kl_call_names {
    size_t n;
    const char *names[]; /* [n] */
};

#define KL_CALL_NAME_MAX 256 /* bytes of a name */

/* Copies the names, of KL_CALL_NAME_MAX bytes at most; NULL: no memory. */
struct kl_call_names *kl_call_names_new(const char *const *names, size_t n);

enum kl_call_part { KL_CALL_BEGIN, KL_CALL_ARGUMENTS, KL_CALL_END };

/* A call is a BEGIN, pieces of arguments, and an END, unless it is cut: the answer may end after
 * any of them. */
struct kl_call_piece {
    enum kl_call_part part;
    size_t index;     /* of the call in the answer */
    const char *text; /* BEGIN: the name; ARGUMENTS: a piece of their JSON, whole code points */
    size_t len;
};

/* The receiver. An error ends the reading and is passed on. */
struct kl_call_sink {
    enum kl_status (*text)(void *context, const char *text, size_t len);
    enum kl_status (*call)(void *context, const struct kl_call_piece *piece);
    void *context;
};

/* Room for the longest beginning of a call; with more whitespace in it, it is content. */
#define KL_CALL_HELD 2048

struct kl_call_reader {
    const struct kl_call_names *names;
    size_t n_calls; /* that have begun */
    enum kl_call_place {
        KL_CALL_IN_TEXT,
        KL_CALL_IN_ARGUMENTS,
        KL_CALL_IN_OBJECT, /* behind the arguments, up to the closing brace */
        KL_CALL_BEHIND,    /* up to the closing tag or fence */
    } place;
    enum kl_call_form { KL_CALL_TAGGED, KL_CALL_FENCED, KL_CALL_BARE } form; /* of the last call */
    bool is_fenced;             /* in a fence with calls */
    bool is_first;              /* no text yet, or none since the last call */
    bool at_line_begin;         /* the byte before the held ones ended a line */
    bool in_string, is_escaped; /* of the JSON text that is being skipped */
    size_t depth;
    size_t n_held;
    char held[KL_CALL_HELD];
};

/* names must outlive the reader. */
void kl_call_reader_init(struct kl_call_reader *reader, const struct kl_call_names *names);

/* Reads the next piece of the answer: valid UTF-8, whole code points. */
enum kl_status kl_call_reader_feed(struct kl_call_reader *reader, const char *text, size_t len,
                                   const struct kl_call_sink *sink);

/* The answer is complete, or cut: passes on what is still held back. */
enum kl_status kl_call_reader_end(struct kl_call_reader *reader, const struct kl_call_sink *sink);

#endif
