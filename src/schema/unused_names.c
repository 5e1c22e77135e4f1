/*
 * Answers: names that are not used up.
 *
 * An object has each name once. Where names are limited, by a pattern or a longest length, all that
 * begin in one way may be there already, and a name that began like this could not end. So a byte
 * of such a name may only come if an unused name is left behind it.
 */
#include "base/hash.h"
#include "schema/string_atoms.h"

/* The work of a step of a search (KL_REGEX_MASK_WORK): it tries 256 bytes. */
enum { STEP_WORK = 50 };

static bool contains(const struct kl_hash_index *index, uint64_t hash)
{
    size_t at = 0;
    uint32_t value;
    return kl_hash_index_next(index, hash, &at, &value);
}

static bool add(struct kl_schema_machine *m, struct kl_hash_index *index, uint64_t hash)
{
    return contains(index, hash) || kl_hash_index_add(index, hash, 0, &m->base.failure) == KL_OK;
}

static uint64_t hash_at(const uint32_t *entry)
{
    return entry[1] | (uint64_t)entry[2] << 32;
}

static bool add_named(struct kl_schema_machine *m, const struct kl_schema_text *name)
{
    uint64_t hash = 0;
    bool ok = true;
    for (uint32_t i = 0; i < name->len && ok; i++) {
        hash = kl_string_hash_add(hash, (uint8_t)name->bytes[i]);
        ok = add(m, &m->gate.begun, hash);
    }
    return ok && add(m, &m->gate.used, hash);
}

bool kl_names_collect(struct kl_schema_machine *m, uint32_t frame)
{
    const struct kl_plan *plan = kl_frame_plan(m, frame);
    size_t n;
    kl_hash_index_release(&m->gate.used);
    kl_hash_index_release(&m->gate.begun);
    bool ok = add(m, &m->gate.begun, 0);
    for (size_t i = 0; i < plan->key_set.n && ok; i++)
        ok = add_named(m, &plan->key_set.sorted[i]);
    for (uint32_t list = kl_frame(m, frame)[F_SEEN]; list != 0 && ok;) {
        const uint32_t *entry = kl_word_store_get(&m->store, list, &n);
        list = entry[0];
        ok = add(m, &m->gate.used, hash_at(entry));
        for (uint32_t begun = entry[3]; begun != 0 && ok; begun = entry[0]) {
            entry = kl_word_store_get(&m->store, begun, &n);
            ok = add(m, &m->gate.begun, hash_at(entry));
        }
    }
    return ok;
}

bool kl_name_is_doubtful(const struct kl_schema_machine *m, const struct kl_rule_state *s)
{
    return kl_frame_plan(m, s->words[S_FRAME])->names_run_out && s->words[S_LINK] != KL_NO_LIST &&
           m->gate.used.n != 0 && contains(&m->gate.begun, kl_string_hash(s));
}

/* Looks for a text that is not used. It is there, or there are few texts: this ends soon.
 * Recursion: KL_REGEX_MAX_COUNTED, behind which kl_regex_count finds many. */
static bool search(struct kl_schema_machine *m, uint32_t regex, uint32_t state, uint64_t hash)
{
    struct kl_regex_run *run = m->runs[regex];
    enum kl_status status = KL_OK;
    uint32_t n = kl_regex_count(&m->counts[regex], run, state, &status);
    if (status != KL_OK || m->work_left < STEP_WORK) {
        kl_fail(&m->base.failure, status != KL_OK ? status : KL_ERR_LIMIT,
                "to find names of an object that are not used yet takes too long");
        return false;
    }
    if (n > m->gate.used.n)
        return true;
    bool ends = kl_regex_run_accepts(run, state);
    if (ends && !contains(&m->gate.used, hash))
        return true;
    m->work_left -= STEP_WORK;
    for (int byte = 0; byte < 256 && n > ends; byte++) {
        uint32_t next = kl_regex_run_step(run, state, (uint8_t)byte);
        if (next != KL_REGEX_DEAD &&
            search(m, regex, next, kl_string_hash_add(hash, (uint8_t)byte)))
            return true;
    }
    return false;
}

bool kl_pattern_has_unused(struct kl_schema_machine *m, uint32_t regex, uint32_t state,
                           uint64_t hash)
{
    return state != KL_REGEX_DEAD && search(m, regex, state, hash);
}

bool kl_longest_is_unused(struct kl_schema_machine *m, const struct kl_rule_state *s)
{
    struct kl_rule_state to;
    bool lives = false;
    if (kl_string_phase(s) == KL_PHASE_STRING)
        return !contains(&m->gate.used, kl_string_hash(s));
    size_t mark = kl_word_store_mark(&m->store);
    for (int byte = 0x80; byte < 0xC0 && !lives; byte++)
        lives = m->base.kind->step(&m->base, s, (uint8_t)byte, &to);
    kl_word_store_release(&m->store, mark);
    return lives;
}
