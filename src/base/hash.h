/*
 * Hashes. SHA-256 (FIPS 180-4) proves what was downloaded; the 64-bit hash keys our own tables and
 * checksums our own files (not against an attacker: FNV-1a over 8-byte words with a final mix).
 */
#ifndef KL_BASE_HASH_H
#define KL_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

struct kl_sha256 {
    uint32_t state[8];
    uint64_t length; /* bytes so far */
    uint8_t block[64];
};

void kl_sha256_init(struct kl_sha256 *h);
void kl_sha256_update(struct kl_sha256 *h, const void *data, size_t len);
/* The digest, 32 bytes. h is used up. */
void kl_sha256_finish(struct kl_sha256 *h, uint8_t digest[32]);
/* The same as 64 lower-case hex digits and a NUL. */
void kl_sha256_finish_hex(struct kl_sha256 *h, char hex[65]);

/* seed: 0, or an earlier result to continue from. */
uint64_t kl_hash64(const void *data, size_t len, uint64_t seed);

#endif
