/*
 * The keywords of JSON Schema that the parser knows: in which drafts, and where subschemas stand.
 *
 * Pure; any thread. Internal to schema/.
 */
#ifndef KL_SCHEMA_SCHEMA_WORDS_H
#define KL_SCHEMA_SCHEMA_WORDS_H

#include <jansson.h>
#include <stdbool.h>

/* Drafts by age. KL_DRAFT_ANY: the schema does not say; keywords of all of them are understood,
 * and what they mean is as in 2020-12 where it differs. */
enum kl_draft {
    KL_DRAFT_ANY = 0,
    KL_DRAFT_4 = 4,
    KL_DRAFT_6 = 6,
    KL_DRAFT_7 = 7,
    KL_DRAFT_2019 = 2019,
    KL_DRAFT_2020 = 2020
};

/* The value of a keyword. */
enum kl_word_holds {
    KL_HOLDS_VALUE, /* no schema */
    KL_HOLDS_SCHEMA,
    KL_HOLDS_SCHEMAS,     /* an array of them */
    KL_HOLDS_MEMBERS,     /* an object of them */
    KL_HOLDS_ITEMS,       /* a schema, or an array of them */
    KL_HOLDS_DEPENDENCIES /* an object of schemas and arrays of strings */
};

/* Sorted by name: word, name, first draft, last draft, value. */
#define KL_SCHEMA_WORDS(X)                                                                         \
    X(ANCHOR, "$anchor", 2019, 2020, KL_HOLDS_VALUE)                                               \
    X(DEFS, "$defs", 4, 2020, KL_HOLDS_MEMBERS)                                                    \
    X(DYNAMIC_ANCHOR, "$dynamicAnchor", 2020, 2020, KL_HOLDS_VALUE)                                \
    X(DYNAMIC_REF, "$dynamicRef", 2020, 2020, KL_HOLDS_VALUE)                                      \
    X(DOLLAR_ID, "$id", 6, 2020, KL_HOLDS_VALUE)                                                   \
    X(RECURSIVE_ANCHOR, "$recursiveAnchor", 2019, 2019, KL_HOLDS_VALUE)                            \
    X(RECURSIVE_REF, "$recursiveRef", 2019, 2019, KL_HOLDS_VALUE)                                  \
    X(REF, "$ref", 4, 2020, KL_HOLDS_VALUE)                                                        \
    X(ADDITIONAL_ITEMS, "additionalItems", 4, 2019, KL_HOLDS_SCHEMA)                               \
    X(ADDITIONAL_PROPERTIES, "additionalProperties", 4, 2020, KL_HOLDS_SCHEMA)                     \
    X(ALL_OF, "allOf", 4, 2020, KL_HOLDS_SCHEMAS)                                                  \
    X(ANY_OF, "anyOf", 4, 2020, KL_HOLDS_SCHEMAS)                                                  \
    X(CONST, "const", 6, 2020, KL_HOLDS_VALUE)                                                     \
    X(CONTAINS, "contains", 6, 2020, KL_HOLDS_SCHEMA)                                              \
    X(DEFINITIONS, "definitions", 4, 2020, KL_HOLDS_MEMBERS)                                       \
    X(DEPENDENCIES, "dependencies", 4, 7, KL_HOLDS_DEPENDENCIES)                                   \
    X(DEPENDENT_REQUIRED, "dependentRequired", 2019, 2020, KL_HOLDS_VALUE)                         \
    X(DEPENDENT_SCHEMAS, "dependentSchemas", 2019, 2020, KL_HOLDS_MEMBERS)                         \
    X(ELSE, "else", 7, 2020, KL_HOLDS_SCHEMA)                                                      \
    X(ENUM, "enum", 4, 2020, KL_HOLDS_VALUE)                                                       \
    X(EXCLUSIVE_MAXIMUM, "exclusiveMaximum", 4, 2020, KL_HOLDS_VALUE)                              \
    X(EXCLUSIVE_MINIMUM, "exclusiveMinimum", 4, 2020, KL_HOLDS_VALUE)                              \
    X(FORMAT, "format", 4, 2020, KL_HOLDS_VALUE)                                                   \
    X(ID, "id", 4, 4, KL_HOLDS_VALUE)                                                              \
    X(IF, "if", 7, 2020, KL_HOLDS_SCHEMA)                                                          \
    X(ITEMS, "items", 4, 2020, KL_HOLDS_ITEMS)                                                     \
    X(MAX_CONTAINS, "maxContains", 2019, 2020, KL_HOLDS_VALUE)                                     \
    X(MAX_ITEMS, "maxItems", 4, 2020, KL_HOLDS_VALUE)                                              \
    X(MAX_LENGTH, "maxLength", 4, 2020, KL_HOLDS_VALUE)                                            \
    X(MAX_PROPERTIES, "maxProperties", 4, 2020, KL_HOLDS_VALUE)                                    \
    X(MAXIMUM, "maximum", 4, 2020, KL_HOLDS_VALUE)                                                 \
    X(MIN_CONTAINS, "minContains", 2019, 2020, KL_HOLDS_VALUE)                                     \
    X(MIN_ITEMS, "minItems", 4, 2020, KL_HOLDS_VALUE)                                              \
    X(MIN_LENGTH, "minLength", 4, 2020, KL_HOLDS_VALUE)                                            \
    X(MIN_PROPERTIES, "minProperties", 4, 2020, KL_HOLDS_VALUE)                                    \
    X(MINIMUM, "minimum", 4, 2020, KL_HOLDS_VALUE)                                                 \
    X(MULTIPLE_OF, "multipleOf", 4, 2020, KL_HOLDS_VALUE)                                          \
    X(NOT, "not", 4, 2020, KL_HOLDS_SCHEMA)                                                        \
    X(NULLABLE, "nullable", 0, 0, KL_HOLDS_VALUE)                                                  \
    X(ONE_OF, "oneOf", 4, 2020, KL_HOLDS_SCHEMAS)                                                  \
    X(PATTERN, "pattern", 4, 2020, KL_HOLDS_VALUE)                                                 \
    X(PATTERN_PROPERTIES, "patternProperties", 4, 2020, KL_HOLDS_MEMBERS)                          \
    X(PREFIX_ITEMS, "prefixItems", 2020, 2020, KL_HOLDS_SCHEMAS)                                   \
    X(PROPERTIES, "properties", 4, 2020, KL_HOLDS_MEMBERS)                                         \
    X(PROPERTY_NAMES, "propertyNames", 6, 2020, KL_HOLDS_SCHEMA)                                   \
    X(REQUIRED, "required", 4, 2020, KL_HOLDS_VALUE)                                               \
    X(THEN, "then", 7, 2020, KL_HOLDS_SCHEMA)                                                      \
    X(TYPE, "type", 4, 2020, KL_HOLDS_VALUE)                                                       \
    X(UNEVALUATED_ITEMS, "unevaluatedItems", 2019, 2020, KL_HOLDS_SCHEMA)                          \
    X(UNEVALUATED_PROPERTIES, "unevaluatedProperties", 2019, 2020, KL_HOLDS_SCHEMA)                \
    X(UNIQUE_ITEMS, "uniqueItems", 4, 2020, KL_HOLDS_VALUE)

#define KL_SCHEMA_WORD_NAME(word, name, first, last, holds) KL_WORD_##word,
enum kl_schema_word { KL_SCHEMA_WORDS(KL_SCHEMA_WORD_NAME) KL_N_WORDS };
#undef KL_SCHEMA_WORD_NAME

/* The keywords of one subschema: their values, NULL where there is none. */
struct kl_schema_words {
    const json_t *value[KL_N_WORDS];
};

/* schema: an object. Finds the keywords of this draft; others are annotations. */
void kl_schema_words_of(const json_t *schema, enum kl_draft draft, struct kl_schema_words *words);

/* Returns the keyword with this name in this draft, or KL_N_WORDS. */
enum kl_schema_word kl_schema_word_of(const char *name, enum kl_draft draft);
const char *kl_schema_word_name(enum kl_schema_word word);
enum kl_word_holds kl_schema_word_holds(enum kl_schema_word word);

#endif
