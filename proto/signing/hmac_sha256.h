/* HMAC-SHA256 of requests: all that does not change is absorbed once, at start.
 *
 * The key's two states (RFC 2104, section 4), then the state behind a constant prefix of the text.
 * What is left of a signature are the blocks of what changes, and one for the outer hash. The hash
 * is OpenSSL's, by its SHA256_CTX, whose copy is a copy of 112 bytes. The newer EVP_MD_CTX_copy_ex
 * allocates, and costs 30 ns more a signature (measured 2026-12-01: 161, 188 and, HMAC_Init_ex of a
 * kept context, 195 ns for 136 bytes).
 *
 * Called by: proto/venues/<venue>/orders.c. Any thread; states are read, never written, once made.
 * Vectors: RFC 4231 and those that venues publish, tests/unit/test_signing.py. */
#ifndef TP_PROTO_HMAC_SHA256_H
#define TP_PROTO_HMAC_SHA256_H
#include <stdint.h>

enum { TP_SHA256_WORDS = 14, TP_SHA256_HEX_SIZE = 64 };

/* A hash in progress: OpenSSL's SHA256_CTX, whose header is not needed here. */
struct tp_sha256 {
    uint64_t words[TP_SHA256_WORDS];
};

struct tp_hmac_key {
    struct tp_sha256 inner, outer;
};

void tp_hmac_key_init(struct tp_hmac_key *key, const uint8_t *secret, uint32_t secret_size);
/* Leaves nothing of the secret. */
void tp_hmac_key_wipe(struct tp_hmac_key *key);
/* The state behind so much more of the text, for all texts that begin so. */
void tp_hmac_absorb(struct tp_sha256 *state, const char *text, uint32_t size);
/* The signature of what `state` absorbed, beginning at key->inner, and of this rest of the text, in
 * lower-case hexadecimal. */
void tp_hmac_sign(const struct tp_hmac_key *key, const struct tp_sha256 *state, const char *rest,
                  uint32_t rest_size, char hex[TP_SHA256_HEX_SIZE]);
#endif
