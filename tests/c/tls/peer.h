/* The other end of a record layer, written a second time: keys by HMAC, records by EVP, nothing
 * shared with netstack/tls but names. Tests seal as the server with it and open as the server.
 *
 * Called by the TLS tests and the record fuzzer. Source: RFC 8446 5 and 7, RFC 5246 5 and 6. */
#ifndef TP_TESTS_TLS_PEER_H
#define TP_TESTS_TLS_PEER_H
#include "netstack/tls/key_schedule.h"

#define PEER_RECORD_SIZE_MAX (5 + 8 + 16384 + 512 + 16)

struct peer_direction {
    uint8_t secret[48];
    uint8_t key[32];
    uint8_t iv[12];
    uint64_t sequence;
};

struct peer {
    bool tls13;
    enum tp_aead_algorithm algorithm;
    size_t secret_size;
    struct peer_direction server; /* seals with this */
    struct peer_direction client; /* opens with this */
};

/* Secrets of a made-up connection, filled from seed. */
struct tp_tls_secrets peer_secrets(bool tls13, enum tp_aead_algorithm algorithm, uint8_t seed);
void peer_init(struct peer *peer, const struct tp_tls_secrets *secrets);
/* The next traffic secret of one direction (RFC 8446 7.2). */
void peer_update(const struct peer *peer, struct peer_direction *direction);
/* Seals one record with `padding` zeros behind the type (TLS 1.3). Returns its size. Does not mind
 * contents that no honest server sends. */
size_t peer_seal(struct peer *peer, uint8_t type, struct tp_span plaintext, size_t padding,
                 uint8_t *out);
/* Opens the first record of *in as sealed by the client, advancing it. Returns the content type, -1
 * if the tag is wrong or the record incomplete; the content and its size go to out. */
int peer_open(struct peer *peer, struct tp_span *in, uint8_t *out, size_t *size);
#endif
