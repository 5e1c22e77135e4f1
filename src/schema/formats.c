#include "schema/formats.h"

#include <stddef.h>
#include <string.h>

/* ---- dates ----------------------------------------------------------------------------------- */

#define YEAR      "(?:\\d{3}[1-9]|\\d{2}[1-9]\\d|\\d[1-9]\\d{2}|[1-9]\\d{3})"
#define LEAP      "(?:0[48]|[2468][048]|[13579][26])"
#define LEAP_YEAR "(?:\\d\\d" LEAP "|" LEAP "00)"
#define DATE                                                                                       \
    "(?:" YEAR "-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|"  \
    "30)|02-(?:0[1-9]|1\\d|2[0-8]))|" LEAP_YEAR "-02-29)"
#define HOUR_MINUTE "(?:[01]\\d|2[0-3]):[0-5]\\d"
#define TIME        HOUR_MINUTE ":[0-5]\\d(?:\\.\\d+)?(?:[Zz]|[+-]" HOUR_MINUTE ")"
#define SECONDS     "\\d+(?:\\.\\d+)?S"
#define DAYS        "(?:\\d+Y(?:\\d+M)?(?:\\d+D)?|\\d+M(?:\\d+D)?|\\d+D)"
#define HOURS       "(?:\\d+H(?:\\d+M)?(?:" SECONDS ")?|\\d+M(?:" SECONDS ")?|" SECONDS ")"
#define DURATION    "P(?:\\d+W|" DAYS "(?:T" HOURS ")?|T" HOURS ")"

/* ---- hosts ----------------------------------------------------------------------------------- */

#define LABEL    "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define HOSTNAME LABEL "(?:\\." LABEL ")*"
#define OCTET    "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define IPV4     OCTET "\\." OCTET "\\." OCTET "\\." OCTET
#define H16      "[0-9A-Fa-f]{1,4}"
#define LS32     "(?:" H16 ":" H16 "|" IPV4 ")"
#define IPV6                                                                                       \
    "(?:(?:" H16 ":){6}" LS32 "|::(?:" H16 ":){5}" LS32 "|(?:" H16 ")?::(?:" H16 ":){4}" LS32      \
    "|(?:(?:" H16 ":){0,1}" H16 ")?::(?:" H16 ":){3}" LS32 "|(?:(?:" H16 ":){0,2}" H16             \
    ")?::(?:" H16 ":){2}" LS32 "|(?:(?:" H16 ":){0,3}" H16 ")?::" H16 ":" LS32 "|(?:(?:" H16       \
    ":){0,4}" H16 ")?::" LS32 "|(?:(?:" H16 ":){0,5}" H16 ")?::" H16 "|(?:(?:" H16 ":){0,6}" H16   \
    ")?::)"
#define ATEXT       "A-Za-z0-9!#$%&'*+/=?^_`{|}~\\-"
#define QUOTED      "\"(?:[^\"\\\\\\x00-\\x1f\\x7f]|\\\\[ -~])*\""
#define MAIL_DOMAIN "(?:" HOSTNAME "|\\[(?:" IPV4 "|IPv6:" IPV6 ")\\])"
#define EMAIL       "(?:[" ATEXT "]+(?:\\.[" ATEXT "]+)*|" QUOTED ")@" MAIL_DOMAIN
#define WIDE        "\\u0080-\\u{10FFFF}"
#define IDN_LABEL   "[A-Za-z0-9" WIDE "](?:[A-Za-z0-9" WIDE "-]{0,61}[A-Za-z0-9" WIDE "])?"
#define IDN_EMAIL                                                                                  \
    "(?:[" ATEXT WIDE "]+(?:\\.[" ATEXT WIDE "]+)*|" QUOTED ")@(?:" IDN_LABEL "(?:\\." IDN_LABEL   \
    ")*|" MAIL_DOMAIN ")"

/* ---- URIs: wide is "" or the characters that IRIs have in addition ----------------------------
 */

#define UCS             "\\u00a0-\\ud7ff\\uf900-\\ufdcf\\ufdf0-\\uffef\\u{10000}-\\u{efffd}"
#define PERCENT         "%[0-9A-Fa-f]{2}"
#define UNRESERVED      "A-Za-z0-9._~\\-"
#define SUB_DELIMITERS  "!$&'()*+,;="
#define PCHAR(wide)     "(?:[" UNRESERVED SUB_DELIMITERS ":@" wide "]|" PERCENT ")"
#define SEGMENTS(wide)  "(?:/" PCHAR(wide) "*)*"
#define USER(wide)      "(?:(?:[" UNRESERVED SUB_DELIMITERS ":" wide "]|" PERCENT ")*@)?"
#define FUTURE          "[vV][0-9A-Fa-f]+\\.[" UNRESERVED SUB_DELIMITERS ":]+"
#define NAME(wide)      "(?:[" UNRESERVED SUB_DELIMITERS wide "]|" PERCENT ")*"
#define AUTHORITY(wide) USER(wide) "(?:\\[(?:" IPV6 "|" FUTURE ")\\]|" NAME(wide) ")(?::\\d*)?"
#define QUERY(wide)     "(?:\\?(?:" PCHAR(wide) "|[/?])*)?(?:#(?:" PCHAR(wide) "|[/?])*)?"
#define ROOTED(wide)    "/(?:" PCHAR(wide) "+" SEGMENTS(wide) ")?"
#define URI(wide)                                                                                  \
    "[A-Za-z][A-Za-z0-9+.-]*:(?://" AUTHORITY(wide)                                                \
        SEGMENTS(wide) "|" ROOTED(wide) "|" PCHAR(wide) "+" SEGMENTS(wide) "|)" QUERY(wide)
#define FIRST_SEGMENT(wide) "(?:[" UNRESERVED SUB_DELIMITERS "@" wide "]|" PERCENT ")+"
#define REFERENCE(wide)                                                                            \
    "(?:" URI(wide) "|(?://" AUTHORITY(wide)                                                       \
        SEGMENTS(wide) "|" ROOTED(wide) "|" FIRST_SEGMENT(wide)                                    \
            SEGMENTS(wide) "|)" QUERY(wide) ")"
#define VARIABLE "[A-Za-z0-9_.%]+(?:\\*|:[1-9]\\d{0,3})?"
#define URI_TEMPLATE                                                                               \
    "(?:[^\\x00-\\x20\"'%<>\\\\^`{|}\\x7f]|" PERCENT "|\\{[+#./;?&=,!@|]?" VARIABLE                \
    "(?:," VARIABLE ")*\\})*"

#define POINTER "(?:/(?:[^~/]|~[01])*)*"

static const struct format {
    const char *name, *pattern; /* NULL: not regular */
} formats[] = {
    {"date", DATE},
    {"time", TIME},
    {"date-time", DATE "[Tt]" TIME},
    {"duration", DURATION},
    {"email", EMAIL},
    {"idn-email", IDN_EMAIL},
    {"hostname", HOSTNAME},
    {"idn-hostname", NULL},
    {"ipv4", IPV4},
    {"ipv6", IPV6},
    {"uri", URI("")},
    {"uri-reference", REFERENCE("")},
    {"iri", URI(UCS)},
    {"iri-reference", REFERENCE(UCS)},
    {"uri-template", URI_TEMPLATE},
    {"uuid", "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"},
    {"json-pointer", POINTER},
    {"relative-json-pointer", "(?:0|[1-9]\\d*)(?:#|" POINTER ")"},
    {"regex", NULL},
};

static const struct format *find(const char *name)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (strcmp(formats[i].name, name) == 0)
            return &formats[i];
    return NULL;
}

const char *kl_format_pattern(const char *name)
{
    const struct format *format = find(name);
    return format == NULL ? NULL : format->pattern;
}

bool kl_format_is_refused(const char *name)
{
    const struct format *format = find(name);
    return format != NULL && format->pattern == NULL;
}
