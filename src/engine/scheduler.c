#include "engine/scheduler.h"

#include <assert.h>
#include <limits.h>

static bool in_use(const struct kl_slot *slot)
{
    return slot->state != KL_SLOT_FREE;
}

/* Returns the slot to preempt first: the last started of the highest level. */
static size_t find_victim(const struct kl_slot *slots, size_t n_slots)
{
    size_t found = n_slots;
    for (size_t i = 0; i < n_slots; i++) {
        if (!in_use(&slots[i]))
            continue;
        if (found == n_slots || slots[i].level > slots[found].level ||
            (slots[i].level == slots[found].level && slots[i].order > slots[found].order))
            found = i;
    }
    return found;
}

enum kl_start kl_schedule_start(const struct kl_slot *slots, size_t n_slots, unsigned level,
                                size_t pages, size_t max_pages, size_t *slot)
{
    size_t free_slot = n_slots, promised = 0, n_staying = 0, staying = 0;
    for (size_t i = 0; i < n_slots; i++) {
        if (!in_use(&slots[i])) {
            if (free_slot == n_slots)
                free_slot = i;
            continue;
        }
        if (slots[i].level < level && !slots[i].paused)
            return KL_START_WAIT;
        promised += slots[i].pages;
        if (slots[i].level <= level) {
            staying += slots[i].pages;
            n_staying++;
        }
    }
    if (n_staying == n_slots || staying + pages > max_pages)
        return KL_START_WAIT;
    bool starts = free_slot != n_slots && promised + pages <= max_pages;
    *slot = starts ? free_slot : find_victim(slots, n_slots);
    return starts ? KL_START_NOW : KL_START_PREEMPT;
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

/* Returns the level of the next step. */
static unsigned lowest_level(const struct kl_slot *slots, size_t n_slots)
{
    unsigned level = UINT_MAX;
    for (size_t i = 0; i < n_slots; i++) {
        if (in_use(&slots[i]) && !slots[i].paused && slots[i].level < level)
            level = slots[i].level;
    }
    return level;
}

static bool can_run(const struct kl_slot *slot, unsigned level)
{
    return in_use(slot) && !slot->paused && slot->level == level;
}

/* Collects the slots with more tokens that are known, the first started first. */
static size_t collect_prefill(struct kl_slot *slots, size_t n_slots, unsigned level,
                              struct kl_slot **out)
{
    size_t n = 0;
    for (size_t i = 0; i < n_slots; i++) {
        struct kl_slot *slot = &slots[i];
        if (!can_run(slot, level) || slot->remaining <= slot->rows)
            continue;
        size_t at = n++;
        for (; at > 0 && out[at - 1]->order > slot->order; at--)
            out[at] = out[at - 1];
        out[at] = slot;
    }
    return n;
}

/* Gives even shares; rows that a short prompt does not need are shared again. */
static size_t share_prefill(struct kl_slot **prefill, size_t n, size_t budget)
{
    size_t given = 0, unfinished = n;
    while (unfinished > 0 && given < budget) {
        size_t share = (budget - given) / unfinished;
        if (share == 0)
            share = 1;
        unfinished = 0;
        for (size_t i = 0; i < n && given < budget; i++) {
            size_t wanted = prefill[i]->remaining - prefill[i]->rows;
            size_t rows = wanted < share ? wanted : share;
            if (rows > budget - given)
                rows = budget - given;
            prefill[i]->rows += rows;
            given += rows;
            if (rows < wanted)
                unfinished++;
        }
    }
    return given;
}

size_t kl_schedule_rows(struct kl_slot *slots, size_t n_slots, size_t prefill_chunk,
                        size_t shared_chunk)
{
    assert(n_slots <= KL_MAX_PARALLEL && prefill_chunk > 0 && shared_chunk > 0);
    unsigned level = lowest_level(slots, n_slots);
    size_t n_decode = 0;
    for (size_t i = 0; i < n_slots; i++) {
        bool decodes = slots[i].state == KL_SLOT_DECODE && can_run(&slots[i], level);
        slots[i].rows = decodes ? 1 : 0;
        n_decode += slots[i].rows;
    }
    struct kl_slot *prefill[KL_MAX_PARALLEL];
    size_t n_prefill = collect_prefill(slots, n_slots, level, prefill);
    return n_decode +
           share_prefill(prefill, n_prefill, n_decode > 0 ? shared_chunk : prefill_chunk);
}

void kl_schedule_waits(double *running, size_t n_running, size_t n_slots, double *waiting,
                       size_t n_waiting)
{
    double now = 0.0;
    for (size_t i = 0; i < n_waiting; i++) {
        if (n_running == n_slots) {
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
