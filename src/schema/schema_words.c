#include "schema/schema_words.h"

#include <stdlib.h>
#include <string.h>

struct word {
    const char *name;
    int first, last;
    enum kl_word_holds holds;
};

#define ROW(word, name, first, last, holds) {name, first, last, holds},
static const struct word words_by_name[] = {KL_SCHEMA_WORDS(ROW)};
#undef ROW

static int by_name(const void *name, const void *word)
{
    return strcmp(name, ((const struct word *)word)->name);
}

enum kl_schema_word kl_schema_word_of(const char *name, enum kl_draft draft)
{
    const struct word *word =
        bsearch(name, words_by_name, KL_N_WORDS, sizeof(*words_by_name), by_name);
    if (word == NULL ||
        (draft != KL_DRAFT_ANY && ((int)draft < word->first || (int)draft > word->last)))
        return KL_N_WORDS;
    return (enum kl_schema_word)(word - words_by_name);
}

void kl_schema_words_of(const json_t *schema, enum kl_draft draft, struct kl_schema_words *words)
{
    memset(words, 0, sizeof(*words));
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)schema, name, value)
    {
        enum kl_schema_word word = kl_schema_word_of(name, draft);
        if (word != KL_N_WORDS)
            words->value[word] = value;
    }
}

const char *kl_schema_word_name(enum kl_schema_word word)
{
    return words_by_name[word].name;
}

enum kl_word_holds kl_schema_word_holds(enum kl_schema_word word)
{
    return words_by_name[word].holds;
}
