#include "bench/server_query.h"

#include <stdio.h>
#include <string.h>

enum kl_status kl_server_get(const char *base, const char *path, struct kl_http_request request,
                             struct kl_http_answer *answer, struct kl_error *err)
{
    char url[1100];
    snprintf(url, sizeof url, "%s%s", base, path);
    request.url = url;
    return kl_http_run(&request, answer, err);
}

bool kl_is_event_stream(const struct kl_http_answer *answer)
{
    static const char type[] = "text/event-stream";
    return strncmp(answer->content_type, type, sizeof type - 1) == 0;
}
