#include "format/digest.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cache_dir.h"
#include "base/hash.h"

static char *write_hex(const uint8_t *bytes, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    *out = '\0';
    return out;
}

void kl_digest_text(const struct kl_digest *digest, char text[KL_DIGEST_DIGITS + 1])
{
    write_hex(digest->bytes, KL_DIGEST_DIGITS / 2, text);
}

/* ---- computing ------------------------------------------------------------------------------- */

enum kl_status kl_digest_vocabulary(const struct kl_gguf *gguf, struct kl_digest *digest,
                                    struct kl_error *err)
{
    static const struct {
        const char *key;
        enum kl_gguf_type type;
    } arrays[] = {{"tokenizer.ggml.tokens", KL_GGUF_STRING},
                  {"tokenizer.ggml.token_type", KL_GGUF_I32},
                  {"tokenizer.ggml.merges", KL_GGUF_STRING}};
    struct kl_sha256 h;
    kl_sha256_init(&h);
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        struct kl_gguf_array array;
        enum kl_status status = kl_gguf_array(gguf, arrays[i].key, arrays[i].type, &array, err);
        if (status != KL_OK)
            return status;
        const uint64_t sizes[] = {array.len, array.size};
        kl_sha256_update(&h, sizes, sizeof sizes);
        kl_sha256_update(&h, array.data, array.size);
    }
    kl_sha256_finish(&h, digest->bytes);
    return KL_OK;
}

enum kl_status kl_tensor_digests_init(struct kl_tensor_digests *d, const struct kl_gguf *gguf,
                                      struct kl_error *err)
{
    size_t n = kl_gguf_n_tensors(gguf);
    *d = (struct kl_tensor_digests){.gguf = gguf,
                                    .digests = calloc(n + 1, sizeof *d->digests),
                                    .done = calloc(n + 1, sizeof *d->done),
                                    .since = kl_digest_now()};
    if (d->digests != NULL && d->done != NULL)
        return KL_OK;
    kl_tensor_digests_release(d);
    return kl_fail_memory(err, "the digests of the tensors", n * sizeof *d->digests);
}

void kl_tensor_digests_release(struct kl_tensor_digests *d)
{
    free(d->digests);
    free(d->done);
    *d = (struct kl_tensor_digests){0};
}

/* The digest of a tensor is the digest of the digests of its pieces, so that several threads can
 * compute it. */
enum { PIECE = 1 << 20, PIECES = 64 };

struct pieces {
    const uint8_t *data;
    size_t size;
    struct kl_digest digests[PIECES];
};

static void digest_piece(void *context, size_t item, size_t worker)
{
    (void)worker;
    struct pieces *p = context;
    struct kl_sha256 h;
    size_t at = item * PIECE, left = p->size - at;
    kl_sha256_init(&h);
    kl_sha256_update(&h, p->data + at, left < PIECE ? left : PIECE);
    kl_sha256_finish(&h, p->digests[item].bytes);
}

void kl_tensor_digests_add(struct kl_tensor_digests *d, const struct kl_gguf_tensor *tensor,
                           struct kl_pool *pool)
{
    size_t i = kl_gguf_tensor_index(d->gguf, tensor);
    if (d->done[i])
        return;
    struct kl_sha256 h;
    kl_sha256_init(&h);
    for (size_t at = 0, n; at < tensor->size; at += n) {
        n = tensor->size - at < (size_t)PIECE * PIECES ? tensor->size - at : (size_t)PIECE * PIECES;
        struct pieces p = {.data = tensor->data + at, .size = n};
        size_t n_pieces = (n + PIECE - 1) / PIECE;
        kl_pool_run(pool, n_pieces, digest_piece, &p);
        kl_sha256_update(&h, p.digests, n_pieces * sizeof *p.digests);
    }
    kl_sha256_finish(&h, d->digests[i].bytes);
    d->done[i] = true;
}

struct kl_digest kl_tensor_digests_all(const struct kl_tensor_digests *d)
{
    struct kl_digest all;
    struct kl_sha256 h;
    kl_sha256_init(&h);
    for (size_t i = 0; i < kl_gguf_n_tensors(d->gguf); i++) {
        const struct kl_gguf_tensor *t = kl_gguf_tensor_at(d->gguf, i);
        const uint64_t facts[] = {t->name.len, t->type->id, t->dims[0], t->dims[1],
                                  t->dims[2],  t->dims[3],  t->n_dims};
        kl_sha256_update(&h, facts, sizeof facts);
        kl_sha256_update(&h, t->name.data, t->name.len);
        kl_sha256_update(&h, &d->digests[i], sizeof d->digests[i]);
    }
    kl_sha256_finish(&h, all.bytes);
    return all;
}

/* ---- remembering -----------------------------------------------------------------------------
 *
 *   kinglet index 1
 *   t DIGEST DEVICE INODE SIZE MODIFIED CHANGED NAME
 *   sum CHECKSUM
 *
 * The newest line is the last. The checksum covers everything before its line; an index that does
 * not match it counts as empty. */

#define HEAD        "kinglet index 1\n"
#define MAX_LINES   128
#define MAX_NAME    100
#define MAX_LINE    (2 + 2 * KL_DIGEST_SIZE + 1 + 5 * 21 + MAX_NAME + 2)
#define MAX_INDEX   (sizeof HEAD + (size_t)MAX_LINES * MAX_LINE + 32)
#define FULL_DIGITS ((size_t)2 * KL_DIGEST_SIZE)

/* The largest step of the clock from which the times of files come, nanoseconds. */
#define TICK INT64_C(20000000)

int64_t kl_digest_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Reads the index: returns its text without the checksum's line, which the caller frees, or NULL if
 * there is no valid index. */
static char *read_index(int dir)
{
    size_t len = 0;
    uint64_t sum = 0;
    char *text = malloc(MAX_INDEX);
    if (text == NULL ||
        kl_cache_file_get(dir, KL_DIGEST_INDEX, text, MAX_INDEX, &len, NULL) != KL_OK ||
        strlen(text) != len || strncmp(text, HEAD, strlen(HEAD)) != 0) {
        free(text);
        return NULL;
    }
    char *end = strstr(text, "\nsum ");
    if (end == NULL || sscanf(end, "\nsum %" SCNx64, &sum) != 1 ||
        sum != kl_hash64(text, (size_t)(end + 1 - text), 0)) {
        free(text);
        return NULL;
    }
    end[1] = '\0';
    memmove(text, text + strlen(HEAD), strlen(text + strlen(HEAD)) + 1);
    return text;
}

/* Writes the fields that follow the digest in the line of a file: " DEVICE INODE SIZE MODIFIED
 * CHANGED ". */
static size_t identity_text(const struct kl_file_identity *id, char *out, size_t size)
{
    return (size_t)snprintf(out, size,
                            " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64 " %" PRId64 " ",
                            id->device, id->inode, id->size, id->modified, id->changed);
}

static bool is_line_of(const char *line, enum kl_digest_kind kind, const char *identity, size_t len)
{
    return line[0] == (char)kind && line[1] == ' ' &&
           strspn(line + 2, "0123456789abcdef") == FULL_DIGITS &&
           strncmp(line + 2 + FULL_DIGITS, identity, len) == 0;
}

bool kl_digest_recall(const char *dir, const struct kl_mapped_file *file, enum kl_digest_kind kind,
                      struct kl_digest *digest)
{
    char identity[128];
    size_t len = identity_text(&file->identity, identity, sizeof identity);
    int fd;
    if (kl_cache_dir_open(dir, false, &fd, NULL) != KL_OK)
        return false;
    char *text = read_index(fd), *rest = text, *line, *found = NULL;
    close(fd);
    while (found == NULL && rest != NULL && (line = strsep(&rest, "\n")) != NULL) {
        if (is_line_of(line, kind, identity, len))
            found = line + 2;
    }
    for (size_t i = 0; found != NULL && i < KL_DIGEST_SIZE; i++) {
        unsigned byte = 0;
        sscanf(found + 2 * i, "%2x", &byte);
        digest->bytes[i] = (uint8_t)byte;
    }
    free(text);
    return found != NULL;
}

/* Copies the name of a file in a form that fits into a line of the index. */
static void copy_name(const char *path, char name[MAX_NAME + 1])
{
    const char *slash = strrchr(path, '/'), *from = slash != NULL ? slash + 1 : path;
    size_t n = 0;
    for (; from[n] != '\0' && n < MAX_NAME; n++)
        name[n] = from[n];
    /* not half a character */
    while (from[n] != '\0' && n > 0 && ((unsigned char)from[n] & 0xC0) == 0x80)
        n--;
    name[n] = '\0';
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)name[i] < ' ' || name[i] == 0x7F)
            name[i] = '?';
    }
}

/* Appends the lines of an index that are still valid: none of an earlier state of the same file,
 * and at most as many as there is room for, the newest. */
static size_t copy_lines(const char *text, enum kl_digest_kind kind,
                         const struct kl_file_identity *id, char *out)
{
    char same[64];
    size_t n_same =
        (size_t)snprintf(same, sizeof same, " %" PRIu64 " %" PRIu64 " ", id->device, id->inode);
    size_t n_lines = 0, used = 0;
    for (const char *c = text; *c != '\0'; c++)
        n_lines += *c == '\n';
    for (const char *line = text; *line != '\0'; n_lines--) {
        const char *end = strchr(line, '\n');
        size_t len = end != NULL ? (size_t)(end + 1 - line) : strlen(line);
        if (n_lines < MAX_LINES && len <= MAX_LINE && !is_line_of(line, kind, same, n_same)) {
            memcpy(out + used, line, len);
            used += len;
        }
        line += len;
    }
    return used;
}

/* Reads and writes the index under a lock, since another process may add a line at the same time.
 */
static enum kl_status add_line(int dir, enum kl_digest_kind kind, const struct kl_file_identity *id,
                               const char *line)
{
    static const char temporary[] = KL_DIGEST_INDEX ".tmp";
    int fd;
    enum kl_status status = kl_cache_file_create(dir, temporary, &fd, NULL);
    if (status != KL_OK)
        return status;
    char *old = read_index(dir), *text = malloc(MAX_INDEX);
    status = text != NULL ? KL_OK : KL_ERR_MEMORY;
    if (text != NULL) {
        size_t n = strlen(strcpy(text, HEAD));
        n += old != NULL ? copy_lines(old, kind, id, text + n) : 0;
        n += (size_t)snprintf(text + n, MAX_INDEX - n, "%s", line);
        n += (size_t)snprintf(text + n, MAX_INDEX - n, "sum %016" PRIx64 "\n",
                              kl_hash64(text, n, 0));
        status = kl_cache_write(fd, text, n, NULL);
    }
    if (status == KL_OK)
        status = kl_cache_file_keep(dir, fd, temporary, KL_DIGEST_INDEX, false, NULL);
    else
        (void)unlinkat(dir, temporary, 0);
    close(fd);
    free(old);
    free(text);
    return status;
}

void kl_digest_remember(const char *dir, const struct kl_mapped_file *file,
                        enum kl_digest_kind kind, const struct kl_digest *digest, int64_t since)
{
    char line[MAX_LINE + 1], name[MAX_NAME + 1];
    struct kl_file_identity now;
    int fd;
    if (file->identity.changed > since - TICK || !kl_mapped_file_identity(file, &now) ||
        memcmp(&now, &file->identity, sizeof now) != 0 ||
        kl_cache_dir_open(dir, true, &fd, NULL) != KL_OK)
        return;
    line[0] = (char)kind;
    line[1] = ' ';
    char *end = write_hex(digest->bytes, KL_DIGEST_SIZE, line + 2);
    end += identity_text(&file->identity, end, sizeof line - (size_t)(end - line));
    copy_name(file->path, name);
    snprintf(end, sizeof line - (size_t)(end - line), "%s\n", name);
    (void)add_line(fd, kind, &file->identity, line);
    close(fd);
}

void kl_digest_names(const char *dir, const char digits[KL_DIGEST_DIGITS], char *names, size_t size)
{
    names[0] = '\0';
    int fd;
    if (kl_cache_dir_open(dir, false, &fd, NULL) != KL_OK)
        return;
    char *text = read_index(fd), *rest = text, *line;
    close(fd);
    size_t used = 0;
    while (rest != NULL && (line = strsep(&rest, "\n")) != NULL) {
        if (strlen(line) < 2 + FULL_DIGITS || strncmp(line + 2, digits, KL_DIGEST_DIGITS) != 0)
            continue;
        char *name = line; /* after the seventh space */
        for (int i = 0; i < 7 && name != NULL; i++)
            name = (name = strchr(name, ' ')) != NULL ? name + 1 : NULL;
        if (name == NULL || strstr(names, name) != NULL || used + strlen(name) + 3 > size)
            continue;
        used += (size_t)snprintf(names + used, size - used, "%s%s", used > 0 ? ", " : "", name);
    }
    free(text);
}
