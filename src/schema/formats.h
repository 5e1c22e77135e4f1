/*
 * The formats of JSON Schema, as regular expressions of whole strings (KL_REGEX_WHOLE).
 *
 * https://json-schema.org/draft/2020-12/json-schema-validation#section-7.3: date, time and
 * date-time (RFC 3339, without leap seconds, and with the days of each month), duration (RFC 3339,
 * appendix A), email and idn-email (RFC 5321 and 6531: dot-atoms or quoted strings, and a host),
 * hostname (RFC 1123), ipv4, ipv6 (RFC 4291), uri, uri-reference, iri, iri-reference (RFC 3986 and
 * 3987), uri-template (RFC 6570), uuid (RFC 4122), json-pointer and relative-json-pointer (RFC
 * 6901).
 */
#ifndef KL_SCHEMA_FORMATS_H
#define KL_SCHEMA_FORMATS_H

#include <stdbool.h>

/* Returns the pattern of a format; NULL: it is unknown, so that it asserts nothing, or is one of
 * those that are not regular (_is_refused). */
const char *kl_format_pattern(const char *name);

/* Whether the format asserts something that is not supported: regex, idn-hostname. */
bool kl_format_is_refused(const char *name);

#endif
