/* Ed25519 (RFC 8032) by OpenSSL, for what a session is logged on with: once a connection.
 *
 * A signature takes some 30 us and allocates: cold side alone. Called by: the gateway. Any
 * thread. */
#ifndef TP_PROTO_ED25519_H
#define TP_PROTO_ED25519_H
#include <stdbool.h>
#include <stdint.h>

enum { TP_ED25519_SECRET_SIZE = 32, TP_ED25519_SIGNATURE_SIZE = 64 };

/* The secret of a private key in PEM (PKCS #8), without a passphrase. False: it is none. */
bool tp_ed25519_read_pem(const char *pem, uint32_t size, uint8_t secret[TP_ED25519_SECRET_SIZE]);
/* False: OpenSSL refused, no memory. */
bool tp_ed25519_sign(const uint8_t secret[TP_ED25519_SECRET_SIZE], const uint8_t *text,
                     uint32_t size, uint8_t signature[TP_ED25519_SIGNATURE_SIZE]);
#endif
