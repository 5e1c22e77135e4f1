/*
 * HTTP/1.1 as bytes: the head of a request, and the chunks of its body.
 *
 * RFC 9112, read strictly: anything that two programs might read differently (lengths given twice,
 * a key or an origin given twice and not alike, folded lines, bare line feeds, blanks in names) is
 * refused, so that a proxy in front and this server always see the same messages. Pure functions
 * over bytes: nothing here does input or output.
 */
#ifndef KL_HTTP_HTTP_MESSAGE_H
#define KL_HTTP_HTTP_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "http/api_error.h"

/* The first line and all fields together; browsers with many cookies stay under 8 KiB. */
#define KL_HTTP_MAX_HEADER ((size_t)16 << 10)
#define KL_HTTP_MAX_FIELDS 100
/* The largest body: long conversations have some 100 KB; nginx has the same limit. */
#define KL_HTTP_MAX_BODY ((size_t)1 << 20)

enum kl_http_method {
    KL_HTTP_GET,
    KL_HTTP_HEAD,
    KL_HTTP_POST,
    KL_HTTP_PUT,
    KL_HTTP_DELETE,
    KL_HTTP_OPTIONS,
    KL_HTTP_OTHER
};

/* Whether a request with this method may have a body that its handler reads. */
static inline bool kl_http_takes_body(enum kl_http_method method)
{
    return method == KL_HTTP_POST || method == KL_HTTP_PUT || method == KL_HTTP_DELETE;
}

struct kl_http_field {
    const char *name;
    const char *value; /* without the blanks around it */
};

struct kl_http_head {
    char *text;  /* all strings here point into it; NULL: there is no head */
    size_t size; /* of text */
    enum kl_http_method method;
    const char *target; /* as sent: "/path?query", "http://name/path" */
    unsigned minor;     /* of HTTP/1.minor: 0 or 1 */
    struct kl_http_field fields[KL_HTTP_MAX_FIELDS];
    size_t n_fields;
    bool chunked;
    uint64_t length; /* of the body, where it is not chunked */
    bool keep_alive, expects_continue;
};

/* Finds the end of a head in the first len bytes of a connection. *scanned: bytes that were
 * examined by earlier calls (0 at first). *end: where the body begins; 0 while the head is
 * incomplete. A head that is too large is refused (431), also one without carriage returns (400).
 */
enum kl_status kl_http_head_find_end(const char *data, size_t len, size_t *scanned, size_t *end,
                                     struct kl_api_error *error);

/* Parses a complete head of len bytes, which are copied. Refused with 400, 431, 501 or 505. The
 * caller releases it in any case. */
enum kl_status kl_http_head_parse(struct kl_http_head *head, const char *data, size_t len,
                                  struct kl_api_error *error);
void kl_http_head_release(struct kl_http_head *head);

/* The value of the first field of this name (in any case), or NULL. */
const char *kl_http_head_field(const struct kl_http_head *head, const char *name);

/* The state of a chunked body. All zero: at its beginning. */
struct kl_http_chunks {
    int stage;
    uint64_t left; /* of the chunk */
    size_t n_line; /* bytes of the line so far */
    size_t n_trailer;
    bool done;
};

/* Processes the next len bytes of the body, *used of them, and appends their data to body. A body
 * that does not fit is a 413, bytes that are not chunks a 400. After `done` no byte is used. */
enum kl_status kl_http_chunks_decode(struct kl_http_chunks *chunks, const char *data, size_t len,
                                     size_t *used, struct kl_buffer *body,
                                     struct kl_api_error *error);

/* Whether a text is a list of names of headers, as in Access-Control-Request-Headers. */
bool kl_http_is_list(const char *text);

/* The reason phrase of a status: "Not Found". Static. */
const char *kl_http_reason(int status);

#endif
