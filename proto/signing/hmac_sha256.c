/* See hmac_sha256.h. */
/* SHA256_CTX is deprecated for what replaces it; the header says why it is used. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "proto/signing/hmac_sha256.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <string.h>

static_assert(sizeof(SHA256_CTX) == sizeof(struct tp_sha256), "it is kept in one");

static void absorb(struct tp_sha256 *state, const void *data, size_t size)
{
    SHA256_CTX context;
    memcpy(&context, state, sizeof context);
    SHA256_Update(&context, data, size);
    memcpy(state, &context, sizeof context);
}

static void begin(struct tp_sha256 *state, const uint8_t block[SHA256_CBLOCK], uint8_t pad)
{
    SHA256_CTX context;
    uint8_t padded[SHA256_CBLOCK];
    for (int i = 0; i < SHA256_CBLOCK; i++)
        padded[i] = block[i] ^ pad;
    SHA256_Init(&context);
    SHA256_Update(&context, padded, sizeof padded);
    memcpy(state, &context, sizeof context);
    OPENSSL_cleanse(padded, sizeof padded);
    OPENSSL_cleanse(&context, sizeof context);
}

void tp_hmac_key_init(struct tp_hmac_key *key, const uint8_t *secret, uint32_t secret_size)
{
    uint8_t block[SHA256_CBLOCK] = {0};
    if (secret_size > SHA256_CBLOCK)
        SHA256(secret, secret_size, block);
    else if (secret_size != 0)
        memcpy(block, secret, secret_size);
    begin(&key->inner, block, 0x36);
    begin(&key->outer, block, 0x5c);
    OPENSSL_cleanse(block, sizeof block);
}

void tp_hmac_key_wipe(struct tp_hmac_key *key)
{
    OPENSSL_cleanse(key, sizeof *key);
}

void tp_hmac_absorb(struct tp_sha256 *state, const char *text, uint32_t size)
{
    absorb(state, text, size);
}

void tp_hmac_sign(const struct tp_hmac_key *key, const struct tp_sha256 *state, const char *rest,
                  uint32_t rest_size, char hex[TP_SHA256_HEX_SIZE])
{
    SHA256_CTX context;
    uint8_t digest[SHA256_DIGEST_LENGTH];
    memcpy(&context, state, sizeof context);
    SHA256_Update(&context, rest, rest_size);
    SHA256_Final(digest, &context);
    memcpy(&context, &key->outer, sizeof context);
    SHA256_Update(&context, digest, sizeof digest);
    SHA256_Final(digest, &context);
    for (int i = 0; i < SHA256_DIGEST_LENGTH; i++) {
        hex[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }
}
