/* See peer.h. */
#include "tests/c/tls/peer.h"

#include <assert.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

static const EVP_MD *digest_of(const struct tp_tls_secrets *secrets)
{
    return strcmp(secrets->digest, "SHA384") == 0 ? EVP_sha384() : EVP_sha256();
}

static const EVP_CIPHER *cipher_of(enum tp_aead_algorithm algorithm)
{
    if (algorithm == TP_AEAD_AES_128_GCM)
        return EVP_aes_128_gcm();
    return algorithm == TP_AEAD_AES_256_GCM ? EVP_aes_256_gcm() : EVP_chacha20_poly1305();
}

static size_t key_size_of(const struct peer *peer)
{
    return (size_t)EVP_CIPHER_get_key_length(cipher_of(peer->algorithm));
}

/* ---- keys ---- */

/* HKDF-Expand-Label of at most one hash length: T(1) = HMAC(secret, label || 0x01). */
static void expand_label(const struct peer *peer, const uint8_t *secret, const char *label,
                         uint8_t *out, size_t out_size)
{
    const EVP_MD *digest = peer->secret_size == 48 ? EVP_sha384() : EVP_sha256();
    uint8_t info[64];
    size_t size = strlen(label);
    info[0] = 0;
    info[1] = (uint8_t)out_size;
    info[2] = (uint8_t)(6 + size);
    memcpy(info + 3, "tls13 ", 6);
    memcpy(info + 9, label, size);
    info[9 + size] = 0;
    info[10 + size] = 1;
    uint8_t block[EVP_MAX_MD_SIZE];
    unsigned block_size = 0;
    HMAC(digest, secret, (int)peer->secret_size, info, 11 + size, block, &block_size);
    assert(out_size <= block_size);
    memcpy(out, block, out_size);
}

static void derive_13(const struct peer *peer, struct peer_direction *direction)
{
    expand_label(peer, direction->secret, "key", direction->key, key_size_of(peer));
    expand_label(peer, direction->secret, "iv", direction->iv, sizeof direction->iv);
}

void peer_update(const struct peer *peer, struct peer_direction *direction)
{
    uint8_t next[48];
    expand_label(peer, direction->secret, "traffic upd", next, peer->secret_size);
    memcpy(direction->secret, next, peer->secret_size);
    direction->sequence = 0;
    derive_13(peer, direction);
}

/* P_hash of RFC 5246 5 over "key expansion" || server_random || client_random. */
static void derive_12(struct peer *peer, const struct tp_tls_secrets *secrets)
{
    const EVP_MD *digest = digest_of(secrets);
    uint8_t seed[13 + 64];
    memcpy(seed, "key expansion", 13);
    memcpy(seed + 13, secrets->server_random, 32);
    memcpy(seed + 45, secrets->client_random, 32);
    uint8_t a[EVP_MAX_MD_SIZE + sizeof seed];
    unsigned size = 0;
    HMAC(digest, secrets->master, 48, seed, sizeof seed, a, &size);
    uint8_t block[256];
    size_t made = 0;
    while (made < 128) {
        memcpy(a + size, seed, sizeof seed);
        HMAC(digest, secrets->master, 48, a, size + sizeof seed, block + made, NULL);
        made += size;
        uint8_t next[EVP_MAX_MD_SIZE];
        HMAC(digest, secrets->master, 48, a, size, next, NULL);
        memcpy(a, next, size);
    }
    size_t key_size = key_size_of(peer);
    size_t iv_size = peer->algorithm == TP_AEAD_CHACHA20_POLY1305 ? 12 : 4;
    memcpy(peer->client.key, block, key_size);
    memcpy(peer->server.key, block + key_size, key_size);
    memcpy(peer->client.iv, block + 2 * key_size, iv_size);
    memcpy(peer->server.iv, block + 2 * key_size + iv_size, iv_size);
}

struct tp_tls_secrets peer_secrets(bool tls13, enum tp_aead_algorithm algorithm, uint8_t seed)
{
    struct tp_tls_secrets secrets = {.tls13 = tls13, .algorithm = algorithm, .records_read = 1};
    secrets.digest = algorithm == TP_AEAD_AES_256_GCM ? "SHA384" : "SHA256";
    secrets.secret_size = algorithm == TP_AEAD_AES_256_GCM ? 48 : 32;
    for (size_t i = 0; i < sizeof secrets.master; i++) {
        secrets.client[i] = (uint8_t)(seed + i);
        secrets.server[i] = (uint8_t)(seed + 3 * i + 1);
        secrets.master[i] = (uint8_t)(seed + 5 * i + 2);
    }
    memset(secrets.client_random, seed + 7, sizeof secrets.client_random);
    memset(secrets.server_random, seed + 9, sizeof secrets.server_random);
    return secrets;
}

void peer_init(struct peer *peer, const struct tp_tls_secrets *secrets)
{
    memset(peer, 0, sizeof *peer);
    peer->tls13 = secrets->tls13;
    peer->algorithm = secrets->algorithm;
    peer->secret_size = secrets->secret_size;
    memcpy(peer->server.secret, secrets->server, sizeof peer->server.secret);
    memcpy(peer->client.secret, secrets->client, sizeof peer->client.secret);
    if (peer->tls13) {
        derive_13(peer, &peer->server);
        derive_13(peer, &peer->client);
    } else {
        derive_12(peer, secrets);
        peer->server.sequence = peer->client.sequence = 1;
    }
}

/* ---- records ---- */

static size_t explicit_size(const struct peer *peer)
{
    return !peer->tls13 && peer->algorithm != TP_AEAD_CHACHA20_POLY1305 ? 8 : 0;
}

static void number(uint64_t value, uint8_t out[8])
{
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)(value >> (56 - 8 * i));
}

static void nonce_of(const struct peer *peer, const struct peer_direction *direction,
                     const uint8_t *explicit_nonce, uint8_t nonce[12])
{
    uint8_t sequence[8];
    number(direction->sequence, sequence);
    memcpy(nonce, direction->iv, 12);
    for (int i = 0; i < 8; i++)
        nonce[4 + i] = explicit_size(peer) != 0 ? explicit_nonce[i] : nonce[4 + i] ^ sequence[i];
}

static size_t aad_of(const struct peer *peer, const struct peer_direction *direction,
                     const uint8_t *header, uint8_t aad[13])
{
    if (peer->tls13) {
        memcpy(aad, header, 5);
        return 5;
    }
    size_t size = ((size_t)header[3] << 8 | header[4]) - explicit_size(peer) - 16;
    number(direction->sequence, aad);
    memcpy(aad + 8, header, 3);
    aad[11] = (uint8_t)(size >> 8);
    aad[12] = (uint8_t)size;
    return 13;
}

size_t peer_seal(struct peer *peer, uint8_t type, struct tp_span plaintext, size_t padding,
                 uint8_t *out)
{
    static uint8_t inner[PEER_RECORD_SIZE_MAX];
    size_t size = plaintext.size;
    if (size > 0)
        memcpy(inner, plaintext.data, size);
    if (peer->tls13) {
        inner[size++] = type;
        memset(inner + size, 0, padding);
        size += padding;
    }
    size_t body_size = explicit_size(peer) + size + 16;
    assert(body_size + 5 <= PEER_RECORD_SIZE_MAX);
    uint8_t header[5] = {peer->tls13 ? 23 : type, 3, 3, (uint8_t)(body_size >> 8),
                         (uint8_t)body_size};
    memcpy(out, header, 5);
    uint8_t *body = out + 5;
    if (explicit_size(peer) != 0)
        number(~peer->server.sequence, body); /* a server may choose it freely */
    uint8_t nonce[12];
    uint8_t aad[13];
    int written = 0;
    nonce_of(peer, &peer->server, body, nonce);
    size_t aad_size = aad_of(peer, &peer->server, out, aad);
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    EVP_EncryptInit_ex(cipher, cipher_of(peer->algorithm), NULL, peer->server.key, nonce);
    EVP_EncryptUpdate(cipher, NULL, &written, aad, (int)aad_size);
    EVP_EncryptUpdate(cipher, body + explicit_size(peer), &written, inner, (int)size);
    EVP_EncryptFinal_ex(cipher, body + explicit_size(peer) + size, &written);
    EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, 16, body + explicit_size(peer) + size);
    EVP_CIPHER_CTX_free(cipher);
    peer->server.sequence++;
    return 5 + body_size;
}

static bool decrypt(const struct peer *peer, struct peer_direction *direction,
                    const uint8_t *record, uint8_t *out)
{
    size_t size = (size_t)record[3] << 8 | record[4];
    const uint8_t *body = record + 5 + explicit_size(peer);
    size -= explicit_size(peer) + 16;
    uint8_t nonce[12];
    uint8_t aad[13];
    uint8_t tag[16];
    int written = 0;
    nonce_of(peer, direction, record + 5, nonce);
    size_t aad_size = aad_of(peer, direction, record, aad);
    memcpy(tag, body + size, 16);
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    EVP_DecryptInit_ex(cipher, cipher_of(peer->algorithm), NULL, direction->key, nonce);
    EVP_DecryptUpdate(cipher, NULL, &written, aad, (int)aad_size);
    EVP_DecryptUpdate(cipher, out, &written, body, (int)size);
    EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_SET_TAG, 16, tag);
    bool ok = EVP_DecryptFinal_ex(cipher, out + size, &written) == 1;
    EVP_CIPHER_CTX_free(cipher);
    return ok;
}

int peer_open(struct peer *peer, struct tp_span *in, uint8_t *out, size_t *size)
{
    size_t overhead = explicit_size(peer) + 16;
    if (in->size < 5)
        return -1;
    size_t body_size = (size_t)in->data[3] << 8 | in->data[4];
    if (in->size < 5 + body_size || body_size < overhead ||
        !decrypt(peer, &peer->client, in->data, out))
        return -1;
    *size = body_size - overhead;
    int type = in->data[0];
    if (peer->tls13) {
        while (*size > 0 && out[*size - 1] == 0)
            --*size;
        type = *size > 0 ? out[--*size] : 0;
    }
    in->data += 5 + body_size;
    in->size -= 5 + body_size;
    peer->client.sequence++;
    return type;
}
