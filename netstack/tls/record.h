/* Our record layer: TLS 1.3 and 1.2 records, opened straight out of frames into the message buffer
 * and sealed straight into the send buffer.
 *
 * A record that lies whole in the input is opened by one call of the cipher. One that straddles
 * (header, body or tag split anywhere) is decrypted piece by piece behind out->tail, which moves
 * only when the tag was right. While such a record is unfinished the caller may compact out (tail
 * then moves down, and the pieces follow) but must not write behind tail.
 *
 * tls.c calls this after the handshake; post_handshake.c takes what is not application data.
 * One thread. Nothing is allocated after init, except inside libcrypto's KDF at a KeyUpdate.
 * Source: RFC 8446 5, RFC 5246 6.2, RFC 5288, RFC 7905. */
#ifndef TP_NETSTACK_TLS_RECORD_H
#define TP_NETSTACK_TLS_RECORD_H
#include "netstack/tls/aead.h"
#include "netstack/tls/key_schedule.h"
#include "netstack/tls/tls.h"

#define TP_TLS_HEADER_SIZE 5
#define TP_TLS_PLAINTEXT_SIZE_MAX 16384 /* RFC 8446 5.1, RFC 5246 6.2.1 */
#define TP_TLS_EXPLICIT_NONCE_SIZE 8    /* RFC 5288 3: TLS 1.2 GCM only */
#define TP_TLS_VERSION_1_2 0x0303
/* Consecutive records, messages or warnings that bring no application data: enough for any honest
 * server (OpenSSL's own limit for empty records is 32), few enough to bound the work. */
#define TP_TLS_EMPTY_RECORDS_MAX 32
#define TP_TLS_POST_HANDSHAKE_MESSAGES_MAX 64
#define TP_TLS_WARNINGS_MAX 5
#define TP_TLS_POST_HANDSHAKE_SIZE_MAX 65536
/* RFC 8446 5.5: AES-GCM may seal 2^24.5 full records under one key; we update ours well before. */
#define TP_TLS_RECORDS_PER_KEY (UINT64_C(1) << 23)
/* Room for what TLS itself sends: a KeyUpdate, a warning and a closing alert, 32 bytes each. */
#define TP_TLS_OUTPUT_SIZE 128
#define TP_TLS_ERROR_TEXT_SIZE 512

enum tp_tls_content_type {
    TP_TLS_CHANGE_CIPHER_SPEC = 20,
    TP_TLS_ALERT = 21,
    TP_TLS_HANDSHAKE = 22,
    TP_TLS_APPLICATION_DATA = 23,
};

/* RFC 8446 6, the alerts that we send. */
enum tp_tls_alert {
    TP_TLS_ALERT_CLOSE_NOTIFY = 0,
    TP_TLS_ALERT_UNEXPECTED_MESSAGE = 10,
    TP_TLS_ALERT_BAD_RECORD_MAC = 20,
    TP_TLS_ALERT_RECORD_OVERFLOW = 22,
    TP_TLS_ALERT_ILLEGAL_PARAMETER = 47,
    TP_TLS_ALERT_DECODE_ERROR = 50,
    TP_TLS_ALERT_PROTOCOL_VERSION = 70,
    TP_TLS_ALERT_INTERNAL_ERROR = 80,
    TP_TLS_ALERT_USER_CANCELED = 90,
    TP_TLS_ALERT_NO_RENEGOTIATION = 100,
    TP_TLS_ALERT_NO_APPLICATION_PROTOCOL = 120, /* RFC 7301 3.2 */
};

struct tp_tls_direction {
    struct tp_aead aead;
    uint8_t iv[TP_AEAD_NONCE_SIZE];
    uint64_t sequence;
    uint8_t secret[TP_TLS_SECRET_SIZE_MAX]; /* TLS 1.3: the current traffic secret */
};

enum tp_tls_record_state {
    TP_TLS_RECORD_OPEN,
    TP_TLS_RECORD_PEER_CLOSED,
    TP_TLS_RECORD_FAILED,
};

struct tp_tls_record {
    struct tp_tls_direction read;
    struct tp_tls_direction write;
    enum tp_tls_record_state state;
    bool tls13;
    bool close_sent;
    enum tp_aead_algorithm algorithm;
    size_t explicit_nonce_size; /* 8 in TLS 1.2 GCM, else 0 */
    const char *digest;
    size_t secret_size;

    /* The record in flight, when it straddles. partial is where its plaintext so far lies. */
    uint8_t header[TP_TLS_HEADER_SIZE + TP_TLS_EXPLICIT_NONCE_SIZE];
    size_t header_size;
    bool begun;
    uint8_t *partial;
    size_t body_size;
    size_t body_taken;
    uint8_t tag[TP_AEAD_TAG_SIZE];
    size_t tag_taken;

    /* The handshake message in flight: its header, then how much of its body is still to come. */
    uint8_t message_header[4];
    size_t message_header_size;
    size_t message_left;

    unsigned empty_records;
    unsigned messages;
    unsigned warnings;

    uint8_t output[TP_TLS_OUTPUT_SIZE];
    size_t output_head;
    size_t output_tail;

    enum tp_tls_error error;
    char error_text[TP_TLS_ERROR_TEXT_SIZE];
};

/* record must be 64-byte aligned. Sequence numbers start behind the handshake: at 0 in TLS 1.3, at
 * 1 in TLS 1.2, where the Finished messages took 0; to read, behind all that the server's took
 * (records_read). Allocates. */
bool tp_tls_record_init(struct tp_tls_record *record, const struct tp_aead_library *library,
                        const struct tp_tls_secrets *secrets);
void tp_tls_record_deinit(struct tp_tls_record *record);

/* As tp_tls_input, tp_tls_moved, tp_tls_end_of_input, tp_tls_output, tp_tls_seal and
 * tp_tls_sealed_size. */
enum tp_status tp_tls_record_input(struct tp_tls_record *record, struct tp_span *in,
                                   struct tp_buffer *out);
void tp_tls_record_moved(struct tp_tls_record *record, const struct tp_buffer *out);
enum tp_status tp_tls_record_end_of_input(struct tp_tls_record *record);
size_t tp_tls_record_output(struct tp_tls_record *record, uint8_t *out, size_t capacity);
size_t tp_tls_record_output_size(const struct tp_tls_record *record);
size_t tp_tls_record_seal(struct tp_tls_record *record, struct tp_span plaintext, uint8_t *out,
                          size_t capacity);
size_t tp_tls_record_sealed_size(const struct tp_tls_record *record, size_t plaintext_size);
void tp_tls_record_close(struct tp_tls_record *record);

/* For post_handshake.c. fail: sets the error, queues the alert, returns TP_ERROR. */
__attribute__((format(printf, 4, 5))) enum tp_status
tp_tls_record_fail(struct tp_tls_record *record, enum tp_tls_error error, enum tp_tls_alert alert,
                   const char *format, ...);
/* Seals a small record of TLS's own into output; false when that has no room left. */
bool tp_tls_record_queue(struct tp_tls_record *record, enum tp_tls_content_type type,
                         struct tp_span plaintext);
/* Moves one direction to its next traffic secret (RFC 8446 7.2). */
bool tp_tls_record_update_keys(struct tp_tls_record *record, struct tp_tls_direction *direction);
#endif
