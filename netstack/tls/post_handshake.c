/* See post_handshake.h. */
#include "netstack/tls/post_handshake.h"

#include <openssl/ssl.h>
#include <string.h>

#define MESSAGE_HEADER_SIZE 4 /* RFC 8446 4: type, 24-bit length */
#define HELLO_REQUEST 0
#define NEW_SESSION_TICKET 4
#define KEY_UPDATE 24
#define UPDATE_NOT_REQUESTED 0
#define UPDATE_REQUESTED 1
/* RFC 8446 4.6.1: lifetime, age_add, empty nonce, a one-byte ticket, no extensions. */
#define NEW_SESSION_TICKET_SIZE_MIN 14
#define KEY_UPDATE_MESSAGE_SIZE (MESSAGE_HEADER_SIZE + 1)

/* ---- alerts ---- */

static enum tp_status warning(struct tp_tls_record *record)
{
    if (++record->warnings <= TP_TLS_WARNINGS_MAX)
        return TP_NEED_MORE;
    return tp_tls_record_fail(record, TP_TLS_ERROR_FLOOD, TP_TLS_ALERT_UNEXPECTED_MESSAGE,
                              "more than %d warning alerts in a row", TP_TLS_WARNINGS_MAX);
}

const char *tp_tls_alert_name(int description)
{
    switch (description) { /* the registry of RFC 8446 6, where OpenSSL 3.0 says "unknown" */
    case 86:
        return "inappropriate fallback";
    case 109:
        return "missing extension";
    case 116:
        return "certificate required";
    case 121:
        return "ECH required"; /* RFC 9849 */
    default:
        return SSL_alert_desc_string_long(description);
    }
}

enum tp_status tp_tls_alert_input(struct tp_tls_record *record, struct tp_span alert)
{
    if (record->message_header_size != 0)
        return tp_tls_record_fail(record, TP_TLS_ERROR_UNEXPECTED_MESSAGE,
                                  TP_TLS_ALERT_UNEXPECTED_MESSAGE,
                                  "an alert arrived inside a handshake message");
    if (alert.size != 2)
        return tp_tls_record_fail(record, TP_TLS_ERROR_DECODE, TP_TLS_ALERT_DECODE_ERROR,
                                  "an alert record of %zu bytes arrived; 2 were expected",
                                  alert.size);
    unsigned level = alert.data[0];
    unsigned description = alert.data[1];
    if (description == TP_TLS_ALERT_CLOSE_NOTIFY) {
        record->state = TP_TLS_RECORD_PEER_CLOSED;
        return TP_CLOSED;
    }
    /* TLS 1.3 ignores the level: all but these two are fatal (RFC 8446 6). */
    bool ignored = record->tls13 ? description == TP_TLS_ALERT_USER_CANCELED : level == 1;
    if (ignored)
        return warning(record);
    record->error = TP_TLS_ERROR_ALERT_RECEIVED;
    (void)snprintf(record->error_text, sizeof record->error_text,
                   "the server sent the fatal alert \"%s\" (%u)",
                   tp_tls_alert_name((int)description), description);
    record->state = TP_TLS_RECORD_FAILED;
    record->close_sent = true; /* RFC 8446 6.2: a fatal alert is not answered */
    return TP_ERROR;
}

/* ---- KeyUpdate ---- */

/* Our KeyUpdate leaves under the old key; everything after it under the new one. */
static bool send_key_update(struct tp_tls_record *record)
{
    static const uint8_t message[KEY_UPDATE_MESSAGE_SIZE] = {KEY_UPDATE, 0, 0, 1,
                                                             UPDATE_NOT_REQUESTED};
    return tp_tls_record_queue(record, TP_TLS_HANDSHAKE,
                               (struct tp_span){message, sizeof message}) &&
           tp_tls_record_update_keys(record, &record->write);
}

static enum tp_status internal_error(struct tp_tls_record *record)
{
    return tp_tls_record_fail(record, TP_TLS_ERROR_HANDSHAKE, TP_TLS_ALERT_INTERNAL_ERROR,
                              "libcrypto could not derive the next traffic key");
}

static enum tp_status key_update(struct tp_tls_record *record, unsigned request, size_t rest)
{
    if (request != UPDATE_NOT_REQUESTED && request != UPDATE_REQUESTED)
        return tp_tls_record_fail(record, TP_TLS_ERROR_DECODE, TP_TLS_ALERT_ILLEGAL_PARAMETER,
                                  "a KeyUpdate with request %u arrived; 0 or 1 was expected",
                                  request);
    /* RFC 8446 5.1: the key changes behind this message, so its record must end with it. */
    if (rest != 0)
        return tp_tls_record_fail(record, TP_TLS_ERROR_UNEXPECTED_MESSAGE,
                                  TP_TLS_ALERT_UNEXPECTED_MESSAGE,
                                  "%zu bytes followed a KeyUpdate in its record", rest);
    if (!tp_tls_record_update_keys(record, &record->read))
        return internal_error(record);
    /* While an earlier answer still waits to be sent, it answers this request as well
     * (RFC 8446 4.6.3). */
    bool answer = request == UPDATE_REQUESTED && !record->close_sent &&
                  record->output_head == record->output_tail;
    if (answer && !send_key_update(record))
        return internal_error(record);
    return TP_NEED_MORE;
}

void tp_tls_refresh_write_key(struct tp_tls_record *record)
{
    if (record->write.sequence < TP_TLS_RECORDS_PER_KEY || !record->tls13 ||
        record->state != TP_TLS_RECORD_OPEN || record->close_sent)
        return;
    /* Without room for the message it is tried again at the next input. */
    (void)send_key_update(record);
}

/* ---- handshake messages ---- */

static enum tp_status hello_request(struct tp_tls_record *record)
{
    static const uint8_t refusal[2] = {1, TP_TLS_ALERT_NO_RENEGOTIATION};
    /* RFC 5246 7.4.1.1: answered with the warning, or ignored while an earlier answer waits. */
    if (!record->close_sent && record->output_head == record->output_tail)
        (void)tp_tls_record_queue(record, TP_TLS_ALERT, (struct tp_span){refusal, sizeof refusal});
    return TP_NEED_MORE;
}

/* The header is complete: is this message allowed here, at this length? */
static enum tp_status begin_message(struct tp_tls_record *record)
{
    const uint8_t *header = record->message_header;
    unsigned type = header[0];
    size_t size = (size_t)header[1] << 16 | (size_t)header[2] << 8 | header[3];
    if (++record->messages > TP_TLS_POST_HANDSHAKE_MESSAGES_MAX)
        return tp_tls_record_fail(record, TP_TLS_ERROR_FLOOD, TP_TLS_ALERT_UNEXPECTED_MESSAGE,
                                  "more than %d post-handshake messages without application data",
                                  TP_TLS_POST_HANDSHAKE_MESSAGES_MAX);
    bool known =
        record->tls13 ? type == NEW_SESSION_TICKET || type == KEY_UPDATE : type == HELLO_REQUEST;
    if (!known)
        return tp_tls_record_fail(
            record, TP_TLS_ERROR_UNEXPECTED_MESSAGE, TP_TLS_ALERT_UNEXPECTED_MESSAGE,
            "a handshake message of type %u arrived after the handshake", type);
    bool fits = type == NEW_SESSION_TICKET
                    ? size >= NEW_SESSION_TICKET_SIZE_MIN && size <= TP_TLS_POST_HANDSHAKE_SIZE_MAX
                    : size == (type == KEY_UPDATE ? 1U : 0U);
    if (!fits)
        return tp_tls_record_fail(record, TP_TLS_ERROR_DECODE, TP_TLS_ALERT_DECODE_ERROR,
                                  "a handshake message of type %u and %zu bytes arrived", type,
                                  size);
    record->message_left = size;
    return type == HELLO_REQUEST ? hello_request(record) : TP_NEED_MORE;
}

static void take(struct tp_span *data, size_t size)
{
    data->data += size;
    data->size -= size;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static enum tp_status message_piece(struct tp_tls_record *record, struct tp_span *data)
{
    if (record->message_header_size < MESSAGE_HEADER_SIZE) {
        size_t size = smaller(MESSAGE_HEADER_SIZE - record->message_header_size, data->size);
        memcpy(record->message_header + record->message_header_size, data->data, size);
        record->message_header_size += size;
        take(data, size);
        if (record->message_header_size < MESSAGE_HEADER_SIZE)
            return TP_NEED_MORE;
        enum tp_status status = begin_message(record);
        if (status != TP_NEED_MORE)
            return status;
    } else if (record->message_header[0] == KEY_UPDATE) {
        unsigned request = data->data[0];
        take(data, 1);
        record->message_left = 0;
        record->message_header_size = 0;
        return key_update(record, request, data->size);
    } else {
        size_t size = smaller(record->message_left, data->size);
        record->message_left -= size;
        take(data, size);
    }
    if (record->message_left == 0)
        record->message_header_size = 0;
    return TP_NEED_MORE;
}

enum tp_status tp_tls_handshake_message_input(struct tp_tls_record *record, struct tp_span data)
{
    if (data.size == 0)
        return tp_tls_record_fail(record, TP_TLS_ERROR_UNEXPECTED_MESSAGE,
                                  TP_TLS_ALERT_UNEXPECTED_MESSAGE,
                                  "an empty handshake record arrived (RFC 8446 5.1)");
    enum tp_status status = TP_NEED_MORE;
    /* Each turn takes at least one byte. */
    while (status == TP_NEED_MORE && data.size > 0)
        status = message_piece(record, &data);
    return status;
}
