#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/log.h"
#include "base/utf8.h"
#include "text/char_class.h"
#include "text/normalizer.h"
#include "text/pretokenizer.h"
#include "text/tables.h"

/* Many times the longest context. Positions in a piece have 32 bits and a piece takes up to 36
 * bytes of memory for each byte. NFC makes text at most 3 times longer (UAX #15). */
#define MAX_TEXT ((size_t)64 << 20)
#define MAX_NFC  (3 * MAX_TEXT)
/* The list of added tokens is sorted by insertion; models of this size have some tens of them. */
#define MAX_ADDED 8192

/* A longer piece is hardly ever a token, and merging finds those few. */
#define MAX_SOUGHT 32
/* Pieces that are looked for together, so that their ways to memory overlap. */
#define PIECES 16

/* Keys of a file, and names of control tokens, that end an answer. */
enum { N_END_KEYS = 3, MAX_END_NAMES = 8 };

struct kl_tokenizer {
    const struct kl_pretokenizer *pretokenizer;
    struct kl_tables tables;
    struct kl_char_classes classes;
    int32_t *added; /* [n_added] control and user-defined tokens, the longest first */
    size_t n_added;
    bool begins_added[256]; /* bytes that one of them begins with */
    int32_t ends[N_END_KEYS + MAX_END_NAMES];
    size_t n_ends;
};

void kl_tokens_release(struct kl_tokens *tokens)
{
    free(tokens->ids);
    *tokens = (struct kl_tokens){0};
}

enum kl_status kl_tokens_push(struct kl_tokens *tokens, int32_t id)
{
    if (tokens->len == tokens->allocated) {
        size_t size = tokens->allocated == 0 ? 64 : 2 * tokens->allocated;
        int32_t *ids = realloc(tokens->ids, size * sizeof *ids);
        if (ids == NULL)
            return KL_ERR_MEMORY;
        tokens->ids = ids;
        tokens->allocated = size;
    }
    tokens->ids[tokens->len++] = id;
    return KL_OK;
}

static bool string_is(struct kl_gguf_string s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

static enum kl_status require_string(const struct kl_gguf *gguf, const char *key,
                                     const char *expected, struct kl_error *err)
{
    struct kl_gguf_string found;
    enum kl_status status = kl_gguf_string(gguf, key, &found, err);
    if (status == KL_OK && !string_is(found, expected))
        status = kl_fail(err, KL_ERR_UNSUPPORTED, "%s is \"%.*s\"; only \"%s\" is supported", key,
                         (int)(found.len < 64 ? found.len : 64), found.data, expected);
    return status;
}

static enum kl_status find_pretokenizer(struct kl_tokenizer *t, const struct kl_gguf *gguf,
                                        struct kl_error *err)
{
    struct kl_gguf_string name;
    enum kl_status status = kl_gguf_string(gguf, "tokenizer.ggml.pre", &name, err);
    return status == KL_OK ? kl_pretokenizer_find(name.data, name.len, &t->pretokenizer, err)
                           : status;
}

static enum kl_status require_all_bytes(const struct kl_bpe *bpe, struct kl_error *err)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        if (bpe->byte_ids[byte] < 0)
            return kl_fail(err, KL_ERR_FORMAT,
                           "tokenizer.ggml.tokens has no token for the byte 0x%02X; a byte-level "
                           "vocabulary has one for each of the 256 bytes",
                           byte);
    }
    return KL_OK;
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
    if (id >= 0 && !kl_tokenizer_is_end(t, id) && t->n_ends < N_END_KEYS + MAX_END_NAMES)
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
    for (size_t i = 0; i < N_END_KEYS; i++) {
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

static enum kl_status load(struct kl_tokenizer *t, const struct kl_gguf *gguf, const char *dir,
                           struct kl_error *err)
{
    enum kl_status status = require_string(gguf, "tokenizer.ggml.model", "gpt2", err);
    if (status == KL_OK)
        status = find_pretokenizer(t, gguf, err);
    if (status == KL_OK)
        status = kl_tables_open(&t->tables, gguf, dir, err);
    if (status == KL_OK && t->pretokenizer->all_bytes)
        status = require_all_bytes(&t->tables.bpe, err);
    if (status == KL_OK)
        status = kl_char_classes_init(&t->classes, err);
    if (status == KL_OK)
        status = load_ends(t, gguf, err);
    if (status == KL_OK)
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

/* One call of _encode. raw is the text since the last added token, nfc its normalized form (or only
 * repaired, where the model wants text as it is). */
struct encoder {
    const struct kl_tokenizer *tokenizer;
    struct kl_buffer raw;
    struct kl_buffer nfc;
    struct kl_bpe_scratch scratch;
    struct kl_tokens *out;
};

/* A piece that is not in the table of words. */
static enum kl_status encode_piece(struct encoder *e, const char *piece, size_t len)
{
    const struct kl_tokenizer *t = e->tokenizer;
    if (len > KL_WORD_MAX_BYTES && len <= MAX_SOUGHT) {
        int32_t id = kl_vocab_find(&t->tables.vocab, piece, len);
        if (id >= 0 && t->tables.vocab.types[id] == KL_TOKEN_NORMAL)
            return kl_tokens_push(e->out, id);
    }
    return kl_bpe_encode(&t->tables.bpe, piece, len, &e->scratch, e->out);
}

/* Up to PIECES pieces from the beginning of text; *done: bytes of them. */
static enum kl_status encode_pieces(struct encoder *e, const char *text, size_t len, size_t *done)
{
    const struct kl_tokenizer *t = e->tokenizer;
    struct {
        const char *text;
        size_t len;
        struct kl_word_key key;
        uint64_t hash;
    } pieces[PIECES];
    size_t n = 0, at = 0;
    for (; n < PIECES && at < len; n++) {
        pieces[n].text = text + at;
        pieces[n].len = t->pretokenizer->piece(&t->classes, text + at, len - at);
        if (pieces[n].len <= KL_WORD_MAX_BYTES) {
            pieces[n].key = kl_word_key(text + at, pieces[n].len, len - at);
            pieces[n].hash = kl_word_hash(pieces[n].key);
            kl_words_prefetch(&t->tables.words, pieces[n].hash);
        }
        at += pieces[n].len;
    }
    *done = at;
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < n && status == KL_OK; i++) {
        int32_t id = -1;
        if (pieces[i].len <= KL_WORD_MAX_BYTES)
            id = kl_words_find(&t->tables.words, pieces[i].key, pieces[i].hash);
        status =
            id >= 0 ? kl_tokens_push(e->out, id) : encode_piece(e, pieces[i].text, pieces[i].len);
    }
    return status;
}

/* Tokenizes and empties e->raw. */
static enum kl_status flush(struct encoder *e)
{
    const struct kl_tokenizer *t = e->tokenizer;
    kl_buffer_clear(&e->nfc);
    enum kl_status status =
        kl_normalize(t->pretokenizer->nfc ? &t->classes : NULL, e->raw.data, e->raw.len, &e->nfc);
    for (size_t at = 0, n; at < e->nfc.len && status == KL_OK; at += n)
        status = encode_pieces(e, e->nfc.data + at, e->nfc.len - at, &n);
    kl_buffer_clear(&e->raw);
    return status;
}

/* The longest added token that text begins with, or -1. */
static int32_t match_added(const struct kl_tokenizer *t, const char *text, size_t left, size_t *len)
{
    if (!t->begins_added[(unsigned char)text[0]])
        return -1;
    for (size_t i = 0; i < t->n_added; i++) {
        const char *token = kl_vocab_bytes(&t->tables.vocab, t->added[i], len);
        if (*len <= left && memcmp(token, text, *len) == 0)
            return t->added[i];
    }
    return -1;
}

static enum kl_status encode_special(struct encoder *e, const struct kl_span *span)
{
    size_t done = 0;
    for (size_t at = 0; at < span->len;) {
        size_t len;
        int32_t id = match_added(e->tokenizer, span->text + at, span->len - at, &len);
        if (id < 0) {
            at++;
            continue;
        }
        enum kl_status status = kl_buffer_append(&e->raw, span->text + done, at - done);
        if (status == KL_OK)
            status = flush(e);
        if (status == KL_OK)
            status = kl_tokens_push(e->out, id);
        if (status != KL_OK)
            return status;
        at += len;
        done = at;
    }
    return kl_buffer_append(&e->raw, span->text + done, span->len - done);
}

static bool in_range(const struct kl_tokenizer *t, int32_t id)
{
    return id >= 0 && (size_t)id < t->tables.vocab.n;
}

enum kl_status kl_tokenizer_encode(const struct kl_tokenizer *tokenizer,
                                   const struct kl_span *spans, size_t n_spans,
                                   struct kl_tokens *out, struct kl_error *err)
{
    struct encoder e = {.tokenizer = tokenizer, .out = out};
    kl_buffer_init(&e.raw, MAX_TEXT);
    kl_buffer_init(&e.nfc, MAX_NFC);
    size_t before = out->len;
    enum kl_status status = KL_OK;
    for (size_t i = 0; i < n_spans && status == KL_OK; i++) {
        if (spans[i].special)
            status = encode_special(&e, &spans[i]);
        else
            status = kl_buffer_append(&e.raw, spans[i].text, spans[i].len);
    }
    if (status == KL_OK)
        status = flush(&e);

    /* tables in a mapped file can change while they are in use; what is no token goes no further */
    for (size_t i = before; i < out->len && status == KL_OK; i++) {
        if (!in_range(tokenizer, out->ids[i]))
            status = KL_ERR_FORMAT;
    }

    if (status == KL_ERR_FORMAT)
        kl_fail(err, status, "%.300s was changed while it was in use; start again",
                tokenizer->tables.kept.map.path);
    else if (status == KL_ERR_LIMIT)
        kl_fail(err, status, "a text to tokenize has more than %zu bytes", MAX_TEXT);
    else if (status != KL_OK)
        kl_fail(err, status, "out of memory while tokenizing a text");
    if (status != KL_OK)
        out->len = before;
    kl_bpe_scratch_release(&e.scratch);
    kl_buffer_release(&e.raw);
    kl_buffer_release(&e.nfc);
    return status;
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

size_t kl_tokenizer_size(const struct kl_tokenizer *tokenizer)
{
    return tokenizer->tables.vocab.n;
}

int32_t kl_tokenizer_find(const struct kl_tokenizer *tokenizer, const char *text, size_t len)
{
    return kl_vocab_find(&tokenizer->tables.vocab, text, len);
}
