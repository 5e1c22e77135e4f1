/*
 * What a model file holds, as SHA-256: of the data of all its tensors, or of its vocabulary. Names,
 * links, copies and other metadata do not change them, so files that are made from the same content
 * are shared, and a file made to look like another is not taken for it.
 *
 * Computing one reads all it covers. So the result is remembered in `index`, a small text file in
 * the directory of what is made from models: a line for each file and kind. What a line says holds
 * only as long as device, inode, size and times of the file are those of the line.
 */
#ifndef KL_FORMAT_DIGEST_H
#define KL_FORMAT_DIGEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/pool.h"
#include "format/gguf.h"

#define KL_DIGEST_SIZE   32
#define KL_DIGEST_INDEX  "index" /* the name of the file */
#define KL_DIGEST_DIGITS 32      /* in names: half of it */

struct kl_digest {
    uint8_t bytes[KL_DIGEST_SIZE];
};

/* The first KL_DIGEST_DIGITS hexadecimal digits and a NUL. */
void kl_digest_text(const struct kl_digest *digest, char text[KL_DIGEST_DIGITS + 1]);

/* ---- computing ------------------------------------------------------------------------------- */

/* Of the arrays that the tokenizer's tables are made of. KL_ERR_NOT_FOUND or KL_ERR_FORMAT: they
 * are not all there. */
enum kl_status kl_digest_vocabulary(const struct kl_gguf *gguf, struct kl_digest *digest,
                                    struct kl_error *err);

/* Of all tensors, in any order, while they are read for something else anyway. */
struct kl_tensor_digests {
    const struct kl_gguf *gguf;
    struct kl_digest *digests; /* [n] */
    bool *done;                /* [n] */
    int64_t since;             /* when reading began, nanoseconds since 1970 */
};
enum kl_status kl_tensor_digests_init(struct kl_tensor_digests *d, const struct kl_gguf *gguf,
                                      struct kl_error *err);
void kl_tensor_digests_release(struct kl_tensor_digests *d);
/* Reads one tensor; nothing where that was done. */
void kl_tensor_digests_add(struct kl_tensor_digests *d, const struct kl_gguf_tensor *tensor,
                           struct kl_pool *pool);
/* The digest of the file; all tensors must have been added. */
struct kl_digest kl_tensor_digests_all(const struct kl_tensor_digests *d);

/* ---- remembering ----------------------------------------------------------------------------- */

enum kl_digest_kind { KL_DIGEST_TENSORS = 't', KL_DIGEST_VOCABULARY = 'v' };

/* dir: the directory of the index. false: it is not known. */
bool kl_digest_recall(const char *dir, const struct kl_mapped_file *file, enum kl_digest_kind kind,
                      struct kl_digest *digest);

/* Remembers a digest of a file whose reading began at `since`. Not where the file has changed
 * meanwhile, or so shortly before that a further change might not show in its times; that it cannot
 * be written is no failure: then it is computed again. */
void kl_digest_remember(const char *dir, const struct kl_mapped_file *file,
                        enum kl_digest_kind kind, const struct kl_digest *digest, int64_t since);
int64_t kl_digest_now(void); /* for `since` */

/* The names (without their directories) of the files that had content with these first digits, as
 * they were when it was remembered: "a.gguf, b.gguf", as many as fit; empty: not known. */
void kl_digest_names(const char *dir, const char digits[KL_DIGEST_DIGITS], char *names,
                     size_t size);

#endif
