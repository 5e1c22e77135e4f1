/*
 * The generations of live answers: what live_answer.h asks of them.
 *
 * Thread rule: everything runs on the loop's thread.
 */
#ifndef KL_SERVICE_LIVE_WORK_H
#define KL_SERVICE_LIVE_WORK_H

#include "service/live_answer.h"

/* `work` is a generation, the context is the service. */
extern const struct kl_live_events kl_live_work;

#endif
