#include "load/file_facts.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/foreign_text.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mapped_file.h"
#include "base/paths.h"
#include "base/split_name.h"
#include "base/thread.h"
#include "format/digest.h"

#define PIECE ((size_t)1 << 20)

static void copy_text(const struct kl_gguf *gguf, const char *key, char *out, size_t size)
{
    struct kl_gguf_string text;
    struct kl_error ignored;
    if (kl_gguf_string(gguf, key, &text, &ignored) == KL_OK)
        kl_foreign_line(text.data, text.len, out, size);
}

/* The names that llama.cpp gives to values of general.file_type (enum llama_ftype). */
static const char *file_type_name(uint64_t type)
{
    static const char *const names[] = {
        [0] = "F32",      [1] = "F16",      [2] = "Q4_0",    [3] = "Q4_1",    [7] = "Q8_0",
        [8] = "Q5_0",     [9] = "Q5_1",     [10] = "Q2_K",   [11] = "Q3_K_S", [12] = "Q3_K_M",
        [13] = "Q3_K_L",  [14] = "Q4_K_S",  [15] = "Q4_K_M", [16] = "Q5_K_S", [17] = "Q5_K_M",
        [18] = "Q6_K",    [19] = "IQ2_XXS", [20] = "IQ2_XS", [21] = "Q2_K_S", [22] = "IQ3_XS",
        [23] = "IQ3_XXS", [24] = "IQ1_S",   [25] = "IQ4_NL", [26] = "IQ3_S",  [27] = "IQ3_M",
        [28] = "IQ2_S",   [29] = "IQ2_M",   [30] = "IQ4_XS", [31] = "IQ1_M",  [32] = "BF16",
        [36] = "TQ1_0",   [37] = "TQ2_0",
    };
    bool known = type < sizeof names / sizeof names[0] && names[type] != NULL;
    return known ? names[type] : "unknown";
}

static uint64_t count_parameters(const struct kl_gguf *gguf)
{
    uint64_t n = 0;
    for (size_t i = 0; i < kl_gguf_n_tensors(gguf); i++) {
        const struct kl_gguf_tensor *t = kl_gguf_tensor_at(gguf, i);
        n += t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
    }
    return n;
}

static void write_hex(const uint8_t *bytes, char hex[65])
{
    for (size_t i = 0; i < KL_DIGEST_SIZE; i++)
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
}

/* Writes the SHA-256 of the file, if the catalogue has it or an earlier start computed it. */
static bool recall_digest(const struct kl_loaded *l, char hex[65])
{
    struct kl_digest digest;
    if (l->location.entry != NULL) {
        snprintf(hex, 65, "%s", l->location.entry->sha256);
        return true;
    }
    if (l->packed_dir[0] == '\0' ||
        !kl_digest_recall(l->packed_dir, kl_gguf_file(l->gguf), KL_DIGEST_FILE, &digest))
        return false;
    write_hex(digest.bytes, hex);
    return true;
}

/* The advice of the file, under the names of llama.cpp; where it has none that of the catalogue,
 * and for other models that for Qwen2.5: without the penalty models of this size start to repeat
 * themselves. */
static struct kl_sampling_advice read_advice(const struct kl_loaded *l)
{
    static const struct kl_sampling_advice usual = {
        .temperature = 0.7, .top_p = 0.8, .top_k = 20, .repetition_penalty = 1.1};
    struct kl_sampling_advice advice = l->location.entry ? l->location.entry->advice : usual;
    struct kl_error ignored; /* a value that is missing or senseless changes nothing */
    kl_gguf_f64(l->gguf, "general.sampling.temp", 0, 2, &advice.temperature, &ignored);
    kl_gguf_f64(l->gguf, "general.sampling.top_p", 0, 1, &advice.top_p, &ignored);
    kl_gguf_u64(l->gguf, "general.sampling.top_k", 0, 1 << 20, &advice.top_k, &ignored);
    kl_gguf_f64(l->gguf, "general.sampling.penalty_repeat", 1, 2, &advice.repetition_penalty,
                &ignored);
    return advice;
}

void kl_file_facts_read(const struct kl_loaded *l, struct kl_model_facts *facts)
{
    const struct kl_config *config = kl_model_config(l->model);
    struct kl_digest digest = {{0}};
    struct kl_error ignored;
    *facts = (struct kl_model_facts){
        .n_parameters = count_parameters(l->gguf),
        .n_layers = config->n_layers,
        .n_embd = config->n_embd,
        .n_ff = config->n_ff,
        .n_heads = config->n_heads,
        .n_kv_heads = config->n_kv_heads,
        .n_vocab = config->n_vocab,
        .n_ctx_train = config->n_ctx_train,
        .advice = read_advice(l),
        .for_embeddings = config->has_pooling,
        .only_embeds = kl_load_only_embeds(l),
    };
    snprintf(facts->architecture, sizeof facts->architecture, "%s", config->architecture);
    copy_text(l->gguf, "general.basename", facts->basename, sizeof facts->basename);
    copy_text(l->gguf, "general.license", facts->license, sizeof facts->license);
    if (kl_gguf_u64(l->gguf, "general.file_type", 0, UINT32_MAX, &facts->file_type, &ignored) !=
        KL_OK)
        facts->file_type = UINT32_MAX;
    snprintf(facts->quantization, sizeof facts->quantization, "%s",
             file_type_name(facts->file_type));
    bool known = recall_digest(l, facts->digests[1]);
    if (l->packed_dir[0] != '\0')
        kl_digest_recall(l->packed_dir, kl_gguf_file(l->gguf), KL_DIGEST_TENSORS, &digest);
    write_hex(digest.bytes, facts->digests[0]);
    atomic_init(&facts->digest, facts->digests[known ? 1 : 0]);
}

/* Adds all bytes of a file that is open. Returns false if it cannot be read, or *stop. */
static bool hash_file(int fd, struct kl_sha256 *hash, const _Atomic(bool) *stop)
{
    char *piece = malloc(PIECE);
    off_t at = 0;
    ssize_t n = 1;
    if (piece == NULL)
        return false;
    while (n > 0 && !atomic_load(stop)) {
        n = pread(fd, piece, PIECE, at);
        if (n < 0 && errno == EINTR) {
            n = 1;
            continue;
        }
        if (n > 0) {
            kl_sha256_update(hash, piece, (size_t)n);
            posix_fadvise(fd, at, n, POSIX_FADV_DONTNEED);
            at += n;
        }
    }
    free(piece);
    return n == 0 && !atomic_load(stop);
}

/* Hashes all files of a model. */
static bool hash_parts(const struct kl_mapped_file *file, struct kl_sha256 *hash,
                       const _Atomic(bool) *stop)
{
    bool ok = true;
    kl_sha256_init(hash);
    for (size_t i = 0; i < kl_mapped_file_count(file) && ok; i++)
        ok = hash_file(kl_mapped_file_part(file, i).fd, hash, stop);
    return ok;
}

/* Opens all files of a model as their names say. Their content is only read: a file that nothing
 * uses may become shorter at any time, and its mapping would raise SIGBUS then. */
static bool open_files(const char *path, struct kl_mapped_file *file)
{
    struct kl_split_name split;
    struct kl_error ignored;
    if (!kl_split_name_read(path, &split))
        return kl_mapped_file_open(file, path, &ignored) == KL_OK && file->size > 0;
    char **paths = split.count <= KL_MAX_PARTS ? kl_split_name_all(path, &split) : NULL;
    bool ok = paths != NULL && kl_mapped_file_join(file, paths, split.count, &ignored) == KL_OK;
    free(paths);
    return ok;
}

void kl_file_facts_digest(const struct kl_model_location *where, struct kl_model_facts *facts,
                          const _Atomic(bool) *stop)
{
    struct kl_digest digest;
    struct kl_sha256 hash;
    int64_t since = kl_digest_now();
    if (atomic_load(&facts->digest) == facts->digests[1])
        return;
    kl_thread_lower_priority();
    struct kl_mapped_file file = {0};
    struct kl_error ignored;
    char dir[PATH_MAX];
    if (open_files(where->path, &file) && hash_parts(&file, &hash, stop)) {
        kl_sha256_finish(&hash, digest.bytes);
        write_hex(digest.bytes, facts->digests[1]);
        atomic_store(&facts->digest, facts->digests[1]);
        if (kl_cache_path("packed", dir, sizeof dir, &ignored) == KL_OK)
            kl_digest_remember(dir, &file, KL_DIGEST_FILE, &digest, since);
    }
    kl_mapped_file_close(&file);
}
