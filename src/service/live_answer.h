/*
 * Live answers: those that outlive their client, and that others may watch.
 *
 * A request with the header X-Answer-Id has its answer written to a log (event_log.h) instead of to
 * its connection: the generation writes to an exchange without one (kl_exchange_detach), and
 * dialects notice nothing. Its client is the first of any number of readers, each of which copies
 * the events from the log to its own exchange at its own pace. So a reader that leaves, or is slow,
 * changes nothing for the answer; GET /v1/answers/ID makes another one.
 *
 * Comments (heartbeats) are not in the log: readers that have all events get them as they come. An
 * answer that is not streamed is a log of one piece, its document.
 *
 * An answer that nothing reads for KL_LIVE_ALONE_NS is stopped while it runs, forgotten once it has
 * ended. live_list.h says what memory it may take.
 *
 * Owner: the service. Thread rule: everything runs on the loop's thread.
 */
#ifndef KL_SERVICE_LIVE_ANSWER_H
#define KL_SERVICE_LIVE_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/live_list.h"

#define KL_LIVE_ALONE_NS ((uint64_t)120 * 1000000000u)
/* The most memory for the events of one answer. It ends with an error beyond that, which may take
 * the reserve. */
#define KL_LIVE_BYTES   ((size_t)256 << 10)
#define KL_LIVE_RESERVE ((size_t)32 << 10)

/* Reads X-Answer-Id into id, in lower case; id is empty if the request has none. Refused with
 * *error: it is not a UUID. */
enum kl_status kl_live_read_id(const struct kl_exchange *x, char id[KL_LIVE_ID_SIZE],
                               struct kl_api_error *error);

/* Begins the answer to a request, whose client becomes its first reader. Refused with *error: the
 * ID is in use, or there is no room. */
enum kl_status kl_live_begin(struct kl_live_answers *all, struct kl_exchange *x, const char *id,
                             void *work, struct kl_live_answer **live, struct kl_api_error *error);

/* Counts bytes that its owner keeps of the request; 0 when they are released. The connection of its
 * client holds them; when that ends, they take room of the answers, or the answer is stopped. */
void kl_live_hold(struct kl_live_answer *live, size_t bytes);

/* Makes an exchange a reader, from event `from` on: it gets the answer, now and later. Refused with
 * *error. */
enum kl_status kl_live_read(struct kl_live_answer *live, struct kl_exchange *x, uint64_t from,
                            struct kl_api_error *error);

/* Not KL_OK: it cannot be kept any more, for the reason in *error. */
enum kl_status kl_live_check(const struct kl_live_answer *live, struct kl_api_error *error);

/* Lets its owner write an error as the end of the answer, within the reserve. */
void kl_live_begin_error(struct kl_live_answer *live);

/* Its owner has ended and writes nothing more. If the answer is not complete, its readers are cut
 * off. It may be invalid afterwards. */
void kl_live_leave(struct kl_live_answer *live);

/* Stops it, if it runs, with this error, and forgets it. It may be invalid afterwards. */
void kl_live_delete(struct kl_live_answer *live, const struct kl_api_error *error);

/* Stops and forgets answers that have been without a reader for too long. Returns the time until
 * the next may be due; 0: there is none. */
uint64_t kl_live_answers_expire(struct kl_live_answers *all, uint64_t now_ns);

/* Frees all, when their owners are gone and the server closes: readers are not served any more. */
void kl_live_answers_free(struct kl_live_answers *all);

#endif
