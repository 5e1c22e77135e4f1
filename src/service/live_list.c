#include "service/live_list.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Of an error event, or two that belong together; nearly all are shorter than half of this. */
#define ERROR_BYTES ((size_t)2 << 10)

/* ---- the list of answers --------------------------------------------------------------------- */

/* Whether two answers share an account: that of a key or, without one, of an address. */
static bool has_same_owner(const struct kl_live_answer *a, const struct kl_live_answer *b)
{
    return a->scope == b->scope &&
           (a->scope != 0 || memcmp(&a->address, &b->address, sizeof a->address) == 0);
}

static void unlink_answer(struct kl_live_answer *live)
{
    struct kl_live_answers *all = live->all;
    *(live->older != NULL ? &live->older->newer : &all->oldest) = live->newer;
    *(live->newer != NULL ? &live->newer->older : &all->newest) = live->older;
    all->n--;
}

void kl_live_link(struct kl_live_answer *live)
{
    struct kl_live_answers *all = live->all;
    live->older = all->newest;
    *(live->older != NULL ? &live->older->newer : &all->oldest) = live;
    all->newest = live;
    all->n++;
}

void kl_live_free(struct kl_live_answer *live)
{
    assert(live->work == NULL && live->readers == NULL);
    unlink_answer(live);
    live->all->bytes -= live->bytes;
    kl_answer_store_return(live->all->store, live->bytes);
    kl_event_log_release(&live->log);
    kl_exchange_release_detached(&live->exchange);
    free(live);
}

void kl_live_free_if_unused(struct kl_live_answer *live)
{
    if (live->is_forgotten && live->work == NULL && live->readers == NULL)
        kl_live_free(live);
}

struct kl_live_answer *kl_live_find(const struct kl_live_answers *all, uint64_t scope,
                                    const char *id)
{
    struct kl_live_answer *live = all->newest;
    while (live != NULL &&
           (live->is_forgotten || live->scope != scope || strcasecmp(live->id, id) != 0))
        live = live->older;
    return live;
}

bool kl_live_is_one_too_many(const struct kl_live_answer *live)
{
    size_t n = 0;
    for (const struct kl_live_answer *one = live->all->oldest; one != NULL; one = one->newer)
        n += one->work != NULL && has_same_owner(one, live);
    return live->all->most_running != 0 && n > live->all->most_running;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static size_t bytes_of_owner(const struct kl_live_answer *like)
{
    size_t bytes = 0;
    for (const struct kl_live_answer *live = like->all->oldest; live != NULL; live = live->newer)
        bytes += has_same_owner(live, like) ? live->bytes : 0;
    return bytes;
}

/* Forgets the oldest answer that has ended and that nothing reads, of the owner of `like`; NULL: of
 * the owner that takes most, so that one client does not push out the answers of all others. */
static bool forget_one(struct kl_live_answers *all, const struct kl_live_answer *like)
{
    struct kl_live_answer *found = NULL;
    size_t most = 0;
    for (struct kl_live_answer *live = all->oldest; live != NULL; live = live->newer) {
        if (live->work != NULL || live->readers != NULL ||
            (like != NULL && !has_same_owner(live, like)) ||
            (found != NULL && has_same_owner(live, found)))
            continue;
        size_t bytes = bytes_of_owner(live);
        if (bytes > most)
            found = live;
        most = bytes > most ? bytes : most;
    }
    if (found != NULL)
        kl_live_free(found);
    return found != NULL;
}

/* Counts more bytes for an answer; false: there is no room. */
static bool take(struct kl_live_answer *live, size_t bytes)
{
    struct kl_live_answers *all = live->all;
    size_t share = kl_answer_store_most_bytes(all->store);
    struct kl_error err;
    for (;;) {
        bool is_over = bytes_of_owner(live) + bytes > share;
        if (!is_over && all->n <= KL_LIVE_ANSWERS && all->bytes + bytes <= 2 * share &&
            kl_answer_store_take(all->store, bytes, &err) == KL_OK)
            break;
        if (!forget_one(all, is_over ? live : NULL))
            return false;
    }
    live->bytes += bytes;
    all->bytes += bytes;
    return true;
}

/* Paid in advance: the first chunk of a log, and an error as its end. */
bool kl_live_count(struct kl_live_answer *live, size_t log_bytes)
{
    size_t least = log_bytes > KL_EVENT_CHUNK_BYTES ? log_bytes : KL_EVENT_CHUNK_BYTES;
    size_t bytes = sizeof *live + least + (live->client == NULL ? live->n_held : 0) +
                   (live->in_reserve || live->has_ended ? 0 : ERROR_BYTES);
    if (bytes > live->bytes)
        return take(live, bytes - live->bytes);
    live->all->bytes -= live->bytes - bytes;
    kl_answer_store_return(live->all->store, live->bytes - bytes);
    live->bytes = bytes;
    return true;
}

size_t kl_live_answers_count(const struct kl_live_answers *all, size_t *n_ended)
{
    size_t n_running = 0;
    for (const struct kl_live_answer *live = all->oldest; live != NULL; live = live->newer)
        n_running += live->work != NULL;
    *n_ended = all->n - n_running;
    return n_running;
}
