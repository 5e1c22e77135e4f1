#include "engine/scheduler.h"

#include <assert.h>
#include <limits.h>

static bool in_use(const struct kl_place *place)
{
    return place->state != KL_PLACE_FREE;
}

/* The one that gives its place up first. */
static size_t find_yielding(const struct kl_place *places, size_t n_places)
{
    size_t found = n_places;
    for (size_t i = 0; i < n_places; i++) {
        if (!in_use(&places[i]))
            continue;
        if (found == n_places || places[i].level > places[found].level ||
            (places[i].level == places[found].level && places[i].order > places[found].order))
            found = i;
    }
    return found;
}

enum kl_admission kl_schedule_admission(const struct kl_place *places, size_t n_places,
                                        unsigned level, size_t pages, size_t max_pages,
                                        size_t *place)
{
    size_t free_place = n_places, promised = 0, n_staying = 0, staying = 0;
    for (size_t i = 0; i < n_places; i++) {
        if (!in_use(&places[i])) {
            if (free_place == n_places)
                free_place = i;
            continue;
        }
        if (places[i].level < level && !places[i].paused)
            return KL_ADMIT_WAIT;
        promised += places[i].pages;
        if (places[i].level <= level) {
            staying += places[i].pages;
            n_staying++;
        }
    }
    if (n_staying == n_places || staying + pages > max_pages)
        return KL_ADMIT_WAIT;
    bool begins = free_place != n_places && promised + pages <= max_pages;
    *place = begins ? free_place : find_yielding(places, n_places);
    return begins ? KL_ADMIT_BEGIN : KL_ADMIT_GIVE_UP;
}

size_t kl_schedule_shared_chunk(double row_seconds, size_t prefill_chunk)
{
    double rows = row_seconds > 0.0 ? KL_SHARED_STEP_SECONDS / row_seconds : 4.0 * KL_ROW_TILE;
    if (rows >= (double)prefill_chunk)
        return prefill_chunk;
    size_t tiles = (size_t)rows / KL_ROW_TILE;
    size_t chunk = (tiles > 0 ? tiles : 1) * KL_ROW_TILE;
    return chunk < prefill_chunk ? chunk : prefill_chunk;
}

/* The level that gets the next step. */
static unsigned lowest_level(const struct kl_place *places, size_t n_places)
{
    unsigned level = UINT_MAX;
    for (size_t i = 0; i < n_places; i++) {
        if (in_use(&places[i]) && !places[i].paused && places[i].level < level)
            level = places[i].level;
    }
    return level;
}

static bool goes_on(const struct kl_place *place, unsigned level)
{
    return in_use(place) && !place->paused && place->level == level;
}

/* Collects the places that read their prompt, the first admitted first. */
static size_t collect_prefill(struct kl_place *places, size_t n_places, unsigned level,
                              struct kl_place **out)
{
    size_t n = 0;
    for (size_t i = 0; i < n_places; i++) {
        struct kl_place *place = &places[i];
        if (place->state != KL_PLACE_PREFILL || !goes_on(place, level))
            continue;
        size_t at = n++;
        for (; at > 0 && out[at - 1]->order > place->order; at--)
            out[at] = out[at - 1];
        out[at] = place;
    }
    return n;
}

/* Even shares; what a short prompt leaves of its share goes round again. */
static size_t share_prefill(struct kl_place **prefill, size_t n, size_t budget)
{
    size_t given = 0, hungry = n;
    while (hungry > 0 && given < budget) {
        size_t share = (budget - given) / hungry;
        if (share == 0)
            share = 1;
        hungry = 0;
        for (size_t i = 0; i < n && given < budget; i++) {
            size_t wanted = prefill[i]->remaining - prefill[i]->rows;
            size_t rows = wanted < share ? wanted : share;
            if (rows > budget - given)
                rows = budget - given;
            prefill[i]->rows += rows;
            given += rows;
            if (rows < wanted)
                hungry++;
        }
    }
    return given;
}

size_t kl_schedule_rows(struct kl_place *places, size_t n_places, size_t prefill_chunk,
                        size_t shared_chunk)
{
    assert(n_places <= KL_MAX_PARALLEL && prefill_chunk > 0 && shared_chunk > 0);
    unsigned level = lowest_level(places, n_places);
    size_t n_decode = 0;
    for (size_t i = 0; i < n_places; i++) {
        bool decodes = places[i].state == KL_PLACE_DECODE && goes_on(&places[i], level);
        places[i].rows = decodes ? 1 : 0;
        n_decode += places[i].rows;
    }
    struct kl_place *prefill[KL_MAX_PARALLEL];
    size_t n_prefill = collect_prefill(places, n_places, level, prefill);
    return n_decode +
           share_prefill(prefill, n_prefill, n_decode > 0 ? shared_chunk : prefill_chunk);
}

void kl_schedule_waits(double *running, size_t n_running, size_t n_places, double *waiting,
                       size_t n_waiting)
{
    double now = 0.0;
    for (size_t i = 0; i < n_waiting; i++) {
        if (n_running == n_places) {
            size_t first = 0;
            for (size_t j = 1; j < n_running; j++) {
                if (running[j] < running[first])
                    first = j;
            }
            double done = running[first];
            now += done * (double)n_running;
            running[first] = running[--n_running];
            for (size_t j = 0; j < n_running; j++)
                running[j] -= done;
        }
        running[n_running++] = waiting[i];
        waiting[i] = now;
    }
}
