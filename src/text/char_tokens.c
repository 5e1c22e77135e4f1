#include "text/char_tokens.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

/* The lowest ranks of the merges in which a token is the left half, by the class of the byte that
 * the right half begins with; and in which it is the right half, by what the left half ends with:
 * ASCII, or the last byte of a longer character. */
struct neighbours {
    uint32_t right[KL_LEAD_CLASSES];
    uint32_t left[2];
};

static void note_lowest(uint32_t *lowest, uint32_t rank)
{
    if (rank < *lowest)
        *lowest = rank;
}

static void collect(struct neighbours *all, const struct kl_merges *merges,
                    const struct kl_vocab *v)
{
    memset(all, 0xFF, v->n * sizeof *all); /* KL_MERGE_NO_RANK */
    for (uint64_t i = 0; i <= merges->mask; i++) {
        struct kl_merge m;
        if (!kl_merges_at(merges, i, &m))
            continue;
        size_t len;
        const char *left = kl_vocab_bytes(v, m.left, &len);
        unsigned char last = (unsigned char)left[len - 1];
        unsigned char first = (unsigned char)*kl_vocab_bytes(v, m.right, &len);
        if ((first & 0xC0) != 0x80)
            note_lowest(&all[m.left].right[kl_lead_class(first)], m.rank);
        if (last < 0xC0)
            note_lowest(&all[m.right].left[last >= 0x80], m.rank);
    }
}

/* Merges the bytes of one character, alone. Of every token that stands at its end on the way, whole
 * or in part, no merge with what comes next may have a rank up to the highest that is needed here;
 * and the same for its beginning and what stands before. Then
 *   - each merge inside is done as it would be alone: it is there from the moment its halves are,
 *     and a merge that takes one of them away ranks behind it;
 *   - nothing outside notices: merges with the whole character rank behind all those inside, so
 * they would have waited for it anyway. */
static uint32_t entry_of(const struct neighbours *all, const struct kl_merges *merges,
                         const char *bytes, size_t n)
{
    int32_t ids[4];
    int32_t begins[4], ends[4];
    size_t n_steps = 0;
    uint32_t highest = 0;
    for (size_t i = 0; i < n; i++) {
        ids[i] = merges->byte_ids[(unsigned char)bytes[i]];
        if (ids[i] < 0)
            return 0;
    }
    while (true) {
        begins[n_steps] = ids[0];
        ends[n_steps++] = ids[n - 1];
        if (n == 1)
            break;
        uint32_t best = KL_MERGE_NO_RANK;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            uint32_t rank = kl_merges_rank(merges, ids[i], ids[i + 1]);
            if (rank < best) {
                best = rank;
                at = i;
            }
        }
        if (best == KL_MERGE_NO_RANK)
            return 0;
        highest = best > highest ? best : highest;
        ids[at] = merges->results[best];
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof *ids);
        n--;
    }

    uint32_t harmless = (1u << KL_LEAD_CLASSES) - 1;
    bool after[2] = {true, true};
    for (size_t i = 0; i < n_steps; i++) {
        for (unsigned k = 0; k < KL_LEAD_CLASSES; k++) {
            if (all[ends[i]].right[k] <= highest)
                harmless &= ~(1u << k);
        }
        for (unsigned k = 0; k < 2; k++)
            after[k] = after[k] && all[begins[i]].left[k] > highest;
    }
    return (uint32_t)ids[0] | harmless << KL_CHAR_ID_BITS | (after[0] ? KL_CHAR_AFTER_ASCII : 0) |
           (after[1] ? KL_CHAR_AFTER_OTHER : 0);
}

enum kl_status kl_char_tokens_make(uint32_t *entries, const struct kl_merges *merges,
                                   const struct kl_vocab *v, struct kl_error *err)
{
    struct neighbours *all = malloc(v->n * sizeof *all);
    if (all == NULL)
        return kl_fail_memory(err, "the table of characters", v->n * sizeof *all);
    collect(all, merges, v);
    memset(entries, 0, KL_CHAR_TOKENS * sizeof *entries);
    for (uint32_t c = 0x80; c < KL_CHAR_TOKENS; c++) {
        char bytes[4];
        if (c >= 0xD800 && c < 0xE000) /* surrogates: not in UTF-8 */
            continue;
        entries[c] = entry_of(all, merges, bytes, kl_utf8_encode(c, bytes));
    }
    free(all);
    return KL_OK;
}
