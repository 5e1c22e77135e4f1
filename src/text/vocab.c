#include "text/vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/utf8.h"

#define TOKENS_KEY "tokenizer.ggml.tokens"
#define TYPES_KEY  "tokenizer.ggml.token_type"

#define N_CONTROL_NAMES (sizeof control_names / sizeof *control_names)
static const struct kl_control_name control_names[] = {
    {"<|im_start|>", false},
    {"<|im_end|>", true},
    {"<|endoftext|>", true},
    {"<|begin_of_text|>", false},
    {"<|start_header_id|>", false},
    {"<|end_header_id|>", false},
    {"<|eot_id|>", true},
    {"<|eom_id|>", true},
    {"<|end_of_text|>", true},
    {"<｜end▁of▁sentence｜>", true},
    /* those of fim.h: behind one of them a text of another kind begins */
    {"<|fim_prefix|>", true},
    {"<|fim_suffix|>", true},
    {"<|fim_middle|>", true},
    {"<|fim_pad|>", true},
    {"<|repo_name|>", true},
    {"<|file_sep|>", true},
};

const struct kl_control_name *kl_control_name_at(size_t i)
{
    return i < N_CONTROL_NAMES ? &control_names[i] : NULL;
}

static bool is_control_name(struct kl_gguf_string text)
{
    for (size_t i = 0; i < N_CONTROL_NAMES; i++) {
        if (text.len == strlen(control_names[i].text) &&
            memcmp(text.data, control_names[i].text, text.len) == 0)
            return true;
    }
    return false;
}

/* Bytes that stand for themselves in the alphabet (as Latin-1); the other 68 are written, in their
 * order, as U+0100 and up (openai/gpt-2, encoder.py, bytes_to_unicode). */
static bool stands_for_itself(uint32_t byte)
{
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) ||
           (byte >= 174 && byte <= 255);
}

/* The byte that the character c is written for, or -1. */
static int alphabet_byte(uint32_t c)
{
    if (c < 256)
        return stands_for_itself(c) ? (int)c : -1;
    if (c <= 256 + 32) /* bytes 0..32 */
        return (int)(c - 256);
    if (c <= 256 + 32 + 34) /* bytes 127..160 */
        return (int)(c - 256 - 33 + 127);
    return c == 256 + 67 ? 173 : -1;
}

bool kl_byte_alphabet_decode(struct kl_gguf_string text, char *out, size_t *len)
{
    size_t n = 0;
    for (size_t i = 0; i < text.len;) {
        uint32_t c = (unsigned char)text.data[i];
        bool valid = c < 0x80;
        i += valid ? 1 : kl_utf8_decode(text.data + i, text.len - i, &c, &valid);
        int byte = valid ? alphabet_byte(c) : -1;
        if (byte < 0)
            return false;
        out[n++] = (char)byte;
    }
    *len = n;
    return true;
}

/* Where the token is, or the empty slot where it would be. NULL: neither, which only happens to
 * borrowed slots that were changed. */
static struct kl_vocab_slot *slot_of(const struct kl_vocab *v, const char *bytes, size_t len,
                                     uint32_t hash)
{
    size_t mask = v->n_slots - 1;
    for (size_t i = 0; i < v->n_slots; i++) {
        struct kl_vocab_slot *slot = &v->slots[(hash + i) & mask];
        if (slot->id < 0)
            return slot;
        if (slot->hash != hash || (size_t)slot->id >= v->n)
            continue;
        size_t have;
        const char *token = kl_vocab_bytes(v, slot->id, &have);
        if (have == len && memcmp(token, bytes, len) == 0)
            return slot;
    }
    return NULL;
}

static uint32_t hash_of(const char *bytes, size_t len)
{
    return (uint32_t)kl_hash64(bytes, len, 0);
}

int32_t kl_vocab_find(const struct kl_vocab *v, const char *bytes, size_t len)
{
    const struct kl_vocab_slot *slot = slot_of(v, bytes, len, hash_of(bytes, len));
    return slot != NULL ? slot->id : -1;
}

/* Room in the hash table for n tokens, at most two thirds full. */
static enum kl_status reserve_slots(struct kl_vocab *v, size_t n, struct kl_error *err)
{
    if (n <= v->n_slots / 3 * 2)
        return KL_OK;
    size_t size = 64;
    while (n > size / 3 * 2)
        size *= 2;
    struct kl_vocab_slot *slots = malloc(size * sizeof *slots);
    if (slots == NULL)
        return kl_fail_memory(err, "the vocabulary", size * sizeof *slots);
    for (size_t i = 0; i < size; i++)
        slots[i].id = -1;

    struct kl_vocab_slot *old = v->slots;
    size_t n_old = v->n_slots;
    v->slots = slots;
    v->n_slots = size;
    for (size_t i = 0; i < n_old; i++) {
        if (old[i].id < 0)
            continue;
        size_t at = old[i].hash & (size - 1);
        while (slots[at].id >= 0)
            at = (at + 1) & (size - 1);
        slots[at] = old[i];
    }
    free(old);
    return KL_OK;
}

static enum kl_status reserve_tokens(struct kl_vocab *v, size_t n, size_t bytes,
                                     struct kl_error *err)
{
    if (n > v->allocated) {
        size_t size = n + n / 64;
        uint32_t *offsets = realloc(v->offsets, (size + 1) * sizeof *offsets);
        if (offsets == NULL)
            return kl_fail_memory(err, "the vocabulary", (size + 1) * sizeof *offsets);
        v->offsets = offsets;
        uint8_t *types = realloc(v->types, size);
        if (types == NULL)
            return kl_fail_memory(err, "the vocabulary", size);
        v->types = types;
        v->allocated = size;
    }
    if (bytes > v->bytes_allocated) {
        size_t size = bytes + bytes / 64;
        char *data = realloc(v->bytes, size);
        if (data == NULL)
            return kl_fail_memory(err, "the vocabulary", size);
        v->bytes = data;
        v->bytes_allocated = size;
    }
    return reserve_slots(v, n, err);
}

static void *copy_of(const void *data, size_t size)
{
    void *copy = malloc(size + 1); /* never of 0 bytes */
    if (copy != NULL && size > 0)
        memcpy(copy, data, size);
    return copy;
}

/* Copies borrowed arrays, so that they can be changed. */
static enum kl_status own(struct kl_vocab *v, struct kl_error *err)
{
    if (!v->borrowed)
        return KL_OK;
    struct kl_vocab copy = *v;
    copy.borrowed = false;
    copy.bytes_allocated = v->bytes_len;
    copy.allocated = v->n;
    copy.bytes = copy_of(v->bytes, v->bytes_len);
    copy.offsets = copy_of(v->offsets, (v->n + 1) * sizeof *v->offsets);
    copy.types = copy_of(v->types, v->n);
    copy.slots = copy_of(v->slots, v->n_slots * sizeof *v->slots);
    if (copy.bytes == NULL || copy.offsets == NULL || copy.types == NULL || copy.slots == NULL) {
        kl_vocab_release(&copy);
        return kl_fail_memory(err, "the vocabulary", v->bytes_len);
    }
    *v = copy;
    return KL_OK;
}

enum kl_status kl_vocab_append(struct kl_vocab *v, const char *bytes, size_t len,
                               enum kl_token_type type, int32_t *id, struct kl_error *err)
{
    if (v->n >= KL_VOCAB_MAX)
        return kl_fail(err, KL_ERR_LIMIT, "a vocabulary can have at most %u tokens", KL_VOCAB_MAX);
    enum kl_status status = own(v, err);
    if (status == KL_OK)
        status = reserve_tokens(v, v->n + 1, v->bytes_len + len, err);
    if (status != KL_OK)
        return status;
    if (v->n == 0)
        v->offsets[0] = 0;

    if (len > 0) {
        uint32_t hash = hash_of(bytes, len);
        struct kl_vocab_slot *slot = slot_of(v, bytes, len, hash);
        if (slot == NULL)
            return kl_fail(err, KL_ERR_FORMAT, "the vocabulary was changed while it was in use");
        if (slot->id >= 0) {
            *id = slot->id;
            return KL_OK;
        }
        *slot = (struct kl_vocab_slot){.hash = hash, .id = (int32_t)v->n};
        memcpy(v->bytes + v->bytes_len, bytes, len);
        v->bytes_len += len;
    }
    *id = (int32_t)v->n;
    v->types[v->n++] = (uint8_t)type;
    v->offsets[v->n] = (uint32_t)v->bytes_len;
    return KL_OK;
}

/* One token of the file: its raw bytes into raw[KL_TOKEN_MAX_BYTES]. */
static enum kl_status read_token(struct kl_gguf_string text, size_t id, int32_t type, char *raw,
                                 size_t *len, struct kl_error *err)
{
    if (type != KL_TOKEN_NORMAL && type != KL_TOKEN_CONTROL && type != KL_TOKEN_ADDED &&
        type != KL_TOKEN_UNUSED)
        return kl_fail(err, KL_ERR_FORMAT,
                       TYPES_KEY "[%zu] is %d; expected 1 (normal), 3 (control), 4 (user-defined) "
                                 "or 5 (unused)",
                       id, (int)type);
    *len = 0;
    if (type == KL_TOKEN_UNUSED)
        return KL_OK;
    if (text.len > KL_TOKEN_MAX_BYTES)
        return kl_fail(err, KL_ERR_FORMAT, TOKENS_KEY "[%zu] has %zu bytes; at most %u are allowed",
                       id, text.len, KL_TOKEN_MAX_BYTES);
    if (text.len == 0)
        return kl_fail(err, KL_ERR_FORMAT, TOKENS_KEY "[%zu] is empty", id);
    if (type == KL_TOKEN_NORMAL) {
        if (!kl_byte_alphabet_decode(text, raw, len))
            return kl_fail(err, KL_ERR_FORMAT,
                           TOKENS_KEY "[%zu] has a character that is not one of the 256 of the "
                                      "byte-level alphabet",
                           id);
        return KL_OK;
    }
    if (!kl_utf8_valid(text.data, text.len))
        return kl_fail(err, KL_ERR_FORMAT, TOKENS_KEY "[%zu] is not valid UTF-8", id);
    memcpy(raw, text.data, text.len);
    *len = text.len;
    return KL_OK;
}

static enum kl_status load_tokens(struct kl_vocab *v, const struct kl_gguf_array *tokens,
                                  const struct kl_gguf_array *types, struct kl_error *err)
{
    struct kl_reader type_reader = {.data = types->data, .size = types->size};
    struct kl_gguf_string text;
    size_t at = 0;
    for (size_t id = 0; kl_gguf_array_next_string(tokens, &at, &text); id++) {
        char raw[KL_TOKEN_MAX_BYTES];
        uint32_t type = 0;
        size_t len;
        if (!kl_read_u32(&type_reader, &type))
            return kl_fail(err, KL_ERR_FORMAT, TYPES_KEY " ends before " TOKENS_KEY);
        if (text.len > 2 && text.data[0] == '<' && is_control_name(text))
            type = KL_TOKEN_CONTROL;
        enum kl_status status = read_token(text, id, (int32_t)type, raw, &len, err);
        if (status != KL_OK)
            return status;
        int32_t found = -1;
        status = kl_vocab_append(v, raw, len, (enum kl_token_type)type, &found, err);
        if (status != KL_OK)
            return status;
        if ((size_t)found != id)
            return kl_fail(err, KL_ERR_FORMAT, TOKENS_KEY "[%zu] is the same token as [%d]", id,
                           (int)found);
    }
    return KL_OK;
}

enum kl_status kl_vocab_load(struct kl_vocab *v, const struct kl_gguf *gguf, struct kl_error *err)
{
    *v = (struct kl_vocab){0};
    struct kl_gguf_array tokens, types;
    enum kl_status status = kl_gguf_array(gguf, TOKENS_KEY, KL_GGUF_STRING, &tokens, err);
    if (status != KL_OK)
        return status;
    status = kl_gguf_array(gguf, TYPES_KEY, KL_GGUF_I32, &types, err);
    if (status != KL_OK)
        return status;
    if (tokens.len == 0 || tokens.len > KL_VOCAB_MAX)
        return kl_fail(err, KL_ERR_FORMAT, TOKENS_KEY " has %llu tokens; expected 1 to %u",
                       (unsigned long long)tokens.len, KL_VOCAB_MAX);
    if (types.len != tokens.len)
        return kl_fail(err, KL_ERR_FORMAT,
                       TYPES_KEY " has %llu entries; expected as many as there are tokens, %llu",
                       (unsigned long long)types.len, (unsigned long long)tokens.len);

    /* Raw bytes are never longer than their text in the file, and lengths take 8 bytes each there.
     */
    status = reserve_tokens(v, (size_t)tokens.len, tokens.size - 8 * (size_t)tokens.len, err);
    if (status == KL_OK)
        status = load_tokens(v, &tokens, &types, err);
    if (status != KL_OK)
        kl_vocab_release(v);
    return status;
}

void kl_vocab_log_corrections(const struct kl_vocab *v, const struct kl_gguf *gguf)
{
    struct kl_gguf_array types;
    char names[256] = "";
    if (kl_gguf_array(gguf, TYPES_KEY, KL_GGUF_I32, &types, NULL) != KL_OK)
        return;
    for (size_t i = 0; i < N_CONTROL_NAMES; i++) {
        const char *text = control_names[i].text;
        int32_t id = kl_vocab_find(v, text, strlen(text)), type;
        if (id < 0 || (uint64_t)id >= types.len)
            continue;
        memcpy(&type, types.data + (size_t)id * sizeof type, sizeof type);
        size_t used = strlen(names);
        if (type != KL_TOKEN_CONTROL)
            snprintf(names + used, sizeof names - used, "%s%s", used > 0 ? ", " : "", text);
    }
    if (names[0] != '\0')
        kl_warning("the model file does not say that these are control tokens, they are taken for "
                   "it all the same: %s",
                   names);
}

void kl_vocab_release(struct kl_vocab *v)
{
    if (!v->borrowed) {
        free(v->bytes);
        free(v->offsets);
        free(v->types);
        free(v->slots);
    }
    *v = (struct kl_vocab){0};
}
