#include "service/served.h"

#include "base/model_name.h"
#include "text/fim.h"

const char *kl_served_find_name(const struct kl_served *served, const char *name)
{
    if (name == NULL || name[0] == '\0' || kl_model_names_equal(name, "default") ||
        kl_model_names_equal(name, served->model_name) ||
        (served->model_file != NULL && kl_model_names_equal(name, served->model_file)))
        return served->model_name;
    for (size_t i = 0; i < served->n_aliases; i++) {
        if (kl_model_names_equal(name, served->aliases[i]))
            return served->aliases[i];
    }
    return NULL;
}

enum kl_status kl_served_check_name(const struct kl_served *served, const char *name,
                                    struct kl_api_error *error)
{
    if (kl_served_find_name(served, name) != NULL)
        return KL_OK;
    return kl_api_fail(error, 404, "model_not_found", "model",
                       "the model \"%.100s\" is not served here; this server has \"%s\"", name,
                       served->model_name);
}

enum kl_status kl_served_check_tag(const struct kl_served *served, const char *name,
                                   struct kl_api_error *error)
{
    if (name == NULL || name[0] == '\0')
        return kl_api_fail(error, 400, "invalid_value", "model", "model is required");
    if (kl_served_find_name(served, name) != NULL)
        return KL_OK;
    return kl_api_fail(error, 404, "model_not_found", "model", "model '%.100s' not found", name);
}

bool kl_served_has_gaps(const struct kl_served *served)
{
    return served->tokenizer != NULL && kl_fim_find(served->tokenizer, KL_FIM_PREFIX) >= 0 &&
           kl_fim_find(served->tokenizer, KL_FIM_SUFFIX) >= 0 &&
           kl_fim_find(served->tokenizer, KL_FIM_MIDDLE) >= 0;
}
