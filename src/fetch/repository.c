#include "fetch/repository.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/split_name.h"

#define MAX_PART 96

static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                              "0123456789._-";

/* The length of an owner's or repository's name; 0: it is none. */
static size_t part_len(const char *text)
{
    size_t len = strspn(text, letters);
    return len > MAX_PART || text[0] == '.' || text[0] == '-' ? 0 : len;
}

bool kl_repository_read(const char *text, struct kl_repository *out)
{
    static const char *const hosts[] = {"hf.co/", "huggingface.co/"};
    *out = (struct kl_repository){0};
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        if (strncasecmp(text, hosts[i], strlen(hosts[i])) == 0)
            text += strlen(hosts[i]);
    }
    size_t owner = part_len(text);
    if (owner == 0 || text[owner] != '/')
        return false;
    size_t name = part_len(text + owner + 1), len = owner + 1 + name;
    if (name == 0 || (text[len] != '\0' && text[len] != ':'))
        return false;
    if (len > 5 && strncasecmp(text + len - 5, ".gguf", 5) == 0)
        return false;
    const char *quant = text[len] == ':' ? text + len + 1 : "";
    if (strlen(quant) >= KL_QUANT_SIZE || strspn(quant, letters) != strlen(quant))
        return false;
    snprintf(out->name, sizeof out->name, "%.*s", (int)len, text);
    snprintf(out->quant, sizeof out->quant, "%s", strcasecmp(quant, "latest") == 0 ? "" : quant);
    return true;
}

static const char *file_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static bool contains(const char *name, const char *word)
{
    return strcasestr(name, word) != NULL;
}

bool kl_repository_is_model(const char *path)
{
    static const char *const others[] = {"mmproj", "imatrix", "mtp-", "eagle3-"};
    struct kl_split_name split;
    const char *name = file_of(path);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (contains(name, others[i]))
            return false;
    }
    return !kl_split_name_read(name, &split) || split.number == 1;
}

/* Whether a name has a quant: after its begin or a separator, before '-' or '.'. */
static bool has_quant(const char *name, const char *quant)
{
    size_t len = strlen(quant);
    for (const char *at = name; (at = strcasestr(at, quant)) != NULL; at++) {
        bool begins = at == name || !isalnum((unsigned char)at[-1]);
        if (begins && (at[len] == '-' || at[len] == '.'))
            return true;
    }
    return false;
}

size_t kl_repository_choose(const char *quant, size_t n,
                            const char *(*name_of)(const void *context, size_t i),
                            const void *context)
{
    const char *const usual[] = {"Q4_K_M", "Q8_0"};
    size_t n_wanted = quant[0] != '\0' ? 1 : 2, first = n;
    for (size_t q = 0; q < n_wanted; q++) {
        for (size_t i = 0; i < n; i++) {
            const char *name = name_of(context, i);
            if (!kl_repository_is_model(name))
                continue;
            if (has_quant(file_of(name), quant[0] != '\0' ? quant : usual[q]))
                return i;
            first = first == n ? i : first;
        }
    }
    return quant[0] != '\0' ? n : first;
}

const char *kl_repository_unsupported(const char *path)
{
    /* below three bits there is nothing worth running in models of this size */
    static const char *const types[] = {"IQ1_S",    "IQ1_M",    "IQ2_XXS",  "IQ2_XS",
                                        "IQ2_S",    "IQ2_M",    "MXFP4",    "NVFP4",
                                        "Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8", "MXFP4_MOE"};
    if (!kl_repository_is_model(path))
        return "not a model";
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (has_quant(file_of(path), types[i]))
            return "type not supported";
    }
    return NULL;
}
