/* See key_schedule.h. */
#include "netstack/tls/key_schedule.h"

#include <assert.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>

#define GCM_SALT_SIZE 4 /* RFC 5288 3 */

static bool derive(const char *kdf_name, const OSSL_PARAM params[], uint8_t *out, size_t out_size)
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, kdf_name, NULL);
    EVP_KDF_CTX *context = kdf != NULL ? EVP_KDF_CTX_new(kdf) : NULL;
    bool ok = context != NULL && EVP_KDF_derive(context, out, out_size, params) == 1;
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(kdf);
    return ok;
}

/* OSSL_PARAM wants non-const pointers for inputs that it only reads. */
static OSSL_PARAM octets(const char *name, const void *data, size_t size)
{
    return OSSL_PARAM_construct_octet_string(name, (void *)(uintptr_t)data, size);
}

static OSSL_PARAM text(const char *name, const char *value)
{
    return OSSL_PARAM_construct_utf8_string(name, (char *)(uintptr_t)value, 0);
}

bool tp_tls13_expand_label(const char *digest, struct tp_span secret, const char *label,
                           uint8_t *out, size_t out_size)
{
    int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
        text(OSSL_KDF_PARAM_DIGEST, digest),
        octets(OSSL_KDF_PARAM_KEY, secret.data, secret.size),
        octets(OSSL_KDF_PARAM_PREFIX, "tls13 ", 6),
        octets(OSSL_KDF_PARAM_LABEL, label, strlen(label)),
        OSSL_PARAM_construct_end(),
    };
    return derive("TLS13-KDF", params, out, out_size);
}

bool tp_tls13_keys(const char *digest, struct tp_span secret, size_t key_size,
                   struct tp_tls_keys *keys)
{
    assert(key_size <= sizeof keys->key);
    return tp_tls13_expand_label(digest, secret, "key", keys->key, key_size) &&
           tp_tls13_expand_label(digest, secret, "iv", keys->iv, sizeof keys->iv);
}

/* RFC 5246 6.3: client key, server key, client IV, server IV. An AEAD suite has no MAC keys. */
bool tp_tls12_keys(const struct tp_tls_secrets *secrets, struct tp_tls_keys *client,
                   struct tp_tls_keys *server)
{
    size_t key_size = tp_aead_key_size(secrets->algorithm);
    size_t iv_size = secrets->algorithm == TP_AEAD_CHACHA20_POLY1305 ? TP_AEAD_NONCE_SIZE
                                                                     : (size_t)GCM_SALT_SIZE;
    uint8_t block[2 * (TP_AEAD_KEY_SIZE_MAX + TP_AEAD_NONCE_SIZE)] = {0};
    OSSL_PARAM params[] = {
        text(OSSL_KDF_PARAM_DIGEST, secrets->digest),
        octets(OSSL_KDF_PARAM_SECRET, secrets->master, sizeof secrets->master),
        octets(OSSL_KDF_PARAM_SEED, "key expansion", 13),
        octets(OSSL_KDF_PARAM_SEED, secrets->server_random, TP_TLS_RANDOM_SIZE),
        octets(OSSL_KDF_PARAM_SEED, secrets->client_random, TP_TLS_RANDOM_SIZE),
        OSSL_PARAM_construct_end(),
    };
    bool ok = derive("TLS1-PRF", params, block, 2 * (key_size + iv_size));
    memcpy(client->key, block, key_size);
    memcpy(server->key, block + key_size, key_size);
    memcpy(client->iv, block + 2 * key_size, iv_size);
    memcpy(server->iv, block + 2 * key_size + iv_size, iv_size);
    OPENSSL_cleanse(block, sizeof block);
    return ok;
}
