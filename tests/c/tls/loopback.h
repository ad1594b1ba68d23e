/* An OpenSSL server in this process, for tests and benchmarks that need a whole handshake: its
 * certificate is made on the spot, its transport is a pair of memory BIOs.
 *
 * Called by test_allocation.c and bench_record.c. */
#ifndef TP_TESTS_TLS_LOOPBACK_H
#define TP_TESTS_TLS_LOOPBACK_H
#include <openssl/ssl.h>

#include "netstack/tls/tls.h"

struct loopback {
    SSL_CTX *context;
    SSL *server;
    BIO *to_server; /* owned by server */
    BIO *to_client; /* owned by server */
};

/* version: TLS1_3_VERSION or TLS1_2_VERSION. cipher: by OpenSSL's name for that version. */
void loopback_init(struct loopback *loopback, int version, const char *cipher);
void loopback_deinit(struct loopback *loopback);
/* Shakes hands; also takes the tickets. Aborts when that fails. */
void loopback_connect(struct loopback *loopback, struct tp_tls *client, struct tp_buffer *out);
/* network: the far half of the client's BIO pair. */
void loopback_connect_openssl(struct loopback *loopback, SSL *client, BIO *network);
/* Writes one record of size bytes and moves the sealed bytes to out; returns their count. */
size_t loopback_send(struct loopback *loopback, const uint8_t *data, size_t size, uint8_t *out,
                     size_t capacity);
/* Opens what the client sealed; returns the size of the plaintext. */
size_t loopback_receive(struct loopback *loopback, struct tp_span sealed, uint8_t *out,
                        size_t capacity);
#endif
