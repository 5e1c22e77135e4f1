/* Whether a model fits: into the memory that serve may take, and onto the disk. */
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/memory.h"
#include "console/terminal.h"
#include "doctor/doctor.h"

#define MIB      ((uint64_t)1 << 20)
#define SHORTEST 512 /* tokens of a context that is still proposed */

/* ---- memory ---------------------------------------------------------------------------------- */

/* One way to start serve. */
struct way {
    size_t ctx_size, parallel;
    bool int8;       /* --kv-type int8 */
    uint64_t budget; /* of the plan; 0: none */
};

struct fit {
    const struct kl_load_options *options;
    const struct kl_doctor_serving *serving;
    const struct kl_loaded *loaded;
    uint64_t
        room; /* that may be taken: the budget, or the memory that is available; 0: not known */
};

/* Plans a way with a model that was opened for its type of KV cache. */
static bool fits(const struct fit *f, const struct kl_loaded *l, const struct way *way,
                 struct kl_plan *plan, struct kl_error *err)
{
    *plan = l->plan;
    plan->budget = way->budget;
    return f->serving->plan(l, way->ctx_size, way->parallel, plan, err) == KL_OK &&
           (way->budget != 0 || f->room == 0 || kl_plan_total(plan) <= f->room);
}

static size_t conversations(const struct kl_plan *plan, const struct way *way)
{
    size_t n = plan->kv_tokens / way->ctx_size;
    return n < way->parallel ? n : way->parallel;
}

/* The longest context that fits for one conversation at a time: doublings of `way`'s. */
static size_t find_longest(const struct fit *f, struct way way)
{
    size_t most = kl_model_config(f->loaded->model)->n_ctx_train, longest = way.ctx_size;
    struct kl_plan plan;
    most = most < KL_MAX_CTX_SIZE ? most : KL_MAX_CTX_SIZE;
    way.parallel = 1;
    while (way.ctx_size < most) {
        way.ctx_size = 2 * way.ctx_size < most ? 2 * way.ctx_size : most;
        if (!fits(f, f->loaded, &way, &plan, NULL))
            break;
        longest = way.ctx_size;
    }
    return longest;
}

/* "the 512.0 MB that --memory allows" */
static const char *describe_room(const struct fit *f, const struct kl_plan *plan, char out[80])
{
    char room[32];
    snprintf(out, 80, "the %s that %s", kl_format_bytes((double)f->room, room, sizeof room),
             plan->budget == 0 ? "are available"
             : plan->of_group  ? "the control group may have"
                               : "--memory allows");
    return out;
}

static void say_fits(struct kl_findings *findings, const struct fit *f, const struct way *way,
                     const struct kl_plan *plan)
{
    char taken[32], room[80], longer[80] = "", at_a_time[80];
    size_t longest = find_longest(f, *way), n = conversations(plan, way);
    if (longest > way->ctx_size)
        snprintf(longer, sizeof longer, ", or one of %zu (--ctx-size %zu --parallel 1)", longest,
                 longest);
    if (n < way->parallel)
        snprintf(at_a_time, sizeof at_a_time, "%zu of %zu conversations", n, way->parallel);
    else
        snprintf(at_a_time, sizeof at_a_time, "%zu conversation%s", n, n == 1 ? "" : "s");
    kl_found(findings, KL_GOOD, "memory",
             "serve takes at most %s of %s: for %s of %zu tokens at a time%s",
             kl_format_bytes((double)kl_plan_total(plan), taken, sizeof taken),
             describe_room(f, plan, room), at_a_time, way->ctx_size, longer);
}

/* Finds a smaller way that fits: less at a time, then a smaller KV cache, then shorter contexts. */
static bool find_smaller(const struct fit *f, struct way *way, struct kl_plan *plan)
{
    struct kl_loaded small;
    struct kl_load_options options = *f->options;
    options.kv_type = "int8";
    way->parallel = 1;
    if (fits(f, f->loaded, way, plan, NULL))
        return true;
    if (kl_load(&small, &options, KL_LOAD_AHEAD, NULL) != KL_OK)
        return false;
    way->int8 = true;
    bool found = fits(f, &small, way, plan, NULL);
    while (!found && way->ctx_size >= 2 * SHORTEST) {
        way->ctx_size /= 2;
        found = fits(f, &small, way, plan, NULL);
    }
    kl_unload(&small);
    return found;
}

static void say_smaller(struct kl_finding *found, const struct fit *f, const struct way *way,
                        bool of_option)
{
    char memory[40] = "";
    if (!of_option)
        snprintf(memory, sizeof memory, " --memory %lluM", (unsigned long long)(way->budget / MIB));
    kl_found_remedy(found, "kinglet serve --model %s%s --ctx-size %zu --parallel %zu%s",
                    f->options->model != NULL ? f->options->model : f->loaded->location.name,
                    memory, way->ctx_size, way->parallel, way->int8 ? " --kv-type int8" : "");
}

static void say_too_large(struct kl_findings *findings, const struct fit *f, struct way way,
                          const struct kl_plan *asked)
{
    char taken[32], room[80];
    struct kl_plan plan;
    bool limited = asked->budget != 0;
    struct kl_finding *found =
        kl_found(findings, KL_WARNING, "memory",
                 "serve needs %s for %s of %zu tokens, which is more than %s",
                 kl_format_bytes((double)kl_plan_total(asked), taken, sizeof taken),
                 limited ? "a conversation" : "its conversations", way.ctx_size,
                 describe_room(f, asked, room));
    kl_found_cost(found, "%s",
                  limited ? "it does not start"
                          : "it reads weights from the disk again and again, or is "
                            "killed by the system");
    if (!limited) /* a tenth for what other programs do */
        way.budget = f->room - f->room / 10;
    if (find_smaller(f, &way, &plan)) {
        say_smaller(found, f, &way, limited);
        return;
    }
    found->severity = KL_BROKEN;
    kl_format_bytes((double)kl_plan_total(&plan), taken, sizeof taken);
    kl_found_cost(found,
                  "it does not run here: %s are needed even for one conversation of %zu "
                  "tokens",
                  taken, way.ctx_size);
    kl_found_remedy(found,
                    "take a smaller file of this model or a smaller model ('kinglet pull "
                    "--list'), or %s",
                    limited ? "raise the limit" : "end other programs");
}

bool kl_doctor_fit(struct kl_findings *findings, const struct kl_load_options *options,
                   const struct kl_doctor_serving *serving, const struct kl_loaded *loaded)
{
    struct kl_memory memory;
    struct kl_plan plan;
    kl_memory_read("", &memory);
    const struct way way = {
        .ctx_size = loaded->ctx_size, .parallel = serving->parallel, .budget = loaded->plan.budget};
    const struct fit f = {options, serving, loaded,
                          way.budget != 0 ? way.budget : kl_memory_room(&memory)};
    if (!fits(&f, loaded, &way, &plan, NULL)) {
        say_too_large(findings, &f, way, &plan);
        return false;
    }
    say_fits(findings, &f, &way, &plan);
    if (way.budget != 0 && memory.available != 0 && memory.available < kl_plan_total(&plan)) {
        char room[32];
        struct kl_finding *found =
            kl_found(findings, KL_WARNING, "memory", "only %s of it are available now",
                     kl_format_bytes((double)memory.available, room, sizeof room));
        kl_found_cost(found, "when it needs more, it is slow, or killed by the system");
        kl_found_remedy(found, "end other programs, or lower --memory");
    }
    return true;
}

/* ---- disk ------------------------------------------------------------------------------------ */

/* The bytes that are free for users where a directory is, or will be; false: not known. */
static bool free_bytes(const char *dir, uint64_t *bytes)
{
    char path[PATH_MAX];
    struct statvfs st;
    snprintf(path, sizeof path, "%s", dir);
    while (statvfs(path, &st) != 0) {
        char *slash = strrchr(path, '/');
        if (slash == NULL || slash == path)
            return false;
        *slash = '\0';
    }
    *bytes = (uint64_t)st.f_bavail * st.f_frsize;
    return true;
}

void kl_doctor_room_on_disk(struct kl_findings *findings, const struct kl_loaded *l)
{
    uint64_t bytes = kl_model_weight_bytes(l->model), left;
    char packed[32], room[32], whole[32];
    kl_format_bytes((double)bytes, packed, sizeof packed);
    if (kl_model_packed_path(l->model) != NULL) {
        kl_found(findings, KL_GOOD, "disk", "the packed weights are there: %s in %s", packed,
                 l->packed_dir);
        return;
    }
    if (l->packed_dir[0] == '\0' || !free_bytes(l->packed_dir, &left))
        return;
    kl_format_bytes((double)left, room, sizeof room);
    bool enough = left > bytes;
    struct kl_finding *found =
        kl_found(findings, enough ? KL_GOOD : KL_WARNING, "disk",
                 "the first start packs the weights into a file of %s in %s, where %s are free; "
                 "with the model file %s in all",
                 packed, l->packed_dir, room,
                 kl_format_bytes((double)(bytes + l->file_bytes), whole, sizeof whole));
    if (!enough) {
        kl_found_cost(found, "weights are packed into memory at each start, unless removing packed "
                             "weights of other models makes room");
        kl_found_remedy(found, "make room ('kinglet cache' lists what is kept), or set "
                               "XDG_CACHE_HOME to a larger disk");
    }
}
