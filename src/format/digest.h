/*
 * SHA-256 digests that name the content of a model file: of the data of all its tensors, or of its
 * vocabulary, or of all its bytes. Names, links, copies and other metadata do not change them, so
 * files that kinglet makes from the same content are shared, and a file made to look like another
 * is not mistaken for it.
 *
 * To compute a digest, all content that it covers has to be read. So digests are remembered in
 * `index`, a small text file in the directory of files made from models: one line for each file and
 * kind. A line is valid only while device, inode, size and times of the file are those in the line.
 *
 * Any thread may call these functions; a struct kl_tensor_digests is used by one at a time. Does
 * not decide what is made from the content, or where it is kept.
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
#define KL_DIGEST_DIGITS 32      /* hexadecimal digits in names: half of the digest */

struct kl_digest {
    uint8_t bytes[KL_DIGEST_SIZE];
};

/* Writes the first KL_DIGEST_DIGITS hexadecimal digits and a NUL. */
void kl_digest_text(const struct kl_digest *digest, char text[KL_DIGEST_DIGITS + 1]);

/* ---- computing ------------------------------------------------------------------------------- */

/* The digest of the arrays from which the tokenizer's tables are made. KL_ERR_NOT_FOUND: one of
 * them is missing; KL_ERR_FORMAT: one has another type. */
enum kl_status kl_digest_vocabulary(const struct kl_gguf *gguf, struct kl_digest *digest,
                                    struct kl_error *err);

/* The digest of all tensors, which are added in any order, while they are read for another purpose
 * anyway. */
struct kl_tensor_digests {
    const struct kl_gguf *gguf;
    struct kl_digest *digests; /* [n_tensors], owned */
    bool *done;                /* [n_tensors], owned */
    int64_t since;             /* when reading began, nanoseconds since 1970 */
};
enum kl_status kl_tensor_digests_init(struct kl_tensor_digests *d, const struct kl_gguf *gguf,
                                      struct kl_error *err);
void kl_tensor_digests_release(struct kl_tensor_digests *d);
/* Reads one tensor with the threads of the pool; does nothing if it was added before. */
void kl_tensor_digests_add(struct kl_tensor_digests *d, const struct kl_gguf_tensor *tensor,
                           struct kl_pool *pool);
/* The digest of the file; all tensors must have been added. */
struct kl_digest kl_tensor_digests_all(const struct kl_tensor_digests *d);

/* ---- remembering ----------------------------------------------------------------------------- */

enum kl_digest_kind {
    KL_DIGEST_TENSORS = 't',
    KL_DIGEST_VOCABULARY = 'v',
    KL_DIGEST_FILE = 'f' /* all bytes */
};

/* Looks a file up in the index of directory dir. Returns false if its digest is not known. */
bool kl_digest_recall(const char *dir, const struct kl_mapped_file *file, enum kl_digest_kind kind,
                      struct kl_digest *digest);

/* Remembers the digest of a file whose reading began at `since`; does nothing if the file has
 * changed since then, or so shortly before that another change might not show in its times. If the
 * index cannot be written, the digest is computed again next time. */
void kl_digest_remember(const char *dir, const struct kl_mapped_file *file,
                        enum kl_digest_kind kind, const struct kl_digest *digest, int64_t since);
int64_t kl_digest_now(void); /* nanoseconds since 1970, for `since` */

/* Writes the names (without their directories) of the files whose content had a digest with these
 * first digits when it was remembered: "a.gguf, b.gguf", as many as fit; "" if none is known. */
void kl_digest_names(const char *dir, const char digits[KL_DIGEST_DIGITS], char *names,
                     size_t size);

#endif
