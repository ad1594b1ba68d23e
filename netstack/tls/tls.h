/* A TLS 1.3 / 1.2 client as bytes in, bytes out: OpenSSL does the handshake (handshake.c), then our
 * own record layer (record.c, key_schedule.c, aead.c) opens and seals records.
 *
 * The handshake runs on the calling thread, or on that of a worker (tp_tls_delegate, handover.h):
 * then the caller only moves bytes. Called by netstack/session.c, one thread. No I/O; nothing is
 * allocated once connected, except inside libcrypto for as long as it derives the keys of a
 * KeyUpdate. */
#ifndef TP_NETSTACK_TLS_H
#define TP_NETSTACK_TLS_H
#include <stdbool.h>
#include <stdint.h>

#include "netstack/span.h"

enum tp_tls_record_layer {
    TP_TLS_RECORD_AUTO, /* libipsec-mb where this CPU has it, else libcrypto's EVP */
    TP_TLS_RECORD_IPSEC_MB,
    TP_TLS_RECORD_EVP,
    TP_TLS_RECORD_OPENSSL, /* the oracle: SSL_read / SSL_write do all */
};

enum tp_tls_error {
    TP_TLS_ERROR_NONE,
    TP_TLS_ERROR_HANDSHAKE,       /* OpenSSL refused; tp_tls_error_text says why */
    TP_TLS_ERROR_CERTIFICATE,     /* chain or host name; tp_tls_error_text says why */
    TP_TLS_ERROR_RECORD_OVERFLOW, /* RFC 8446 5.2 */
    TP_TLS_ERROR_BAD_RECORD_MAC,
    TP_TLS_ERROR_UNEXPECTED_MESSAGE,
    TP_TLS_ERROR_DECODE,
    TP_TLS_ERROR_ALERT_RECEIVED, /* a fatal alert; tp_tls_error_text names it */
    TP_TLS_ERROR_TRUNCATED,      /* bytes ended without close_notify */
    TP_TLS_ERROR_FLOOD,          /* too many empty records, KeyUpdates or post-handshake messages */
};

struct tp_tls_context_config {
    const char *ca_file; /* PEM; NULL: the system's trust store */
    bool insecure;       /* do not verify the chain or the name */
    enum tp_tls_record_layer record_layer;
};

/* Shared by connections and by the threads that run their handshakes; must outlive both. */
struct tp_tls_context;
struct tp_tls;
struct tp_tls_handshake_worker;

/* NULL on failure, with the reason in error[0, error_size). */
struct tp_tls_context *tp_tls_context_new(const struct tp_tls_context_config *config, char *error,
                                          size_t error_size);
void tp_tls_context_free(struct tp_tls_context *context);

/* server_name: a DNS name (sent as SNI and verified) or an IP address literal (verified against
 * the certificate's IP SANs, no SNI). Offers ALPN http/1.1. Allocates; NULL when that fails. */
struct tp_tls *tp_tls_new(struct tp_tls_context *context, const char *server_name);
/* With a worker that still works on it: leaves the memory to the worker. */
void tp_tls_free(struct tp_tls *tls);
/* Has the worker do the handshake. Before any input. False: it has too many; tls then does its own.
 */
bool tp_tls_delegate(struct tp_tls *tls, struct tp_tls_handshake_worker *worker);

/* For connections without a handshake (netstack/understudy.h): the record layer begins, with keys
 * from these secrets. Before any input. False: libcrypto refused them, or OpenSSL does the records.
 */
struct tp_tls_secrets;
bool tp_tls_begin_records(struct tp_tls *tls, const struct tp_tls_secrets *secrets);
/* The record layer once it is in use, else NULL. */
struct tp_tls_record;
const struct tp_tls_record *tp_tls_records(const struct tp_tls *tls);

/* Takes bytes from *in (advancing it past what was taken), appends plaintext to out at out->tail;
 * tail moves only once the record's tag was verified. Call again while it returns TP_OK and
 * in->size > 0.
 *   TP_OK         progress: plaintext appended, or the handshake just completed
 *   TP_NEED_MORE  all of *in taken
 *   TP_FULL       out has less free space than the next record needs: drain or compact it first.
 *                 A capacity of 2^14 + 256 free always suffices.
 *   TP_CLOSED     close_notify received
 *   TP_ERROR      see tp_tls_error; an alert may be waiting in tp_tls_output
 * With a worker, an empty *in takes what it has ended (tp_tls_has_news), and TP_FULL during the
 * handshake says that more came than tp_tls_input_room promised. */
enum tp_status tp_tls_input(struct tp_tls *tls, struct tp_span *in, struct tp_buffer *out);
/* The caller copied what is unread into other memory, out is that now, and the old one is still
 * there: a record that lies half opened behind the tail follows. */
void tp_tls_moved(struct tp_tls *tls, const struct tp_buffer *out);
/* The transport ended: TP_CLOSED after close_notify, else TP_ERROR with TP_TLS_ERROR_TRUNCATED. */
enum tp_status tp_tls_end_of_input(struct tp_tls *tls);

/* How many bytes the next input may bring: bounded while a worker does the handshake. */
size_t tp_tls_input_room(const struct tp_tls *tls);
/* The worker has bytes to send or has ended the handshake. */
bool tp_tls_has_news(const struct tp_tls *tls);
/* Bytes that came are not judged yet: how the handshake ends is open even if nothing more comes. */
bool tp_tls_is_judging(const struct tp_tls *tls);

/* Moves bytes that TLS itself must send (flights, alerts, KeyUpdate) to out; returns their count.
 * What is not drained by the next tp_tls_seal leaves in front of its records. The first call,
 * before any input, yields the ClientHello. */
size_t tp_tls_output(struct tp_tls *tls, uint8_t *out, size_t capacity);
/* False: tp_tls_output has nothing to move. */
bool tp_tls_may_output(const struct tp_tls *tls);
/* Seals plaintext into records in out. Returns the bytes written, 0 when capacity is below
 * tp_tls_sealed_size(plaintext.size). Only when connected. */
size_t tp_tls_seal(struct tp_tls *tls, struct tp_span plaintext, uint8_t *out, size_t capacity);
size_t tp_tls_sealed_size(const struct tp_tls *tls, size_t plaintext_size);
/* Queues close_notify. */
void tp_tls_close(struct tp_tls *tls);

bool tp_tls_connected(const struct tp_tls *tls);
enum tp_tls_error tp_tls_error(const struct tp_tls *tls);
const char *tp_tls_error_name(enum tp_tls_error error);
const char *tp_tls_error_text(const struct tp_tls *tls);
/* For reports: "TLSv1.3", "TLS_AES_128_GCM_SHA256", "libipsec-mb" | "libcrypto" | "openssl". */
const char *tp_tls_version(const struct tp_tls *tls);
const char *tp_tls_cipher(const struct tp_tls *tls);
const char *tp_tls_record_layer_name(const struct tp_tls *tls);
#endif
