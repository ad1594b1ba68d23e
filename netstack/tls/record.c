/* See record.h. Reading order: headers and nonces, the whole record, the straddling record, what
 * both do with an opened record, sealing. */
#include "netstack/tls/record.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "netstack/tls/post_handshake.h"

#define AAD_SIZE_MAX 13 /* TLS 1.2: sequence, type, version, length (RFC 5246 6.2.3.3) */
#define ALERT_LEVEL_WARNING 1
#define ALERT_LEVEL_FATAL 2

/* ---- set-up ---- */

static bool direction_init(struct tp_tls_direction *direction,
                           const struct tp_aead_library *library, enum tp_aead_algorithm algorithm,
                           const struct tp_tls_keys *keys, bool seals)
{
    memcpy(direction->iv, keys->iv, sizeof direction->iv);
    return tp_aead_init(&direction->aead, library, algorithm, keys->key, seals);
}

bool tp_tls_record_init(struct tp_tls_record *record, const struct tp_aead_library *library,
                        const struct tp_tls_secrets *secrets)
{
    memset(record, 0, sizeof *record);
    record->tls13 = secrets->tls13;
    record->algorithm = secrets->algorithm;
    record->digest = secrets->digest;
    record->secret_size = secrets->secret_size;
    struct tp_tls_keys client = {0};
    struct tp_tls_keys server = {0};
    bool ok;
    if (secrets->tls13) {
        size_t key_size = tp_aead_key_size(secrets->algorithm);
        memcpy(record->write.secret, secrets->client, secrets->secret_size);
        memcpy(record->read.secret, secrets->server, secrets->secret_size);
        ok = tp_tls13_keys(secrets->digest, (struct tp_span){secrets->client, secrets->secret_size},
                           key_size, &client) &&
             tp_tls13_keys(secrets->digest, (struct tp_span){secrets->server, secrets->secret_size},
                           key_size, &server);
    } else {
        record->explicit_nonce_size =
            secrets->algorithm == TP_AEAD_CHACHA20_POLY1305 ? 0 : TP_TLS_EXPLICIT_NONCE_SIZE;
        record->read.sequence = secrets->records_read;
        record->write.sequence = 1;
        ok = tp_tls12_keys(secrets, &client, &server);
    }
    ok = ok && direction_init(&record->read, library, secrets->algorithm, &server, false) &&
         direction_init(&record->write, library, secrets->algorithm, &client, true);
    OPENSSL_cleanse(&client, sizeof client);
    OPENSSL_cleanse(&server, sizeof server);
    return ok;
}

void tp_tls_record_deinit(struct tp_tls_record *record)
{
    tp_aead_deinit(&record->read.aead);
    tp_aead_deinit(&record->write.aead);
    OPENSSL_cleanse(record, sizeof *record);
}

bool tp_tls_record_update_keys(struct tp_tls_record *record, struct tp_tls_direction *direction)
{
    uint8_t next[TP_TLS_SECRET_SIZE_MAX];
    struct tp_tls_keys keys = {0};
    struct tp_span secret = {direction->secret, record->secret_size};
    struct tp_span next_secret = {next, record->secret_size};
    bool ok =
        tp_tls13_expand_label(record->digest, secret, "traffic upd", next, record->secret_size) &&
        tp_tls13_keys(record->digest, next_secret, tp_aead_key_size(record->algorithm), &keys) &&
        tp_aead_rekey(&direction->aead, keys.key);
    if (ok) {
        memcpy(direction->secret, next, record->secret_size);
        memcpy(direction->iv, keys.iv, sizeof direction->iv);
        direction->sequence = 0;
    }
    OPENSSL_cleanse(next, sizeof next);
    OPENSSL_cleanse(&keys, sizeof keys);
    return ok;
}

/* ---- headers, nonces, additional data ---- */

static inline size_t load_be16(const uint8_t *bytes)
{
    return (size_t)bytes[0] << 8 | bytes[1];
}

static inline void store_be16(uint8_t *bytes, size_t value)
{
    bytes[0] = (uint8_t)(value >> 8);
    bytes[1] = (uint8_t)value;
}

static inline void store_be64(uint8_t *bytes, uint64_t value)
{
    value = __builtin_bswap64(value);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    memcpy(bytes, &value, sizeof value);
}

static inline size_t record_size(const uint8_t *header)
{
    return TP_TLS_HEADER_SIZE + load_be16(header + 3);
}

/* Bytes of a record body that are not its ciphertext proper. */
static inline size_t body_overhead(const struct tp_tls_record *record)
{
    return record->explicit_nonce_size + TP_AEAD_TAG_SIZE;
}

/* nonce = iv XOR the padded sequence number (RFC 8446 5.3, RFC 7905 2); in TLS 1.2 GCM the salt
 * and the explicit part that came with the record (RFC 5288 3). */
static inline void make_nonce(const struct tp_tls_direction *direction,
                              const uint8_t *explicit_nonce, uint8_t nonce[TP_AEAD_NONCE_SIZE])
{
    memcpy(nonce, direction->iv, TP_AEAD_NONCE_SIZE);
    if (explicit_nonce != NULL) {
        memcpy(nonce + 4, explicit_nonce, TP_TLS_EXPLICIT_NONCE_SIZE);
        return;
    }
    uint64_t low;
    uint64_t sequence;
    memcpy(&low, nonce + 4, sizeof low);
    store_be64((uint8_t *)&sequence, direction->sequence);
    low ^= sequence;
    memcpy(nonce + 4, &low, sizeof low);
}

/* The additional data: the record's own header in TLS 1.3, a pseudo-header in TLS 1.2. */
static inline struct tp_span make_aad(const struct tp_tls_record *record, uint64_t sequence,
                                      const uint8_t *header, size_t plaintext_size,
                                      uint8_t storage[AAD_SIZE_MAX])
{
    if (record->tls13)
        return (struct tp_span){header, TP_TLS_HEADER_SIZE};
    store_be64(storage, sequence);
    storage[8] = header[0];
    store_be16(storage + 9, TP_TLS_VERSION_1_2);
    store_be16(storage + 11, plaintext_size);
    return (struct tp_span){storage, AAD_SIZE_MAX};
}

static enum tp_status refuse_type(struct tp_tls_record *record, unsigned type)
{
    return tp_tls_record_fail(record, TP_TLS_ERROR_UNEXPECTED_MESSAGE,
                              TP_TLS_ALERT_UNEXPECTED_MESSAGE,
                              "a record of type %u arrived after the handshake%s", type,
                              record->tls13 ? " outside encryption" : "");
}

/* Everything that can be known from the header alone, before any byte of the body is used.
 * In TLS 1.3 the exact limit is 2^14 + 1 bytes of inner plaintext and the tag, below the 2^14 + 256
 * that RFC 8446 5.2 allows any cipher to expand to. The version field is not looked at there: 5.1
 * says so, and the tag covers it. */
static enum tp_status check_header(struct tp_tls_record *record, const uint8_t *header)
{
    size_t length = load_be16(header + 3);
    size_t overhead = body_overhead(record);
    size_t length_max = TP_TLS_PLAINTEXT_SIZE_MAX + overhead + (record->tls13 ? 1 : 0);
    if (record->tls13 && header[0] != TP_TLS_APPLICATION_DATA)
        return refuse_type(record, header[0]);
    if (header[0] < TP_TLS_ALERT || header[0] > TP_TLS_APPLICATION_DATA)
        return refuse_type(record, header[0]);
    if (!record->tls13 && load_be16(header + 1) != TP_TLS_VERSION_1_2)
        return tp_tls_record_fail(record, TP_TLS_ERROR_DECODE, TP_TLS_ALERT_PROTOCOL_VERSION,
                                  "a record of version 0x%04zx arrived; 0x0303 was negotiated",
                                  load_be16(header + 1));
    if (length > length_max)
        return tp_tls_record_fail(
            record, TP_TLS_ERROR_RECORD_OVERFLOW, TP_TLS_ALERT_RECORD_OVERFLOW,
            "a record body of %zu bytes arrived; at most %zu are allowed", length, length_max);
    if (length < overhead)
        return tp_tls_record_fail(record, TP_TLS_ERROR_BAD_RECORD_MAC, TP_TLS_ALERT_BAD_RECORD_MAC,
                                  "a record body of %zu bytes has no room for its tag", length);
    if (record->read.sequence == UINT64_MAX)
        return tp_tls_record_fail(record, TP_TLS_ERROR_FLOOD, TP_TLS_ALERT_CLOSE_NOTIFY,
                                  "the record sequence number would wrap");
    return TP_OK;
}

/* ---- an opened record ---- */

static enum tp_status empty_record(struct tp_tls_record *record)
{
    if (++record->empty_records <= TP_TLS_EMPTY_RECORDS_MAX)
        return TP_NEED_MORE;
    return tp_tls_record_fail(record, TP_TLS_ERROR_FLOOD, TP_TLS_ALERT_UNEXPECTED_MESSAGE,
                              "more than %d empty records in a row", TP_TLS_EMPTY_RECORDS_MAX);
}

static enum tp_status bad_tag(struct tp_tls_record *record, struct tp_span plaintext)
{
    /* Lies behind out->tail, where nobody looks; wiped so that a bug elsewhere shows nothing. */
    OPENSSL_cleanse((uint8_t *)(uintptr_t)plaintext.data, plaintext.size);
    return tp_tls_record_fail(record, TP_TLS_ERROR_BAD_RECORD_MAC, TP_TLS_ALERT_BAD_RECORD_MAC,
                              "record %llu does not match its tag (bad_record_mac)",
                              (unsigned long long)record->read.sequence);
}

static enum tp_status other_content(struct tp_tls_record *record, unsigned type,
                                    struct tp_span plaintext)
{
    if (type == TP_TLS_ALERT)
        return tp_tls_alert_input(record, plaintext);
    if (type == TP_TLS_HANDSHAKE)
        return tp_tls_handshake_message_input(record, plaintext);
    return tp_tls_record_fail(record, TP_TLS_ERROR_UNEXPECTED_MESSAGE,
                              TP_TLS_ALERT_UNEXPECTED_MESSAGE,
                              "a record with content type %u arrived", type);
}

/* plaintext lies at out->tail and its tag was right. TP_NEED_MORE: nothing for the caller in it. */
static inline enum tp_status deliver(struct tp_tls_record *record, unsigned type,
                                     struct tp_span plaintext, struct tp_buffer *out)
{
    record->read.sequence++;
    if (record->tls13) {
        while (plaintext.size > 0 && plaintext.data[plaintext.size - 1] == 0)
            plaintext.size--;
        if (plaintext.size == 0)
            return tp_tls_record_fail(record, TP_TLS_ERROR_UNEXPECTED_MESSAGE,
                                      TP_TLS_ALERT_UNEXPECTED_MESSAGE,
                                      "a record of padding only arrived (RFC 8446 5.4)");
        type = plaintext.data[--plaintext.size];
    }
    if (type != TP_TLS_APPLICATION_DATA)
        return other_content(record, type, plaintext);
    if (record->message_header_size != 0)
        return tp_tls_record_fail(record, TP_TLS_ERROR_UNEXPECTED_MESSAGE,
                                  TP_TLS_ALERT_UNEXPECTED_MESSAGE,
                                  "application data arrived inside a handshake message");
    if (plaintext.size == 0)
        return empty_record(record);
    record->empty_records = 0;
    record->messages = 0;
    record->warnings = 0;
    out->tail += plaintext.size;
    return TP_OK;
}

/* ---- the whole record ---- */

static enum tp_status open_whole(struct tp_tls_record *record, struct tp_span *in,
                                 struct tp_buffer *out)
{
    const uint8_t *header = in->data;
    enum tp_status status = check_header(record, header);
    if (status != TP_OK)
        return status;
    size_t size = record_size(header);
    size_t plaintext_size = size - TP_TLS_HEADER_SIZE - body_overhead(record);
    if (plaintext_size > tp_buffer_space(out))
        return TP_FULL;

    uint8_t nonce[TP_AEAD_NONCE_SIZE];
    uint8_t aad_storage[AAD_SIZE_MAX];
    const uint8_t *body = header + TP_TLS_HEADER_SIZE;
    make_nonce(&record->read, record->explicit_nonce_size != 0 ? body : NULL, nonce);
    struct tp_span aad =
        make_aad(record, record->read.sequence, header, plaintext_size, aad_storage);
    struct tp_span sealed = {body + record->explicit_nonce_size, plaintext_size + TP_AEAD_TAG_SIZE};
    struct tp_span plaintext = {out->data + out->tail, plaintext_size};
    bool opened = tp_aead_open(&record->read.aead, nonce, aad, sealed, out->data + out->tail);
    in->data += size;
    in->size -= size;
    return opened ? deliver(record, header[0], plaintext, out) : bad_tag(record, plaintext);
}

/* ---- the straddling record ---- */

static void take(struct tp_span *in, size_t size)
{
    in->data += size;
    in->size -= size;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The header and, in TLS 1.2 GCM, the explicit nonce behind it. */
static enum tp_status take_header(struct tp_tls_record *record, struct tp_span *in)
{
    bool checked = record->header_size >= TP_TLS_HEADER_SIZE;
    size_t want =
        checked ? TP_TLS_HEADER_SIZE + record->explicit_nonce_size : (size_t)TP_TLS_HEADER_SIZE;
    size_t size = smaller(want - record->header_size, in->size);
    memcpy(record->header + record->header_size, in->data, size);
    record->header_size += size;
    take(in, size);
    if (!checked && record->header_size == TP_TLS_HEADER_SIZE) {
        enum tp_status status = check_header(record, record->header);
        return status == TP_OK ? TP_NEED_MORE : status;
    }
    return TP_NEED_MORE;
}

static enum tp_status begin_body(struct tp_tls_record *record, struct tp_buffer *out)
{
    size_t plaintext_size =
        record_size(record->header) - TP_TLS_HEADER_SIZE - body_overhead(record);
    if (plaintext_size > tp_buffer_space(out))
        return TP_FULL;
    uint8_t nonce[TP_AEAD_NONCE_SIZE];
    uint8_t aad_storage[AAD_SIZE_MAX];
    const uint8_t *explicit_nonce =
        record->explicit_nonce_size != 0 ? record->header + TP_TLS_HEADER_SIZE : NULL;
    make_nonce(&record->read, explicit_nonce, nonce);
    struct tp_span aad =
        make_aad(record, record->read.sequence, record->header, plaintext_size, aad_storage);
    tp_aead_open_begin(&record->read.aead, nonce, aad);
    record->begun = true;
    record->partial = out->data + out->tail;
    record->body_size = plaintext_size;
    record->body_taken = 0;
    record->tag_taken = 0;
    return TP_NEED_MORE;
}

/* The caller compacted out since the last piece: what was decrypted so far follows the tail. The
 * bytes behind the old tail are still there, since compaction only moves unread bytes down. */
static void follow_tail(struct tp_tls_record *record, struct tp_buffer *out)
{
    uint8_t *tail = out->data + out->tail;
    if (record->partial == tail)
        return;
    assert(record->partial > tail && record->partial <= out->data + out->capacity);
    memmove(tail, record->partial, record->body_taken);
    record->partial = tail;
}

void tp_tls_record_moved(struct tp_tls_record *record, const struct tp_buffer *out)
{
    if (!record->begun)
        return;
    assert(record->body_size <= tp_buffer_space(out));
    memcpy(out->data + out->tail, record->partial, record->body_taken);
    record->partial = out->data + out->tail;
}

static enum tp_status take_body(struct tp_tls_record *record, struct tp_span *in,
                                struct tp_buffer *out)
{
    follow_tail(record, out);
    size_t size = smaller(record->body_size - record->body_taken, in->size);
    tp_aead_open_update(&record->read.aead, (struct tp_span){in->data, size},
                        record->partial + record->body_taken);
    record->body_taken += size;
    take(in, size);

    size = smaller(TP_AEAD_TAG_SIZE - record->tag_taken, in->size);
    if (size > 0)
        memcpy(record->tag + record->tag_taken, in->data, size);
    record->tag_taken += size;
    take(in, size);
    if (record->tag_taken < TP_AEAD_TAG_SIZE)
        return TP_NEED_MORE;

    struct tp_span plaintext = {record->partial, record->body_size};
    record->begun = false;
    record->header_size = 0;
    if (!tp_aead_open_finish(&record->read.aead, record->tag))
        return bad_tag(record, plaintext);
    return deliver(record, record->header[0], plaintext, out);
}

static enum tp_status open_piece(struct tp_tls_record *record, struct tp_span *in,
                                 struct tp_buffer *out)
{
    if (record->header_size < TP_TLS_HEADER_SIZE ||
        record->header_size < TP_TLS_HEADER_SIZE + record->explicit_nonce_size)
        return take_header(record, in);
    if (!record->begun) {
        enum tp_status status = begin_body(record, out);
        if (status != TP_NEED_MORE)
            return status;
    }
    return take_body(record, in, out);
}

enum tp_status tp_tls_record_input(struct tp_tls_record *record, struct tp_span *in,
                                   struct tp_buffer *out)
{
    if (record->state != TP_TLS_RECORD_OPEN)
        return record->state == TP_TLS_RECORD_FAILED ? TP_ERROR : TP_CLOSED;
    enum tp_status status = TP_NEED_MORE;
    /* Each turn takes at least one byte or leaves with another status. */
    while (status == TP_NEED_MORE && in->size > 0) {
        bool whole = record->header_size == 0 && in->size >= TP_TLS_HEADER_SIZE &&
                     in->size >= record_size(in->data);
        status = whole ? open_whole(record, in, out) : open_piece(record, in, out);
    }
    tp_tls_refresh_write_key(record);
    return status;
}

/* ---- sealing ---- */

static size_t record_overhead(const struct tp_tls_record *record)
{
    return TP_TLS_HEADER_SIZE + body_overhead(record) + (record->tls13 ? 1 : 0);
}

/* out has room for plaintext.size + record_overhead. Returns that size, or 0 if libcrypto failed.
 */
static size_t seal_one(struct tp_tls_record *record, enum tp_tls_content_type type,
                       struct tp_span plaintext, uint8_t *out)
{
    struct tp_tls_direction *write = &record->write;
    size_t size = plaintext.size + record_overhead(record);
    uint8_t *body = out + TP_TLS_HEADER_SIZE;
    out[0] = record->tls13 ? TP_TLS_APPLICATION_DATA : (uint8_t)type;
    store_be16(out + 1, TP_TLS_VERSION_1_2);
    store_be16(out + 3, size - TP_TLS_HEADER_SIZE);

    uint8_t nonce[TP_AEAD_NONCE_SIZE];
    uint8_t aad_storage[AAD_SIZE_MAX];
    struct tp_span aad = make_aad(record, write->sequence, out, plaintext.size, aad_storage);
    if (record->tls13) {
        memcpy(body, plaintext.data, plaintext.size);
        body[plaintext.size] = (uint8_t)type;
        plaintext = (struct tp_span){body, plaintext.size + 1};
    } else if (record->explicit_nonce_size != 0) {
        /* RFC 5288 3: the sequence number is a fine explicit nonce, being unique under the key. */
        store_be64(body, write->sequence);
    }
    make_nonce(write, record->explicit_nonce_size != 0 ? body : NULL, nonce);
    write->sequence++;
    return tp_aead_seal(&write->aead, nonce, aad, plaintext, body + record->explicit_nonce_size)
               ? size
               : 0;
}

size_t tp_tls_record_sealed_size(const struct tp_tls_record *record, size_t plaintext_size)
{
    size_t records = (plaintext_size + TP_TLS_PLAINTEXT_SIZE_MAX - 1) / TP_TLS_PLAINTEXT_SIZE_MAX;
    return plaintext_size + records * record_overhead(record);
}

size_t tp_tls_record_seal(struct tp_tls_record *record, struct tp_span plaintext, uint8_t *out,
                          size_t capacity)
{
    if (record->state == TP_TLS_RECORD_FAILED || record->close_sent ||
        capacity < tp_tls_record_sealed_size(record, plaintext.size))
        return 0;
    assert(tp_tls_record_output_size(record) == 0); /* tls.c sent it in front */
    size_t written = 0;
    while (plaintext.size > 0) {
        struct tp_span piece = {plaintext.data, smaller(plaintext.size, TP_TLS_PLAINTEXT_SIZE_MAX)};
        if (record->write.sequence == UINT64_MAX) {
            (void)tp_tls_record_fail(record, TP_TLS_ERROR_FLOOD, TP_TLS_ALERT_CLOSE_NOTIFY,
                                     "the record sequence number would wrap");
            return 0;
        }
        size_t size = seal_one(record, TP_TLS_APPLICATION_DATA, piece, out + written);
        if (size == 0)
            return 0;
        written += size;
        take(&plaintext, piece.size);
    }
    return written;
}

bool tp_tls_record_queue(struct tp_tls_record *record, enum tp_tls_content_type type,
                         struct tp_span plaintext)
{
    size_t size = plaintext.size + record_overhead(record);
    if (record->output_head == record->output_tail)
        record->output_head = record->output_tail = 0;
    if (size > sizeof record->output - record->output_tail || record->write.sequence == UINT64_MAX)
        return false;
    size_t written = seal_one(record, type, plaintext, record->output + record->output_tail);
    record->output_tail += written;
    return written != 0;
}

size_t tp_tls_record_output_size(const struct tp_tls_record *record)
{
    return record->output_tail - record->output_head;
}

size_t tp_tls_record_output(struct tp_tls_record *record, uint8_t *out, size_t capacity)
{
    size_t size = smaller(record->output_tail - record->output_head, capacity);
    memcpy(out, record->output + record->output_head, size);
    record->output_head += size;
    return size;
}

/* ---- endings ---- */

static void queue_alert(struct tp_tls_record *record, enum tp_tls_alert alert)
{
    if (record->close_sent)
        return;
    bool closing = alert == TP_TLS_ALERT_CLOSE_NOTIFY;
    uint8_t bytes[2] = {closing ? ALERT_LEVEL_WARNING : ALERT_LEVEL_FATAL, (uint8_t)alert};
    (void)tp_tls_record_queue(record, TP_TLS_ALERT, (struct tp_span){bytes, sizeof bytes});
    record->close_sent = true;
}

void tp_tls_record_close(struct tp_tls_record *record)
{
    if (record->state != TP_TLS_RECORD_FAILED)
        queue_alert(record, TP_TLS_ALERT_CLOSE_NOTIFY);
}

enum tp_status tp_tls_record_end_of_input(struct tp_tls_record *record)
{
    if (record->state == TP_TLS_RECORD_PEER_CLOSED)
        return TP_CLOSED;
    if (record->state == TP_TLS_RECORD_OPEN) {
        record->state = TP_TLS_RECORD_FAILED;
        record->error = TP_TLS_ERROR_TRUNCATED;
        (void)snprintf(record->error_text, sizeof record->error_text,
                       "the connection ended without close_notify");
    }
    return TP_ERROR;
}

enum tp_status tp_tls_record_fail(struct tp_tls_record *record, enum tp_tls_error error,
                                  enum tp_tls_alert alert, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(record->error_text, sizeof record->error_text, format, arguments);
    va_end(arguments);
    record->error = error;
    queue_alert(record, alert);
    record->state = TP_TLS_RECORD_FAILED;
    return TP_ERROR;
}
