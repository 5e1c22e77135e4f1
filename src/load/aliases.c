#include "load/aliases.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/foreign_text.h"
#include "base/model_name.h"

static bool is_name(const char *text, size_t len)
{
    char line[4 * KL_MAX_ALIAS];
    if (len == 0 || len > KL_MAX_ALIAS || text[0] == ' ' || text[len - 1] == ' ')
        return false;
    kl_foreign_line(text, len, line, sizeof line);
    return strlen(line) == len && memcmp(line, text, len) == 0;
}

enum kl_status kl_aliases_read(const struct kl_string_list *words, struct kl_aliases *aliases,
                               struct kl_error *err)
{
    *aliases = (struct kl_aliases){0};
    for (size_t i = 0; i < words->len; i++) {
        const char *word = words->values[i];
        size_t len = strcspn(word, "=");
        const char *model = word[len] == '=' ? word + len + 1 : NULL;
        if (!is_name(word, len) || (model != NULL && model[0] == '\0'))
            return kl_fail(err, KL_ERR_INVALID,
                           "--alias takes NAME or NAME=MODEL, where NAME has 1 to %d bytes of "
                           "UTF-8 without control characters, not \"%.150s\"",
                           KL_MAX_ALIAS, word);
        snprintf(aliases->names[i], sizeof aliases->names[i], "%.*s", (int)len, word);
        aliases->models[i] = model;
        aliases->len = i + 1;
    }
    return KL_OK;
}

static bool is_known(const struct kl_model_location *model, const struct kl_names *names,
                     const char *name)
{
    bool known = kl_model_names_equal(name, model->name) || kl_model_names_equal(name, model->file);
    for (size_t i = 0; i < names->len && !known; i++)
        known = kl_model_names_equal(name, names->values[i]);
    return known;
}

/* Finds the model that an alias is for, or sets *err. */
static enum kl_status find_target(const struct kl_aliases *aliases, size_t alias,
                                  const struct kl_model_location *const *models, size_t n,
                                  size_t *target, struct kl_error *err)
{
    const struct kl_names none = {.len = 0};
    const char *name = aliases->names[alias], *of = aliases->models[alias];
    *target = 0;
    while (of != NULL && *target < n && !is_known(models[*target], &none, of))
        ++*target;
    if (*target == n && n == 1)
        return kl_fail(err, KL_ERR_INVALID,
                       "--alias %s=%.100s: the model that is served is %s; name that one, or "
                       "leave \"=MODEL\" out",
                       name, of, models[0]->name);
    if (*target == n)
        return kl_fail(err, KL_ERR_INVALID,
                       "--alias %s=%.100s: no model that is served has this name; the first is %s",
                       name, of, models[0]->name);
    for (size_t i = 0; i < n; i++) {
        if (i != *target && kl_model_names_equal(models[i]->name, name))
            return kl_fail(err, KL_ERR_INVALID,
                           "--alias %s: another model that is served has this name", name);
    }
    return KL_OK;
}

enum kl_status kl_aliases_of(const struct kl_aliases *aliases,
                             const struct kl_model_location *const *models, size_t n, size_t model,
                             struct kl_names *names, struct kl_error *err)
{
    *names = (struct kl_names){.len = 0};
    for (size_t i = 0; i < aliases->len; i++) {
        size_t target;
        enum kl_status status = find_target(aliases, i, models, n, &target, err);
        if (status != KL_OK)
            return status;
        if (target == model && !is_known(models[model], names, aliases->names[i]))
            names->values[names->len++] = aliases->names[i];
    }
    return KL_OK;
}
