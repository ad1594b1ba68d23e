/* See ed25519.h. */
#include "proto/signing/ed25519.h"

#include <openssl/evp.h>
#include <openssl/pem.h>

/* Without it OpenSSL would ask at the terminal. */
static int no_passphrase(char *to, int size, int is_writing, void *user)
{
    (void)to, (void)size, (void)is_writing, (void)user;
    return -1;
}

bool tp_ed25519_read_pem(const char *pem, uint32_t size, uint8_t secret[TP_ED25519_SECRET_SIZE])
{
    BIO *from = size <= INT32_MAX ? BIO_new_mem_buf(pem, (int)size) : NULL;
    if (from == NULL)
        return false;
    EVP_PKEY *key = PEM_read_bio_PrivateKey(from, NULL, no_passphrase, NULL);
    size_t length = TP_ED25519_SECRET_SIZE;
    const bool is_read = key != NULL && EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 &&
                         EVP_PKEY_get_raw_private_key(key, secret, &length) == 1 &&
                         length == TP_ED25519_SECRET_SIZE;
    EVP_PKEY_free(key); /* which wipes it */
    BIO_free(from);
    return is_read;
}

bool tp_ed25519_sign(const uint8_t secret[TP_ED25519_SECRET_SIZE], const uint8_t *text,
                     uint32_t size, uint8_t signature[TP_ED25519_SIGNATURE_SIZE])
{
    size_t length = TP_ED25519_SIGNATURE_SIZE;
    EVP_PKEY *key =
        EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret, TP_ED25519_SECRET_SIZE);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    const bool is_signed = key != NULL && context != NULL &&
                           EVP_DigestSignInit(context, NULL, NULL, NULL, key) == 1 &&
                           EVP_DigestSign(context, signature, &length, text, size) == 1 &&
                           length == TP_ED25519_SIGNATURE_SIZE;
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    return is_signed;
}
