#include "http/http_message.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The longest line with the length of a chunk, with its extensions, which clients hardly ever send.
 */
#define MAX_CHUNK_LINE   256
#define MAX_CHUNK_DIGITS 16
#define MAX_TRAILER      4096
/* RFC 9110, 5.6.2: the bytes of names. */
#define TOKEN_BYTES "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

static enum kl_status bad(struct kl_api_error *error, const char *what)
{
    return kl_api_fail(error, 400, "invalid_request", NULL, "this is no HTTP request: %s", what);
}

/* ---- head ------------------------------------------------------------------------------------ */

enum kl_status kl_http_head_find_end(const char *data, size_t len, size_t *scanned, size_t *end,
                                     struct kl_api_error *error)
{
    size_t at = *scanned, limit = len < KL_HTTP_MAX_HEADER ? len : KL_HTTP_MAX_HEADER;
    const char *feed;
    *end = 0;
    while (at < limit && (feed = memchr(data + at, '\n', limit - at)) != NULL) {
        size_t i = (size_t)(feed - data);
        if (i == 0 || data[i - 1] != '\r')
            return bad(error, "its lines must end in CR and LF");
        at = i + 1;
        if (i >= 3 && data[i - 2] == '\n') {
            *end = at;
            return KL_OK;
        }
    }
    *scanned = limit;
    if (len >= KL_HTTP_MAX_HEADER)
        return kl_api_fail(error, 431, "header_too_large", NULL,
                           "the request's first line and headers have more than %zu bytes",
                           KL_HTTP_MAX_HEADER);
    return KL_OK;
}

static bool is_token(const char *text)
{
    size_t len = strspn(text, TOKEN_BYTES);
    return len > 0 && text[len] == '\0';
}

/* Tabs and printable bytes; text of other languages is in bytes over 0x7f. */
static bool is_text_byte(char c)
{
    return ((unsigned char)c >= ' ' || c == '\t') && c != 0x7f;
}

static bool is_text(const char *text)
{
    while (is_text_byte(*text))
        text++;
    return *text == '\0';
}

bool kl_http_is_list(const char *text)
{
    return text[strspn(text, TOKEN_BYTES ", \t")] == '\0';
}

static enum kl_status parse_first_line(struct kl_http_head *head, char *line,
                                       struct kl_api_error *error)
{
    char *target = strchr(line, ' ');
    char *version = target != NULL ? strchr(target + 1, ' ') : NULL;
    if (version == NULL)
        return bad(error, "its first line must be METHOD TARGET HTTP/1.1");
    *target++ = '\0';
    *version++ = '\0';
    if (!is_token(line) || *target == '\0' || !is_text(target) || strchr(target, '\t') != NULL)
        return bad(error, "its first line must be METHOD TARGET HTTP/1.1");
    if (strncmp(version, "HTTP/", 5) != 0)
        return bad(error, "its first line must end in HTTP/1.1");
    if (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0)
        return kl_api_fail(error, 505, "unsupported_version", NULL,
                           "this server speaks HTTP/1.1 and HTTP/1.0, not %.16s", version);
    head->minor = version[7] == '1';
    head->target = target;
    head->method = strcmp(line, "GET") == 0       ? KL_HTTP_GET
                   : strcmp(line, "HEAD") == 0    ? KL_HTTP_HEAD
                   : strcmp(line, "POST") == 0    ? KL_HTTP_POST
                   : strcmp(line, "PUT") == 0     ? KL_HTTP_PUT
                   : strcmp(line, "DELETE") == 0  ? KL_HTTP_DELETE
                   : strcmp(line, "OPTIONS") == 0 ? KL_HTTP_OPTIONS
                                                  : KL_HTTP_OTHER;
    return KL_OK;
}

static enum kl_status parse_field(struct kl_http_head *head, char *line, struct kl_api_error *error)
{
    if (head->n_fields == KL_HTTP_MAX_FIELDS)
        return kl_api_fail(error, 431, "header_too_large", NULL,
                           "the request has more than %d headers", KL_HTTP_MAX_FIELDS);
    char *value = strchr(line, ':');
    if (value == NULL)
        return bad(error, "a header must be \"Name: value\"");
    *value++ = '\0';
    if (!is_token(line))
        return bad(error, "a header's name has only letters, digits and dashes, no blanks");
    value += strspn(value, " \t");
    size_t len = strlen(value);
    while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
        value[--len] = '\0';
    if (!is_text(value))
        return bad(error, "a header's value must not have control bytes");
    head->fields[head->n_fields++] = (struct kl_http_field){line, value};
    return KL_OK;
}

const char *kl_http_head_field(const struct kl_http_head *head, const char *name)
{
    for (size_t i = 0; i < head->n_fields; i++) {
        if (strcasecmp(head->fields[i].name, name) == 0)
            return head->fields[i].value;
    }
    return NULL;
}

static size_t count_fields(const struct kl_http_head *head, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < head->n_fields; i++)
        n += strcasecmp(head->fields[i].name, name) == 0;
    return n;
}

/* Returns whether a list like "keep-alive, Upgrade" has this word, in any field of this name. */
static bool list_has(const struct kl_http_head *head, const char *name, const char *word)
{
    for (size_t i = 0; i < head->n_fields; i++) {
        if (strcasecmp(head->fields[i].name, name) != 0)
            continue;
        for (const char *at = head->fields[i].value; *at != '\0';) {
            size_t len = strcspn(at, ", \t");
            if (len == strlen(word) && strncasecmp(at, word, len) == 0)
                return true;
            at += len;
            at += strspn(at, ", \t");
        }
    }
    return false;
}

static enum kl_status parse_length(struct kl_http_head *head, const char *text,
                                   struct kl_api_error *error)
{
    size_t n_digits = strspn(text, "0123456789");
    if (n_digits == 0 || text[n_digits] != '\0')
        return kl_api_fail(error, 400, "invalid_request", "Content-Length",
                           "Content-Length must be a number of bytes, not \"%.40s\"", text);
    head->length = UINT64_MAX;
    if (n_digits <= 18) /* more would not fit into 64 bits, and is too large in any case */
        head->length = strtoull(text, NULL, 10);
    return KL_OK;
}

/* Refuses headers that are given twice with different values and that decide whether a request is
 * accepted: a proxy in front may have judged by the other one. */
static enum kl_status check_repeated(const struct kl_http_head *head, struct kl_api_error *error)
{
    static const char *const names[] = {"Authorization", "Content-Encoding", "Content-Type",
                                        "Origin",        "Sec-Fetch-Site",   "x-api-key"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *first = kl_http_head_field(head, names[i]);
        for (size_t k = 0; first != NULL && k < head->n_fields; k++) {
            if (strcasecmp(head->fields[k].name, names[i]) == 0 &&
                strcmp(head->fields[k].value, first) != 0)
                return kl_api_fail(error, 400, "invalid_request", names[i],
                                   "the request has more than one %s header, with different "
                                   "values; send it once",
                                   names[i]);
        }
    }
    return KL_OK;
}

/* Checks that the end of the body and the host are unambiguous. */
static enum kl_status check_meaning(struct kl_http_head *head, struct kl_api_error *error)
{
    const char *length = kl_http_head_field(head, "Content-Length");
    const char *coding = kl_http_head_field(head, "Transfer-Encoding");
    size_t n_host = count_fields(head, "Host");
    if (count_fields(head, "Content-Length") > 1 || count_fields(head, "Transfer-Encoding") > 1 ||
        (length != NULL && coding != NULL) || (coding != NULL && head->minor == 0))
        return kl_api_fail(error, 400, "invalid_request", NULL,
                           "the request's headers leave its length in doubt: send Content-Length "
                           "or (in HTTP/1.1) Transfer-Encoding, once");
    if (coding != NULL && strcasecmp(coding, "chunked") != 0)
        return kl_api_fail(error, 501, "unsupported_encoding", "Transfer-Encoding",
                           "Transfer-Encoding must be chunked, not \"%.40s\"", coding);
    if (n_host > 1 || (n_host == 0 && head->minor >= 1))
        return kl_api_fail(error, 400, "invalid_request", "Host",
                           "the request has %s Host header; HTTP/1.1 requires exactly one",
                           n_host == 0 ? "no" : "more than one");
    head->chunked = coding != NULL;
    head->keep_alive = head->minor >= 1 ? !list_has(head, "Connection", "close")
                                        : list_has(head, "Connection", "keep-alive");
    head->expects_continue = head->minor >= 1 && list_has(head, "Expect", "100-continue");
    enum kl_status status = check_repeated(head, error);
    return status == KL_OK && length != NULL ? parse_length(head, length, error) : status;
}

enum kl_status kl_http_head_parse(struct kl_http_head *head, const char *data, size_t len,
                                  struct kl_api_error *error)
{
    *head = (struct kl_http_head){.text = malloc(len + 1), .size = len + 1};
    if (head->text == NULL)
        return kl_api_fail_memory(error, "the request");
    memcpy(head->text, data, len);
    head->text[len] = '\0';
    if (memchr(data, '\0', len) != NULL)
        return bad(error, "its head must not have NUL bytes");

    enum kl_status status = KL_OK;
    bool first = true;
    for (char *line = head->text, *next; status == KL_OK; line = next) {
        char *end = strstr(line, "\r\n");
        if (end == NULL || end == line)
            break;
        *end = '\0';
        next = end + 2;
        status = first ? parse_first_line(head, line, error) : parse_field(head, line, error);
        first = false;
    }
    if (status == KL_OK && first)
        status = bad(error, "it is empty");
    return status == KL_OK ? check_meaning(head, error) : status;
}

void kl_http_head_release(struct kl_http_head *head)
{
    free(head->text);
    head->text = NULL;
    head->size = 0;
    head->n_fields = 0;
}

/* ---- chunks ---------------------------------------------------------------------------------- */

/* RFC 9112, 7.1, without the blanks that it permits around ";" and "=": programs read those in more
 * than one way. */
enum {
    CHUNK_SIZE,
    EXTENSION_BEGIN, /* after ";" */
    EXTENSION_NAME,
    EXTENSION_VALUE_BEGIN, /* after "=" */
    EXTENSION_VALUE,
    EXTENSION_QUOTED,
    EXTENSION_ESCAPED, /* after a backslash */
    EXTENSION_END,     /* after the closing quote */
    CHUNK_BEGIN,
    CHUNK_DATA,
    CHUNK_CR,
    CHUNK_LF,
    TRAILER_BEGIN,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    LAST_LF
};

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_token_byte(char c)
{
    return c != '\0' && strchr(TOKEN_BYTES, c) != NULL;
}

/* Handles the byte after a size, a name or a value. */
static bool end_extension(struct kl_http_chunks *c, char byte)
{
    c->stage = byte == '\r' ? CHUNK_BEGIN : EXTENSION_BEGIN;
    return byte == '\r' || byte == ';';
}

/* Handles one byte of ";name=value" or ";name="quoted"", of which there may be several. */
static bool take_extension(struct kl_http_chunks *c, char byte)
{
    bool token = is_token_byte(byte);
    if (++c->n_line > MAX_CHUNK_LINE)
        return false;
    switch (c->stage) {
    case EXTENSION_BEGIN:
        c->stage = EXTENSION_NAME;
        return token;
    case EXTENSION_NAME:
        if (byte == '=')
            c->stage = EXTENSION_VALUE_BEGIN;
        return token || byte == '=' || end_extension(c, byte);
    case EXTENSION_VALUE_BEGIN:
        c->stage = byte == '"' ? EXTENSION_QUOTED : EXTENSION_VALUE;
        return token || byte == '"';
    case EXTENSION_VALUE:
        return token || end_extension(c, byte);
    case EXTENSION_QUOTED:
        if (byte == '"')
            c->stage = EXTENSION_END;
        else if (byte == '\\')
            c->stage = EXTENSION_ESCAPED;
        return is_text_byte(byte);
    case EXTENSION_ESCAPED:
        c->stage = EXTENSION_QUOTED;
        return is_text_byte(byte);
    default: /* EXTENSION_END */
        return end_extension(c, byte);
    }
}

/* Handles one byte of the header lines after the last chunk, which are checked and ignored. */
static bool take_trailer(struct kl_http_chunks *c, char byte)
{
    if (++c->n_trailer > MAX_TRAILER)
        return false;
    switch (c->stage) {
    case TRAILER_BEGIN:
        c->stage = byte == '\r' ? LAST_LF : TRAILER_NAME;
        return byte == '\r' || is_token_byte(byte);
    case TRAILER_NAME:
        if (byte == ':')
            c->stage = TRAILER_VALUE;
        return byte == ':' || is_token_byte(byte);
    case TRAILER_VALUE:
        if (byte == '\r')
            c->stage = TRAILER_LF;
        return byte == '\r' || is_text_byte(byte);
    case TRAILER_LF:
        c->stage = TRAILER_BEGIN;
        return byte == '\n';
    default: /* LAST_LF */
        c->done = true;
        return byte == '\n';
    }
}

/* Handles one byte between the data of chunks. Returns false if it is not allowed there. */
static bool take_framing(struct kl_http_chunks *c, char byte)
{
    int digit = hex_digit(byte);
    switch (c->stage) {
    case CHUNK_SIZE:
        if (digit >= 0) {
            c->left = c->left << 4 | (unsigned)digit;
            return ++c->n_line <= MAX_CHUNK_DIGITS;
        }
        return c->n_line > 0 && end_extension(c, byte);
    case CHUNK_BEGIN:
        c->stage = c->left > 0 ? CHUNK_DATA : TRAILER_BEGIN;
        return byte == '\n';
    case CHUNK_CR:
        c->stage = CHUNK_LF;
        return byte == '\r';
    case CHUNK_LF:
        c->stage = CHUNK_SIZE;
        c->n_line = 0;
        return byte == '\n';
    default:
        return c->stage < CHUNK_BEGIN ? take_extension(c, byte) : take_trailer(c, byte);
    }
}

enum kl_status kl_http_chunks_decode(struct kl_http_chunks *c, const char *data, size_t len,
                                     size_t *used, struct kl_buffer *body,
                                     struct kl_api_error *error)
{
    size_t at = 0;
    while (at < len && !c->done) {
        if (c->stage != CHUNK_DATA) {
            if (!take_framing(c, data[at++]))
                return kl_api_fail(error, 400, "invalid_request", NULL,
                                   "the chunks of the request's body cannot be read");
            continue;
        }
        size_t n = c->left < len - at ? (size_t)c->left : len - at;
        if (c->left > KL_HTTP_MAX_BODY || n > body->cap - body->len)
            return kl_api_fail(error, 413, "body_too_large", NULL,
                               "the body has more than %zu bytes, which is the limit",
                               KL_HTTP_MAX_BODY);
        if (kl_buffer_append(body, data + at, n) != KL_OK)
            return kl_api_fail_memory(error, "the request's body");
        at += n;
        c->left -= n;
        if (c->left == 0)
            c->stage = CHUNK_CR;
    }
    *used = at;
    return KL_OK;
}

/* ---- answers --------------------------------------------------------------------------------- */

const char *kl_http_reason(int status)
{
    static const struct {
        int status;
        const char *text;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {204, "No Content"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {415, "Unsupported Media Type"},
        {428, "Precondition Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (reasons[i].status == status)
            return reasons[i].text;
    }
    return "Status"; /* clients read the number */
}
