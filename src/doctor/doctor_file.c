/* A model file before it is used: what it is, whether it is whole, and whether kinglet runs it. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "console/terminal.h"
#include "doctor/doctor.h"
#include "format/gguf_survey.h"

#define AREA "file"

/* ---- its bytes ------------------------------------------------------------------------------- */

static bool read_digest(const char *path, char hex[65])
{
    struct kl_sha256 hash;
    static char buffer[1 << 20];
    ssize_t n = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    kl_sha256_init(&hash);
    while (fd >= 0 && (n = read(fd, buffer, sizeof buffer)) > 0)
        kl_sha256_update(&hash, buffer, (size_t)n);
    if (fd >= 0)
        close(fd);
    kl_sha256_finish_hex(&hash, hex);
    return n == 0;
}

/* Whether any model of the catalogue has this size. */
static bool has_known_size(uint64_t bytes)
{
    const struct kl_model_entry *entry;
    for (size_t i = 0; (entry = kl_catalogue_at(i)) != NULL; i++)
        if (entry->bytes == bytes)
            return true;
    return false;
}

/* Finds the model of the catalogue with these bytes, whatever the name of the file; NULL: none.
 * The file is read only if its size is that of one. */
static const struct kl_model_entry *check_digest(struct kl_findings *findings,
                                                 const struct kl_model_location *where)
{
    char hex[65];
    const struct kl_model_entry *entry;
    struct stat st;
    if (where->entry == NULL && stat(where->path, &st) == 0 &&
        !has_known_size((uint64_t)st.st_size)) {
        kl_found(findings, KL_NOTE, AREA,
                 "%s is not in the catalogue, so no SHA-256 is known to compare its bytes with",
                 where->name);
        return NULL;
    }
    if (!read_digest(where->path, hex)) {
        kl_found(findings, KL_BROKEN, AREA, "%s cannot be read to its end", where->path);
        return NULL;
    }
    for (size_t i = 0; (entry = kl_catalogue_at(i)) != NULL; i++) {
        if (strcmp(hex, entry->sha256) != 0)
            continue;
        kl_found(findings, KL_GOOD, AREA, "%s: has the published bytes (SHA-256)", entry->name);
        return entry;
    }
    if (where->entry == NULL) {
        kl_found(findings, KL_NOTE, AREA,
                 "%s: its SHA-256 (%.16s...) is not in the catalogue, so its bytes cannot be "
                 "verified",
                 where->name, hex);
        return NULL;
    }
    struct kl_finding *found =
        kl_found(findings, KL_BROKEN, AREA, "%s has SHA-256 %s instead of %s", where->path, hex,
                 where->entry->sha256);
    kl_found_cost(found, "answers may be nonsense");
    kl_found_remedy(found, "rm '%s' and kinglet pull %s", where->path, where->name);
    return NULL;
}

/* ---- number types ---------------------------------------------------------------------------- */

static void list_types(const struct kl_gguf_survey *survey, char *out, size_t size)
{
    char bytes[32];
    out[0] = '\0';
    for (size_t i = 0; i < survey->n; i++) {
        const struct kl_gguf_share *type = &survey->types[i];
        size_t used = strlen(out);
        snprintf(out + used, size - used, "%s%s %s in %zu tensor%s%s", i > 0 ? ", " : "",
                 type->name, kl_format_bytes((double)type->bytes, bytes, sizeof bytes),
                 type->tensors, type->tensors == 1 ? "" : "s",
                 type->known ? "" : " (not supported)");
    }
}

static bool knows_all(const struct kl_gguf_survey *survey)
{
    for (size_t i = 0; i < survey->n; i++)
        if (!survey->types[i].known)
            return false;
    return true;
}

static void say_types(struct kl_findings *findings, const struct kl_gguf_survey *survey)
{
    char text[sizeof findings->items[0].text];
    bool all = knows_all(survey);
    list_types(survey, text, sizeof text);
    struct kl_finding *found = kl_found(findings, all ? KL_GOOD : KL_BROKEN, "types", "%s", text);
    if (!all)
        kl_found_remedy(found, "take a file of the same model whose types are among %s",
                        kl_quant_names());
}

static void survey_open_file(const struct kl_gguf *gguf, struct kl_gguf_survey *survey)
{
    *survey = (struct kl_gguf_survey){0};
    for (size_t i = 0; i < kl_gguf_n_tensors(gguf); i++) {
        const struct kl_gguf_tensor *t = kl_gguf_tensor_at(gguf, i);
        kl_gguf_survey_add(survey, t->type->id, t->size);
    }
}

/* ---- a file that is accepted ----------------------------------------------------------------- */

static struct kl_gguf_string text_of(const struct kl_gguf *gguf, const char *key)
{
    struct kl_gguf_string text;
    if (kl_gguf_string(gguf, key, &text, NULL) != KL_OK)
        text = (struct kl_gguf_string){"not named", 9};
    if (text.len > 60)
        text.len = 60;
    return text;
}

static uint64_t count_weights(const struct kl_gguf *gguf)
{
    uint64_t n = 0;
    for (size_t i = 0; i < kl_gguf_n_tensors(gguf); i++) {
        const struct kl_gguf_tensor *t = kl_gguf_tensor_at(gguf, i);
        n += t->size / t->type->block_bytes * t->type->block_elements;
    }
    return n;
}

static void say_model(struct kl_findings *findings, const struct kl_loaded *l)
{
    const struct kl_config *c = kl_model_config(l->model);
    struct kl_gguf_string name = text_of(l->gguf, "general.name");
    char parts[40] = "";
    uint64_t n_parts;
    if (kl_gguf_u64(l->gguf, "split.count", 2, UINT16_MAX, &n_parts, NULL) == KL_OK)
        snprintf(parts, sizeof parts, "; in %" PRIu64 " files", n_parts);
    kl_found(findings, KL_GOOD, AREA,
             "%s (%.*s): %s, %zu layers of width %zu, %.1f million weights, made for contexts of "
             "up to %zu tokens%s",
             l->location.name, (int)name.len, name.data, c->architecture, c->n_layers, c->n_embd,
             (double)count_weights(l->gguf) * 1e-6, c->n_ctx_train, parts);
}

static void say_tokenizer(struct kl_findings *findings, const struct kl_gguf *gguf,
                          const struct kl_tokenizer *tokenizer)
{
    struct kl_gguf_string kind = text_of(gguf, "tokenizer.ggml.model");
    struct kl_gguf_string variant = text_of(gguf, "tokenizer.ggml.pre");
    kl_found(findings, KL_GOOD, "tokenizer", "%.*s (pre-tokenizer %.*s), %zu tokens", (int)kind.len,
             kind.data, (int)variant.len, variant.data, kl_tokenizer_size(tokenizer));
}

/* ---- a file that is refused ------------------------------------------------------------------ */

static void say_refused(struct kl_findings *findings, const char *area, const struct kl_error *err)
{
    kl_found(findings, KL_BROKEN, area, "%s", err->text);
}

/* Says what is known in spite of it: one finding for each part that is refused. The kernels and
 * other options are those of any model, so only what is the file's fault is found. */
static void explain(struct kl_findings *findings, const struct kl_model_location *where,
                    const struct kl_error *refused)
{
    struct kl_gguf *gguf;
    struct kl_tokenizer *tokenizer = NULL;
    struct kl_model *model = NULL;
    struct kl_gguf_survey survey;
    struct kl_error err = {0};
    const struct kl_model_options options = {.kernels = kl_kernels_best(true),
                                             .prepare_later = true};
    if (kl_gguf_open(where->path, &gguf, &err) != KL_OK) {
        say_refused(findings, AREA, refused);
        if (kl_gguf_survey(where->path, &survey, &err) == KL_OK && !knows_all(&survey))
            say_types(findings, &survey);
        return;
    }
    size_t n = findings->n;
    survey_open_file(gguf, &survey);
    say_types(findings, &survey);
    if (kl_tokenizer_open(gguf, &tokenizer, &err) == KL_OK)
        say_tokenizer(findings, gguf, tokenizer);
    else
        say_refused(findings, "tokenizer", &err);
    if (kl_model_open(gguf, &options, &model, &err) != KL_OK)
        say_refused(findings, AREA, &err);
    bool explained = false;
    for (; n < findings->n; n++)
        explained = explained || findings->items[n].severity == KL_BROKEN;
    if (!explained)
        say_refused(findings, "model", refused);
    kl_model_close(model);
    kl_tokenizer_close(tokenizer);
    kl_gguf_close(gguf);
}

/* ---- all of it ------------------------------------------------------------------------------- */

bool kl_doctor_file(struct kl_findings *findings, const struct kl_load_options *options,
                    struct kl_loaded *loaded, const struct kl_model_entry **entry)
{
    struct kl_error err = {0};
    struct kl_gguf_survey survey;
    *entry = NULL;
    enum kl_status status = kl_load(loaded, options, KL_LOAD_AHEAD, &err);
    if (status != KL_OK) {
        struct kl_model_location where;
        if (kl_model_locate(options->model, &where, NULL) == KL_OK)
            explain(findings, &where, &err);
        else
            say_refused(findings, AREA, &err);
        return false;
    }
    say_model(findings, loaded);
    *entry = check_digest(findings, &loaded->location);
    survey_open_file(loaded->gguf, &survey);
    say_types(findings, &survey);
    say_tokenizer(findings, loaded->gguf, loaded->tokenizer);
    kl_doctor_turns(findings, loaded);
    return true;
}
