/*
 * Hashes: SHA-256 (FIPS 180-4), which names and verifies content, and a 64-bit hash (FNV-1a over
 * 8-byte words with a final mix) for hash tables and for checksums of files that the program wrote.
 * The latter does not resist an attacker.
 *
 * Storage of the caller's, no errors; one thread at a time per struct.
 */
#ifndef KL_BASE_HASH_H
#define KL_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

struct kl_sha256 {
    uint32_t state[8];
    uint64_t length; /* bytes hashed so far */
    uint8_t block[64];
};

void kl_sha256_init(struct kl_sha256 *h);
void kl_sha256_update(struct kl_sha256 *h, const void *data, size_t len);
/* Writes the digest. h must be initialised again before further use. */
void kl_sha256_finish(struct kl_sha256 *h, uint8_t digest[32]);
/* Writes the digest as 64 lower-case hex digits and a NUL. */
void kl_sha256_finish_hex(struct kl_sha256 *h, char hex[65]);

/* seed: 0, or the hash of the preceding data. */
uint64_t kl_hash64(const void *data, size_t len, uint64_t seed);

#endif
