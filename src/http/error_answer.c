#include "http/error_answer.h"

#include <string.h>
#include <time.h>

#include "base/buffer.h"
#include "http/http_message.h"

void kl_answer_status_line(struct evbuffer *out, int status)
{
    char date[40];
    time_t now = time(NULL);
    struct tm utc;
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &utc));
    evbuffer_add_printf(out, "HTTP/1.1 %d %s\r\nDate: %s\r\nX-Content-Type-Options: nosniff\r\n",
                        status, kl_http_reason(status), date);
}

void kl_error_answer_write(struct evbuffer *out, const struct kl_api_error *error,
                           enum kl_error_shape shape)
{
    /* in place of an error for whose text there is no memory */
    static const char no_memory[] =
        "{\"error\":{\"message\":\"no memory for the answer; try again in a moment\","
        "\"type\":\"server_error\",\"param\":null,\"code\":\"no_memory\"}}";
    struct kl_buffer json;
    kl_buffer_init(&json, KL_API_ERROR_BYTES);
    bool lost = kl_api_error_write(error, shape, &json) != KL_OK;
    const char *text = lost ? no_memory : json.data;
    unsigned retry_after = lost ? 1 : error->retry_after;
    if (evbuffer_expand(out, KL_ANSWER_OWN_HEADERS + strlen(text)) == 0) {
        kl_answer_status_line(out, lost ? 503 : error->status);
        if (retry_after != 0)
            evbuffer_add_printf(out, "Retry-After: %u\r\n", retry_after);
        evbuffer_add_printf(out,
                            "Content-Type: application/json; charset=utf-8\r\n"
                            "Cache-Control: no-store\r\nContent-Length: %zu\r\n"
                            "Connection: close\r\n\r\n",
                            strlen(text) + 1);
        evbuffer_add(out, text, strlen(text));
        evbuffer_add(out, "\n", 1);
    } /* or the connection is closed without an answer */
    kl_buffer_release(&json);
}
