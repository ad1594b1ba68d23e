/* The handshake, by OpenSSL over memory BIOs: SNI, ALPN, chain and name verified, secrets out.
 *
 * OpenSSL is fed one record at a time, so that it never takes a byte of application data. When the
 * handshake is complete the secrets pass to record.c; with TP_TLS_RECORD_OPENSSL they do not, and
 * OpenSSL goes on as the oracle (tp_tls_oracle_*).
 *
 * Called by handover.c, on the thread that runs handshakes, and by tls.c before and after it; one
 * thread at a time. The secrets live in memory only: the keylog callback writes no file.
 * Source: RFC 8446, RFC 5246, RFC 6066 3 (SNI), RFC 7301 (ALPN), RFC 6125 (names). */
#ifndef TP_NETSTACK_TLS_HANDSHAKE_H
#define TP_NETSTACK_TLS_HANDSHAKE_H
#include <openssl/ssl.h>

#include "netstack/tls/key_schedule.h"
#include "netstack/tls/tls.h"

/* More than OpenSSL's own bound on a certificate chain (100 KiB) and the rest of a handshake. */
#define TP_TLS_HANDSHAKE_SIZE_MAX (1U << 20)
#define TP_TLS_SERVER_NAME_SIZE 256 /* RFC 1035 2.3.4: 255 and a NUL */
#define TP_TLS_ALERT_NONE (-1)

struct tp_tls_handshake {
    SSL *ssl;
    BIO *from_server; /* owned by ssl */
    BIO *to_server;   /* owned by ssl */
    bool verifies;
    char server_name[TP_TLS_SERVER_NAME_SIZE];

    uint8_t header[5];
    size_t header_size;
    size_t body_left;
    size_t fed;

    int alert_sent; /* TP_TLS_ALERT_NONE, or the last fatal alert each way */
    int alert_received;
    /* TP_TLS_ALERT_NONE, or what tells the server that we refused what OpenSSL had completed: the
     * secrets are filled then, to send it with. */
    int alert_owed;
    struct tp_tls_secrets secrets;

    enum tp_tls_error error;
    char error_text[512];
};

SSL_CTX *tp_tls_handshake_context(const struct tp_tls_context_config *config, char *error,
                                  size_t error_size);

/* Prepares the ClientHello. False with error_text set. handshake must not move afterwards. */
bool tp_tls_handshake_init(struct tp_tls_handshake *handshake, SSL_CTX *context,
                           const char *server_name);
void tp_tls_handshake_deinit(struct tp_tls_handshake *handshake);

/* TP_OK: complete, secrets filled, *in stands at the first byte behind the last record.
 * TP_NEED_MORE, TP_ERROR: as in tp_tls_input. */
enum tp_status tp_tls_handshake_input(struct tp_tls_handshake *handshake, struct tp_span *in);
size_t tp_tls_handshake_output(struct tp_tls_handshake *handshake, uint8_t *out, size_t capacity);
size_t tp_tls_handshake_output_size(const struct tp_tls_handshake *handshake);

/* The oracle: after the handshake, OpenSSL opens and seals the records too. */
enum tp_status tp_tls_oracle_input(struct tp_tls_handshake *handshake, struct tp_span *in,
                                   struct tp_buffer *out);
size_t tp_tls_oracle_seal(struct tp_tls_handshake *handshake, struct tp_span plaintext,
                          uint8_t *out, size_t capacity);
#endif
