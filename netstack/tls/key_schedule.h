/* From secrets to record keys, all through libcrypto's KDFs.
 *
 * Called by record.c when a connection is set up and at each KeyUpdate; allocates inside libcrypto.
 * Source: RFC 8446 7.1-7.3 (TLS 1.3), RFC 5246 5 and 6.3 (TLS 1.2). */
#ifndef TP_NETSTACK_TLS_KEY_SCHEDULE_H
#define TP_NETSTACK_TLS_KEY_SCHEDULE_H
#include <stdbool.h>
#include <stdint.h>

#include "netstack/span.h"
#include "netstack/tls/aead.h"

#define TP_TLS_SECRET_SIZE_MAX 48 /* SHA-384; also the size of a TLS 1.2 master secret */
#define TP_TLS_RANDOM_SIZE 32

/* What the handshake hands over. The holder wipes it. */
struct tp_tls_secrets {
    bool tls13;
    enum tp_aead_algorithm algorithm;
    const char *digest; /* "SHA256" or "SHA384" */
    /* TLS 1.3: the application traffic secrets, secret_size bytes each. */
    size_t secret_size;
    uint8_t client[TP_TLS_SECRET_SIZE_MAX];
    uint8_t server[TP_TLS_SECRET_SIZE_MAX];
    /* TLS 1.2 */
    uint64_t records_read; /* that the server sent under the keys already: its Finished */
    uint8_t master[TP_TLS_SECRET_SIZE_MAX];
    uint8_t client_random[TP_TLS_RANDOM_SIZE];
    uint8_t server_random[TP_TLS_RANDOM_SIZE];
};

/* iv: TLS 1.3 and ChaCha20-Poly1305 use all 12 bytes; TLS 1.2 GCM only the first 4, the salt. */
struct tp_tls_keys {
    uint8_t key[TP_AEAD_KEY_SIZE_MAX];
    uint8_t iv[TP_AEAD_NONCE_SIZE];
};

/* HKDF-Expand-Label(secret, label, "", out_size), RFC 8446 7.1. */
bool tp_tls13_expand_label(const char *digest, struct tp_span secret, const char *label,
                           uint8_t *out, size_t out_size);
bool tp_tls13_keys(const char *digest, struct tp_span secret, size_t key_size,
                   struct tp_tls_keys *keys);
bool tp_tls12_keys(const struct tp_tls_secrets *secrets, struct tp_tls_keys *client,
                   struct tp_tls_keys *server);
#endif
