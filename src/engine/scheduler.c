#include "engine/scheduler.h"

#include <assert.h>

size_t kl_schedule_place(const struct kl_place *places, size_t n_places, size_t pages,
                         size_t max_pages)
{
    size_t found = n_places, promised = 0;
    for (size_t i = 0; i < n_places; i++) {
        if (places[i].state != KL_PLACE_FREE)
            promised += places[i].pages;
        else if (found == n_places)
            found = i;
    }
    return promised + pages <= max_pages ? found : n_places;
}

/* Collects the places that read their prompt, the first admitted first. */
static size_t collect_prefill(struct kl_place *places, size_t n_places, struct kl_place **out)
{
    size_t n = 0;
    for (size_t i = 0; i < n_places; i++) {
        struct kl_place *place = &places[i];
        if (place->state != KL_PLACE_PREFILL || place->paused)
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

size_t kl_schedule_rows(struct kl_place *places, size_t n_places, size_t prefill_chunk)
{
    assert(n_places <= KL_MAX_PARALLEL && prefill_chunk > 0);
    size_t total = 0;
    for (size_t i = 0; i < n_places; i++) {
        places[i].rows = places[i].state == KL_PLACE_DECODE && !places[i].paused ? 1 : 0;
        total += places[i].rows;
    }
    struct kl_place *prefill[KL_MAX_PARALLEL];
    size_t n_prefill = collect_prefill(places, n_places, prefill);
    return total + share_prefill(prefill, n_prefill, prefill_chunk);
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
