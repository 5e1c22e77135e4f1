#include "schema/answer_schema.h"

enum kl_status kl_schema_for_answers(const struct kl_schema_graph *in, struct kl_schema_graph *out,
                                     struct kl_schema_refusal *refusal, struct kl_error *err)
{
    (void)in;
    (void)out;
    (void)refusal;
    return kl_fail(err, KL_ERR_UNSUPPORTED, "schemas for answers are not supported yet");
}
