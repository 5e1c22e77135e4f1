/*
 * The normal form of a Jinja template: two templates of the same form give the same text for every
 * conversation, however they are written. Internal to text/.
 *
 * Nothing is run. The template is cut as Jinja2 cuts it in transformers (trim_blocks,
 * lstrip_blocks), and written down again without all that makes no difference: whitespace control
 * and whitespace in tags, comments, the way a string is quoted or its newlines are written,
 * message['x'] for message.x, True for true, and whether text stands outside of tags or in a {{
 * 'string' }}.
 */
#ifndef KL_TEXT_TEMPLATE_FORM_H
#define KL_TEXT_TEMPLATE_FORM_H

#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"

/* Several times the longest templates that models have. */
#define KL_TEMPLATE_MAX_BYTES ((size_t)64 << 10)
/* Of its form: a token of one byte becomes two, and the shortest tags, {{a}} and a letter before
 * it, ten. */
#define KL_TEMPLATE_MAX_FORM (4 * KL_TEMPLATE_MAX_BYTES)

/* Appends the form of text to *out, in time linear in len. KL_ERR_UNSUPPORTED: it is longer than
 * KL_TEMPLATE_MAX_BYTES or uses a construct that is not supported here (then it is no known
 * template); KL_ERR_LIMIT, KL_ERR_MEMORY: of the buffer. */
enum kl_status kl_template_form(const char *text, size_t len, struct kl_buffer *out);

#endif
