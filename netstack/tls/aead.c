/* See aead.h. Two engines, chosen per key at init: aead->evp set, or libipsec-mb's function table.
 *
 * libipsec-mb's direct API returns nothing and takes no locks; it cannot fail on valid pointers.
 * EVP calls can, so each step is folded into aead->failed and told by the last one. */
#include "netstack/tls/aead.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <string.h>

static const char *const EVP_NAMES[] = {
    [TP_AEAD_AES_128_GCM] = "AES-128-GCM",
    [TP_AEAD_AES_256_GCM] = "AES-256-GCM",
    [TP_AEAD_CHACHA20_POLY1305] = "ChaCha20-Poly1305",
};

size_t tp_aead_key_size(enum tp_aead_algorithm algorithm)
{
    return algorithm == TP_AEAD_AES_128_GCM ? 16 : 32;
}

/* ---- libcrypto ---- */

static bool evp_init(struct tp_aead *aead, const uint8_t *key, bool seals)
{
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, EVP_NAMES[aead->algorithm], NULL);
    aead->evp = EVP_CIPHER_CTX_new();
    bool ok =
        cipher != NULL && aead->evp != NULL &&
        EVP_CipherInit_ex2(aead->evp, cipher, key, NULL, seals ? 1 : 0, NULL) == 1 &&
        EVP_CIPHER_CTX_ctrl(aead->evp, EVP_CTRL_AEAD_SET_IVLEN, TP_AEAD_NONCE_SIZE, NULL) == 1;
    EVP_CIPHER_free(cipher);
    return ok;
}

static void evp_begin(struct tp_aead *aead, const uint8_t *nonce, struct tp_span aad)
{
    int written = 0;
    aead->failed = EVP_CipherInit_ex2(aead->evp, NULL, NULL, nonce, -1, NULL) != 1 ||
                   EVP_CipherUpdate(aead->evp, NULL, &written, aad.data, (int)aad.size) != 1;
}

static void evp_update(struct tp_aead *aead, struct tp_span piece, uint8_t *out)
{
    int written = 0;
    aead->failed = aead->failed ||
                   EVP_CipherUpdate(aead->evp, out, &written, piece.data, (int)piece.size) != 1;
}

static bool evp_open_finish(struct tp_aead *aead, const uint8_t *tag)
{
    uint8_t none[TP_AEAD_TAG_SIZE];
    int written = 0;
    /* The ctrl only copies the tag in; its parameter is not const for historical reasons. */
    return !aead->failed &&
           EVP_CIPHER_CTX_ctrl(aead->evp, EVP_CTRL_AEAD_SET_TAG, TP_AEAD_TAG_SIZE,
                               (void *)(uintptr_t)tag) == 1 &&
           EVP_CipherFinal_ex(aead->evp, none, &written) == 1;
}

static bool evp_seal_finish(struct tp_aead *aead, uint8_t *tag)
{
    uint8_t none[TP_AEAD_TAG_SIZE];
    int written = 0;
    return !aead->failed && EVP_CipherFinal_ex(aead->evp, none, &written) == 1 &&
           EVP_CIPHER_CTX_ctrl(aead->evp, EVP_CTRL_AEAD_GET_TAG, TP_AEAD_TAG_SIZE, tag) == 1;
}

/* ---- libipsec-mb ---- */

#ifdef TP_HAVE_IPSEC_MB
static void mb_set_key(struct tp_aead *aead, const uint8_t *key)
{
    switch (aead->algorithm) {
    case TP_AEAD_AES_128_GCM:
        aead->ipsec_mb->gcm128_pre(key, &aead->gcm_key);
        break;
    case TP_AEAD_AES_256_GCM:
        aead->ipsec_mb->gcm256_pre(key, &aead->gcm_key);
        break;
    case TP_AEAD_CHACHA20_POLY1305:
        memcpy(aead->chacha_key, key, sizeof aead->chacha_key);
        break;
    }
}

static void mb_seal(struct tp_aead *aead, const uint8_t *nonce, struct tp_span aad,
                    struct tp_span plaintext, uint8_t *out)
{
    const struct IMB_MGR *mb = aead->ipsec_mb;
    uint8_t *tag = out + plaintext.size;
    switch (aead->algorithm) {
    case TP_AEAD_AES_128_GCM:
        mb->gcm128_enc(&aead->gcm_key, &aead->gcm_context, out, plaintext.data, plaintext.size,
                       nonce, aad.data, aad.size, tag, TP_AEAD_TAG_SIZE);
        break;
    case TP_AEAD_AES_256_GCM:
        mb->gcm256_enc(&aead->gcm_key, &aead->gcm_context, out, plaintext.data, plaintext.size,
                       nonce, aad.data, aad.size, tag, TP_AEAD_TAG_SIZE);
        break;
    case TP_AEAD_CHACHA20_POLY1305:
        mb->chacha20_poly1305_init(aead->chacha_key, &aead->chacha_context, nonce, aad.data,
                                   aad.size);
        if (plaintext.size > 0)
            mb->chacha20_poly1305_enc_update(aead->chacha_key, &aead->chacha_context, out,
                                             plaintext.data, plaintext.size);
        mb->chacha20_poly1305_finalize(&aead->chacha_context, tag, TP_AEAD_TAG_SIZE);
        break;
    }
}

static void mb_open_begin(struct tp_aead *aead, const uint8_t *nonce, struct tp_span aad)
{
    const struct IMB_MGR *mb = aead->ipsec_mb;
    switch (aead->algorithm) {
    case TP_AEAD_AES_128_GCM:
        mb->gcm128_init(&aead->gcm_key, &aead->gcm_context, nonce, aad.data, aad.size);
        break;
    case TP_AEAD_AES_256_GCM:
        mb->gcm256_init(&aead->gcm_key, &aead->gcm_context, nonce, aad.data, aad.size);
        break;
    case TP_AEAD_CHACHA20_POLY1305:
        mb->chacha20_poly1305_init(aead->chacha_key, &aead->chacha_context, nonce, aad.data,
                                   aad.size);
        break;
    }
}

static void mb_open_update(struct tp_aead *aead, struct tp_span piece, uint8_t *out)
{
    const struct IMB_MGR *mb = aead->ipsec_mb;
    switch (aead->algorithm) {
    case TP_AEAD_AES_128_GCM:
        mb->gcm128_dec_update(&aead->gcm_key, &aead->gcm_context, out, piece.data, piece.size);
        break;
    case TP_AEAD_AES_256_GCM:
        mb->gcm256_dec_update(&aead->gcm_key, &aead->gcm_context, out, piece.data, piece.size);
        break;
    case TP_AEAD_CHACHA20_POLY1305:
        mb->chacha20_poly1305_dec_update(aead->chacha_key, &aead->chacha_context, out, piece.data,
                                         piece.size);
        break;
    }
}

static void mb_open_finish(struct tp_aead *aead, uint8_t *expected_tag)
{
    const struct IMB_MGR *mb = aead->ipsec_mb;
    switch (aead->algorithm) {
    case TP_AEAD_AES_128_GCM:
        mb->gcm128_dec_finalize(&aead->gcm_key, &aead->gcm_context, expected_tag, TP_AEAD_TAG_SIZE);
        break;
    case TP_AEAD_AES_256_GCM:
        mb->gcm256_dec_finalize(&aead->gcm_key, &aead->gcm_context, expected_tag, TP_AEAD_TAG_SIZE);
        break;
    case TP_AEAD_CHACHA20_POLY1305:
        mb->chacha20_poly1305_finalize(&aead->chacha_context, expected_tag, TP_AEAD_TAG_SIZE);
        break;
    }
}

/* The library has no one-shot ChaCha20-Poly1305 outside its job queue, hence the three calls. */
static bool mb_open(struct tp_aead *aead, const uint8_t *nonce, struct tp_span aad,
                    struct tp_span sealed, uint8_t *out)
{
    const struct IMB_MGR *mb = aead->ipsec_mb;
    struct tp_span body = {sealed.data, sealed.size - TP_AEAD_TAG_SIZE};
    uint8_t expected_tag[TP_AEAD_TAG_SIZE];
    switch (aead->algorithm) {
    case TP_AEAD_AES_128_GCM:
        mb->gcm128_dec(&aead->gcm_key, &aead->gcm_context, out, body.data, body.size, nonce,
                       aad.data, aad.size, expected_tag, TP_AEAD_TAG_SIZE);
        break;
    case TP_AEAD_AES_256_GCM:
        mb->gcm256_dec(&aead->gcm_key, &aead->gcm_context, out, body.data, body.size, nonce,
                       aad.data, aad.size, expected_tag, TP_AEAD_TAG_SIZE);
        break;
    case TP_AEAD_CHACHA20_POLY1305:
        mb_open_begin(aead, nonce, aad);
        if (body.size > 0)
            mb_open_update(aead, body, out);
        mb_open_finish(aead, expected_tag);
        break;
    }
    return CRYPTO_memcmp(expected_tag, body.data + body.size, TP_AEAD_TAG_SIZE) == 0;
}
#endif

/* ---- the interface ---- */

bool tp_aead_init(struct tp_aead *aead, const struct tp_aead_library *library,
                  enum tp_aead_algorithm algorithm, const uint8_t *key, bool seals)
{
    assert(((uintptr_t)aead & 63U) == 0 || library->ipsec_mb == NULL);
    memset(aead, 0, sizeof *aead);
    aead->algorithm = algorithm;
#ifdef TP_HAVE_IPSEC_MB
    aead->ipsec_mb = library->ipsec_mb;
    if (aead->ipsec_mb != NULL) {
        mb_set_key(aead, key);
        return true;
    }
#endif
    return evp_init(aead, key, seals);
}

bool tp_aead_rekey(struct tp_aead *aead, const uint8_t *key)
{
#ifdef TP_HAVE_IPSEC_MB
    if (aead->evp == NULL) {
        mb_set_key(aead, key);
        return true;
    }
#endif
    return EVP_CipherInit_ex2(aead->evp, NULL, key, NULL, -1, NULL) == 1;
}

void tp_aead_deinit(struct tp_aead *aead)
{
    EVP_CIPHER_CTX_free(aead->evp);
    OPENSSL_cleanse(aead, sizeof *aead);
}

bool tp_aead_seal(struct tp_aead *aead, const uint8_t nonce[TP_AEAD_NONCE_SIZE], struct tp_span aad,
                  struct tp_span plaintext, uint8_t *out)
{
#ifdef TP_HAVE_IPSEC_MB
    if (aead->evp == NULL) {
        mb_seal(aead, nonce, aad, plaintext, out);
        return true;
    }
#endif
    evp_begin(aead, nonce, aad);
    if (plaintext.size > 0)
        evp_update(aead, plaintext, out);
    return evp_seal_finish(aead, out + plaintext.size);
}

bool tp_aead_open(struct tp_aead *aead, const uint8_t nonce[TP_AEAD_NONCE_SIZE], struct tp_span aad,
                  struct tp_span sealed, uint8_t *out)
{
    assert(sealed.size >= TP_AEAD_TAG_SIZE);
#ifdef TP_HAVE_IPSEC_MB
    if (aead->evp == NULL)
        return mb_open(aead, nonce, aad, sealed, out);
#endif
    struct tp_span body = {sealed.data, sealed.size - TP_AEAD_TAG_SIZE};
    evp_begin(aead, nonce, aad);
    if (body.size > 0)
        evp_update(aead, body, out);
    return evp_open_finish(aead, body.data + body.size);
}

void tp_aead_open_begin(struct tp_aead *aead, const uint8_t nonce[TP_AEAD_NONCE_SIZE],
                        struct tp_span aad)
{
#ifdef TP_HAVE_IPSEC_MB
    if (aead->evp == NULL) {
        mb_open_begin(aead, nonce, aad);
        return;
    }
#endif
    evp_begin(aead, nonce, aad);
}

void tp_aead_open_update(struct tp_aead *aead, struct tp_span piece, uint8_t *out)
{
    if (piece.size == 0)
        return;
#ifdef TP_HAVE_IPSEC_MB
    if (aead->evp == NULL) {
        mb_open_update(aead, piece, out);
        return;
    }
#endif
    evp_update(aead, piece, out);
}

bool tp_aead_open_finish(struct tp_aead *aead, const uint8_t tag[TP_AEAD_TAG_SIZE])
{
#ifdef TP_HAVE_IPSEC_MB
    if (aead->evp == NULL) {
        uint8_t expected_tag[TP_AEAD_TAG_SIZE];
        mb_open_finish(aead, expected_tag);
        return CRYPTO_memcmp(expected_tag, tag, TP_AEAD_TAG_SIZE) == 0;
    }
#endif
    return evp_open_finish(aead, tag);
}
