#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/utf8.h"
#include "text/tokenizer_kind.h"
#include "text/tokenizer_state.h"

/* The list of added tokens is sorted by insertion; models of this size have some tens of them. */
#define MAX_ADDED 8192

static bool string_is(struct kl_gguf_string s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

/* One row for each kind of tokenizer. */
static const struct kl_tokenizer_kind *const kinds[] = {&kl_tokenizer_byte_bpe};

static enum kl_status find_kind(struct kl_tokenizer *t, const struct kl_gguf *gguf,
                                struct kl_error *err)
{
    static const char key[] = "tokenizer.ggml.model";
    struct kl_gguf_string found;
    char names[128] = "";
    enum kl_status status = kl_gguf_string(gguf, key, &found, err);
    if (status != KL_OK)
        return status;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (string_is(found, kinds[i]->model)) {
            t->kind = kinds[i];
            return KL_OK;
        }
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s\"%s\"", i > 0 ? ", " : "", kinds[i]->model);
    }
    return kl_fail(err, KL_ERR_UNSUPPORTED, "%s is \"%.*s\"; only %s is supported", key,
                   (int)(found.len < 64 ? found.len : 64), found.data, names);
}

static bool is_added(const struct kl_vocab *v, int32_t id)
{
    return v->types[id] == KL_TOKEN_CONTROL || v->types[id] == KL_TOKEN_ADDED;
}

/* Puts a token into the list of added ones: before the first that is shorter. */
static enum kl_status list_added(struct kl_tokenizer *t, int32_t id, struct kl_error *err)
{
    if (t->n_added >= MAX_ADDED)
        return kl_fail(err, KL_ERR_LIMIT,
                       "the vocabulary has more than %d control and user-defined tokens",
                       MAX_ADDED);
    int32_t *added = realloc(t->added, (t->n_added + 1) * sizeof *added);
    if (added == NULL)
        return kl_fail_memory(err, "the added tokens", (t->n_added + 1) * sizeof *added);
    t->added = added;
    size_t len, other;
    const char *bytes = kl_vocab_bytes(&t->tables.vocab, id, &len);
    size_t at = t->n_added;
    while (at > 0 && (kl_vocab_bytes(&t->tables.vocab, added[at - 1], &other), other < len)) {
        added[at] = added[at - 1];
        at--;
    }
    added[at] = id;
    t->n_added++;
    t->begins_added[(unsigned char)bytes[0]] = true;
    return KL_OK;
}

static void add_end(struct kl_tokenizer *t, int32_t id)
{
    if (id >= 0 && !kl_tokenizer_is_end(t, id) && t->n_ends < KL_N_END_KEYS + KL_MAX_END_NAMES)
        t->ends[t->n_ends++] = id;
}

/* Tokens that the file says end something (an id that is none ends nothing), and those that do by
 * their names. */
static enum kl_status load_ends(struct kl_tokenizer *t, const struct kl_gguf *gguf,
                                struct kl_error *err)
{
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    const struct kl_control_name *name;
    enum kl_status status = KL_OK;
    struct kl_error why = {0};
    for (size_t i = 0; i < KL_N_END_KEYS; i++) {
        uint64_t id;
        if (!kl_gguf_has(gguf, keys[i]))
            continue;
        enum kl_status read = kl_gguf_u64(gguf, keys[i], 0, t->tables.vocab.n - 1, &id, &why);
        if (read == KL_OK)
            add_end(t, (int32_t)id);
        else
            status = read;
    }
    for (size_t i = 0; (name = kl_control_name_at(i)) != NULL; i++) {
        if (name->ends)
            add_end(t, kl_vocab_find(&t->tables.vocab, name->text, strlen(name->text)));
    }
    if (status == KL_OK)
        return KL_OK;
    if (t->n_ends == 0)
        return kl_fail(err, status, "%s, and no other token is known to end an answer", why.text);
    kl_warning("%s; other tokens are known to end an answer", why.text);
    return KL_OK;
}

/* Returns the token that the file wants before or behind a text; -1: none. wanted: without a word
 * of the file. Answers to chats need none, so a file with a bad one is served. */
static int32_t load_around(const struct kl_tokenizer *t, const struct kl_gguf *gguf, bool wanted,
                           const char *wanted_key, const char *id_key)
{
    uint64_t id;
    struct kl_error err;
    enum kl_status status = KL_OK;
    if (kl_gguf_has(gguf, wanted_key))
        status = kl_gguf_bool(gguf, wanted_key, &wanted, &err);
    if (status == KL_OK && !wanted)
        return -1;
    if (status == KL_OK && kl_gguf_u64(gguf, id_key, 0, t->tables.vocab.n - 1, &id, &err) == KL_OK)
        return (int32_t)id;
    kl_warning("%s; %s is ignored", err.text, wanted_key);
    return -1;
}

static enum kl_status load(struct kl_tokenizer *t, const struct kl_gguf *gguf, const char *dir,
                           struct kl_error *err)
{
    enum kl_status status = find_kind(t, gguf, err);
    if (status == KL_OK)
        status = t->kind->load(t, gguf, dir, err);
    if (status == KL_OK)
        status = load_ends(t, gguf, err);
    if (status != KL_OK)
        return status;
    t->text_begin = load_around(t, gguf, t->pretokenizer->adds_bos, "tokenizer.ggml.add_bos_token",
                                "tokenizer.ggml.bos_token_id");
    t->text_end =
        load_around(t, gguf, false, "tokenizer.ggml.add_eos_token", "tokenizer.ggml.eos_token_id");
    kl_vocab_log_corrections(&t->tables.vocab, gguf);
    for (size_t id = 0; id < t->tables.vocab.n && status == KL_OK; id++) {
        if (is_added(&t->tables.vocab, (int32_t)id))
            status = list_added(t, (int32_t)id, err);
    }
    return status;
}

enum kl_status kl_tokenizer_open(const struct kl_gguf *gguf, struct kl_tokenizer **tokenizer,
                                 struct kl_error *err)
{
    return kl_tokenizer_open_kept(gguf, NULL, tokenizer, err);
}

enum kl_status kl_tokenizer_open_kept(const struct kl_gguf *gguf, const char *dir,
                                      struct kl_tokenizer **tokenizer, struct kl_error *err)
{
    struct kl_tokenizer *t = calloc(1, sizeof *t);
    if (t == NULL)
        return kl_fail_memory(err, "the tokenizer", sizeof *t);
    enum kl_status status = load(t, gguf, dir, err);
    if (status != KL_OK) {
        kl_error_prefix(err, "%.200s", kl_gguf_file(gguf)->path);
        kl_tokenizer_close(t);
        t = NULL;
    }
    *tokenizer = t;
    return status;
}

void kl_tokenizer_keep(struct kl_tokenizer *t, const struct kl_gguf *gguf, const char *dir)
{
    kl_tables_keep(&t->tables, gguf, dir);
}

const char *kl_tokenizer_kept_path(const struct kl_tokenizer *t)
{
    return t->tables.kept.map.path;
}

void kl_tokenizer_close(struct kl_tokenizer *tokenizer)
{
    if (tokenizer == NULL)
        return;
    kl_tables_close(&tokenizer->tables);
    kl_char_classes_release(&tokenizer->classes);
    free(tokenizer->added);
    free(tokenizer);
}

enum kl_status kl_tokenizer_add(struct kl_tokenizer *tokenizer, const char *text, size_t len,
                                bool special, int32_t *id, struct kl_error *err)
{
    if (len == 0 || len > KL_TOKEN_MAX_BYTES)
        return kl_fail(err, KL_ERR_INVALID, "a token to add has %zu bytes; expected 1 to %u", len,
                       KL_TOKEN_MAX_BYTES);
    if (!kl_utf8_valid(text, len))
        return kl_fail(err, KL_ERR_INVALID, "a token to add must be valid UTF-8");
    size_t before = tokenizer->tables.vocab.n;
    enum kl_token_type type = special ? KL_TOKEN_CONTROL : KL_TOKEN_ADDED;
    enum kl_status status = kl_vocab_append(&tokenizer->tables.vocab, text, len, type, id, err);
    if (status == KL_OK && tokenizer->tables.vocab.n > before)
        status = list_added(tokenizer, *id, err);
    return status;
}

static bool in_range(const struct kl_tokenizer *t, int32_t id)
{
    return id >= 0 && (size_t)id < t->tables.vocab.n;
}

const char *kl_tokenizer_piece(const struct kl_tokenizer *tokenizer, int32_t id, size_t *len)
{
    *len = 0;
    return in_range(tokenizer, id) ? kl_vocab_bytes(&tokenizer->tables.vocab, id, len) : NULL;
}

bool kl_tokenizer_is_control(const struct kl_tokenizer *tokenizer, int32_t id)
{
    return in_range(tokenizer, id) && tokenizer->tables.vocab.types[id] == KL_TOKEN_CONTROL;
}

bool kl_tokenizer_is_end(const struct kl_tokenizer *tokenizer, int32_t id)
{
    for (size_t i = 0; i < tokenizer->n_ends; i++) {
        if (tokenizer->ends[i] == id)
            return true;
    }
    return false;
}

const int32_t *kl_tokenizer_ends(const struct kl_tokenizer *tokenizer, size_t *n)
{
    *n = tokenizer->n_ends;
    return tokenizer->ends;
}

int32_t kl_tokenizer_text_begin(const struct kl_tokenizer *tokenizer)
{
    return tokenizer->text_begin;
}

int32_t kl_tokenizer_text_end(const struct kl_tokenizer *tokenizer)
{
    return tokenizer->text_end;
}

size_t kl_tokenizer_size(const struct kl_tokenizer *tokenizer)
{
    return tokenizer->tables.vocab.n;
}

int32_t kl_tokenizer_find(const struct kl_tokenizer *tokenizer, const char *text, size_t len)
{
    return kl_vocab_find(&tokenizer->tables.vocab, text, len);
}
