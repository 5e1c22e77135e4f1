/* Whether a server's /health has figures: a server with keys shows them only to clients with one.
 */
#include "bench/server_query.h"
#include "client/api_reader.h"
#include "doctor/doctor.h"

#define AREA          "health"
#define STALL_SECONDS 10

static void judge(struct kl_findings *findings, enum kl_health_told shown, bool with_key)
{
    struct kl_finding *found;
    switch (shown) {
    case KL_HEALTH_ALL:
        kl_found(findings, KL_GOOD, AREA,
                 with_key ? "/health shows all figures"
                          : "/health shows all figures without a key");
        break;
    case KL_HEALTH_STATUS:
        found = kl_found(findings, KL_NOTE, AREA,
                         with_key ? "/health shows the status only: the server does not know this "
                                    "key"
                                  : "/health shows the status only: figures need a key");
        kl_found_remedy(found, with_key ? "send another key: --api-key-file FILE"
                                        : "send a key: --api-key-file FILE");
        break;
    case KL_HEALTH_OTHER: /* of another program */
        break;
    }
}

void kl_doctor_health(struct kl_findings *findings, const char *base, const char *key)
{
    struct kl_error err;
    struct kl_http_answer answer;
    const struct kl_http_request limits = {.key = key, .stall_seconds = STALL_SECONDS};
    if (kl_server_get(base, "/health", limits, &answer, &err) == KL_OK && answer.body.len > 0)
        judge(findings, kl_read_health(answer.body.data, answer.body.len), key != NULL);
    kl_http_release(&answer);
}
