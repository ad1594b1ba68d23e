/* Alerts, tickets, KeyUpdates and HelloRequests, honest and hostile, against the independent peer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/c/tls/connection.h"

enum { ALERT = 21, HANDSHAKE = 22, DATA = 23 };
enum {
    UNEXPECTED_MESSAGE = 10,
    ILLEGAL_PARAMETER = 47,
    DECODE_ERROR = 50,
};

static const uint8_t UPDATE[5] = {24, 0, 0, 1, 0};
static const uint8_t UPDATE_AND_ANSWER[5] = {24, 0, 0, 1, 1};
static const uint8_t HELLO_REQUEST[4] = {0, 0, 0, 0};
/* RFC 8446 4.6.1: lifetime, age_add, nonce "", ticket "T", no extensions. */
static const uint8_t TICKET[18] = {4, 0, 0, 14, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'T', 0, 0};

static void expect_refused(struct connection *connection, enum tp_tls_error error, uint8_t alert)
{
    assert_int_equal(receive(connection), TP_ERROR);
    assert_int_equal(connection->record.error, error);
    expect_fatal_alert(connection, alert);
    connection_free(connection);
}

/* Data passes both ways; it would not under keys out of step. */
static void expect_alive(struct connection *connection)
{
    server_sends(connection, DATA, "down", 4);
    assert_int_equal(receive(connection), TP_OK);
    expect_received(connection, "down", 4);
    uint8_t sealed[64];
    uint8_t opened[64];
    size_t size = 0;
    struct tp_span data = {(const uint8_t *)"up", 2};
    struct tp_span in = {sealed, 0};
    in.size = tp_tls_record_seal(&connection->record, data, sealed, sizeof sealed);
    assert_int_equal(peer_open(&connection->peer, &in, opened, &size), DATA);
    assert_int_equal(size, 2);
    assert_memory_equal(opened, "up", 2);
}

/* ---- alerts ---- */

static void test_alert_close_notify_closes(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct connection *connection = connection_new(i == 0 ? TLS12 : TLS13);
        server_sends(connection, DATA, "last", 4);
        server_sends(connection, ALERT, "\x01\x00", 2);
        server_sends(connection, DATA, "late", 4);
        assert_int_equal(receive(connection), TP_CLOSED);
        server_sends(connection, DATA, "later", 5);
        assert_int_equal(receive(connection), TP_CLOSED);
        expect_received(connection, "last", 4);
        assert_int_equal(tp_tls_record_end_of_input(&connection->record), TP_CLOSED);
        connection_free(connection);
    }
}

static void test_alert_fatal_is_named_and_not_answered(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct connection *connection = connection_new(i == 0 ? TLS12 : TLS13);
        server_sends(connection, ALERT, "\x02\x14", 2);
        assert_int_equal(receive(connection), TP_ERROR);
        assert_int_equal(connection->record.error, TP_TLS_ERROR_ALERT_RECEIVED);
        assert_non_null(strstr(connection->record.error_text, "bad record mac"));
        assert_int_equal(tp_tls_record_output_size(&connection->record), 0);
        connection_free(connection);
    }
}

static void test_alert_of_warning_level_is_fatal_in_tls13(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS13);
    server_sends(connection, ALERT, "\x01\x50", 2); /* internal_error */
    assert_int_equal(receive(connection), TP_ERROR);
    assert_int_equal(connection->record.error, TP_TLS_ERROR_ALERT_RECEIVED);
    connection_free(connection);
}

static void test_alert_warnings_are_tolerated_until_they_are_a_flood(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct connection *connection = connection_new(i == 0 ? TLS12 : TLS13);
        for (int n = 0; n < TP_TLS_WARNINGS_MAX; n++)
            server_sends(connection, ALERT, "\x01\x5a", 2); /* user_canceled */
        assert_int_equal(receive(connection), TP_NEED_MORE);
        expect_alive(connection);
        for (int n = 0; n <= TP_TLS_WARNINGS_MAX; n++)
            server_sends(connection, ALERT, "\x01\x5a", 2);
        expect_refused(connection, TP_TLS_ERROR_FLOOD, UNEXPECTED_MESSAGE);
    }
}

static void test_alert_of_wrong_size_is_refused(void **state)
{
    (void)state;
    for (size_t size = 0; size < 5; size++) {
        if (size == 2)
            continue;
        struct connection *connection = connection_new(TLS13);
        server_sends(connection, ALERT, "\x01\x00\x01\x00", size);
        expect_refused(connection, TP_TLS_ERROR_DECODE, DECODE_ERROR);
    }
}

static void test_alert_inside_a_handshake_message_is_refused(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS13);
    server_sends(connection, HANDSHAKE, TICKET, 10);
    server_sends(connection, ALERT, "\x01\x00", 2);
    expect_refused(connection, TP_TLS_ERROR_UNEXPECTED_MESSAGE, UNEXPECTED_MESSAGE);
}

static void test_end_without_close_notify_is_truncation(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS13);
    assert_int_equal(tp_tls_record_end_of_input(&connection->record), TP_ERROR);
    assert_int_equal(connection->record.error, TP_TLS_ERROR_TRUNCATED);
    connection_free(connection);
}

/* ---- tickets ---- */

static void test_ticket_whole_coalesced_or_bytewise_is_ignored(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS13);
    uint8_t two[2 * sizeof TICKET];
    memcpy(two, TICKET, sizeof TICKET);
    memcpy(two + sizeof TICKET, TICKET, sizeof TICKET);
    server_sends(connection, HANDSHAKE, two, sizeof two);
    for (size_t i = 0; i < sizeof TICKET; i++)
        server_sends(connection, HANDSHAKE, TICKET + i, 1);
    assert_int_equal(receive(connection), TP_NEED_MORE);
    expect_alive(connection);
    connection_free(connection);
}

static void test_ticket_of_greatest_size_is_ignored_and_one_more_refused(void **state)
{
    (void)state;
    static uint8_t body[16384];
    struct connection *connection = connection_new(TLS13);
    body[0] = 4;
    body[1] = 1; /* 65536 bytes */
    server_sends(connection, HANDSHAKE, body, 4);
    memset(body, 0, sizeof body);
    for (int i = 0; i < 4; i++) {
        server_sends(connection, HANDSHAKE, body, sizeof body);
        assert_int_equal(receive(connection), TP_NEED_MORE);
    }
    expect_alive(connection);
    server_sends(connection, HANDSHAKE, "\x04\x01\x00\x01", 4);
    expect_refused(connection, TP_TLS_ERROR_DECODE, DECODE_ERROR);
}

static void test_ticket_too_small_is_refused(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS13);
    server_sends(connection, HANDSHAKE, "\x04\x00\x00\x0d", 4);
    expect_refused(connection, TP_TLS_ERROR_DECODE, DECODE_ERROR);
}

static void test_ticket_split_by_data_is_refused(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS13);
    server_sends(connection, HANDSHAKE, TICKET, 10);
    server_sends(connection, DATA, "x", 1);
    expect_refused(connection, TP_TLS_ERROR_UNEXPECTED_MESSAGE, UNEXPECTED_MESSAGE);
}

static void test_ticket_flood_is_refused(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS13);
    for (int i = 0; i < TP_TLS_POST_HANDSHAKE_MESSAGES_MAX; i++)
        server_sends(connection, HANDSHAKE, TICKET, sizeof TICKET);
    assert_int_equal(receive(connection), TP_NEED_MORE);
    server_sends(connection, HANDSHAKE, TICKET, sizeof TICKET);
    expect_refused(connection, TP_TLS_ERROR_FLOOD, UNEXPECTED_MESSAGE);
}

static void test_handshake_record_empty_is_refused(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS13);
    server_sends(connection, HANDSHAKE, TICKET, 0);
    expect_refused(connection, TP_TLS_ERROR_UNEXPECTED_MESSAGE, UNEXPECTED_MESSAGE);
}

static void test_handshake_message_of_another_type_is_refused(void **state)
{
    (void)state;
    for (uint8_t type = 0; type < 26; type++) {
        if (type == 4 || type == 24)
            continue;
        struct connection *connection = connection_new(TLS13);
        uint8_t message[8] = {type, 0, 0, 4, 0, 0, 0, 0};
        server_sends(connection, HANDSHAKE, message, sizeof message);
        expect_refused(connection, TP_TLS_ERROR_UNEXPECTED_MESSAGE, UNEXPECTED_MESSAGE);
    }
}

/* ---- KeyUpdate ---- */

static void expect_answer(struct connection *connection)
{
    uint8_t sealed[64];
    uint8_t opened[64];
    size_t size = tp_tls_record_output(&connection->record, sealed, sizeof sealed);
    struct tp_span in = {sealed, size};
    assert_int_equal(peer_open(&connection->peer, &in, opened, &size), HANDSHAKE);
    assert_int_equal(size, sizeof UPDATE);
    assert_memory_equal(opened, UPDATE, sizeof UPDATE);
    assert_int_equal(in.size, 0);
    peer_update(&connection->peer, &connection->peer.client);
}

static void key_update(struct connection *connection)
{
    if (!connection->peer.tls13)
        return;
    server_sends(connection, HANDSHAKE, UPDATE, sizeof UPDATE);
    peer_update(&connection->peer, &connection->peer.server);
    server_sends(connection, HANDSHAKE, UPDATE_AND_ANSWER, sizeof UPDATE_AND_ANSWER);
    peer_update(&connection->peer, &connection->peer.server);
    assert_int_equal(receive(connection), TP_NEED_MORE);
    expect_answer(connection);
    expect_alive(connection);
}

static void test_key_update_switches_keys_and_is_answered(void **state)
{
    (void)state;
    for_each_variant(key_update);
}

static void test_key_update_in_two_records_is_taken(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS13);
    server_sends(connection, HANDSHAKE, UPDATE, 4);
    server_sends(connection, HANDSHAKE, UPDATE + 4, 1);
    peer_update(&connection->peer, &connection->peer.server);
    assert_int_equal(receive(connection), TP_NEED_MORE);
    expect_alive(connection);
    connection_free(connection);
}

static void test_key_update_requests_in_a_row_are_answered_once(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS13);
    for (int i = 0; i < 3; i++) {
        server_sends(connection, HANDSHAKE, UPDATE_AND_ANSWER, sizeof UPDATE_AND_ANSWER);
        peer_update(&connection->peer, &connection->peer.server);
    }
    assert_int_equal(receive(connection), TP_NEED_MORE);
    expect_answer(connection);
    expect_alive(connection);
    connection_free(connection);
}

static void test_key_update_followed_by_bytes_in_its_record_is_refused(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS13);
    uint8_t both[sizeof UPDATE + sizeof TICKET];
    memcpy(both, UPDATE, sizeof UPDATE);
    memcpy(both + sizeof UPDATE, TICKET, sizeof TICKET);
    server_sends(connection, HANDSHAKE, both, sizeof both);
    expect_refused(connection, TP_TLS_ERROR_UNEXPECTED_MESSAGE, UNEXPECTED_MESSAGE);
}

static void test_key_update_with_old_keys_behind_it_is_refused(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS13);
    server_sends(connection, HANDSHAKE, UPDATE, sizeof UPDATE);
    server_sends(connection, DATA, "old key", 7);
    expect_refused(connection, TP_TLS_ERROR_BAD_RECORD_MAC, 20);
}

static void test_key_update_of_unknown_request_is_refused(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS13);
    server_sends(connection, HANDSHAKE, "\x18\x00\x00\x01\x02", 5);
    expect_refused(connection, TP_TLS_ERROR_DECODE, ILLEGAL_PARAMETER);
}

static void test_key_update_of_wrong_size_is_refused(void **state)
{
    (void)state;
    for (uint8_t size = 0; size < 4; size++) {
        if (size == 1)
            continue;
        struct connection *connection = connection_new(TLS13);
        uint8_t message[7] = {24, 0, 0, size, 0, 0, 0};
        server_sends(connection, HANDSHAKE, message, 4U + size);
        expect_refused(connection, TP_TLS_ERROR_DECODE, DECODE_ERROR);
    }
}

static void test_key_update_flood_is_refused(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS13);
    for (int i = 0; i < TP_TLS_POST_HANDSHAKE_MESSAGES_MAX; i++) {
        server_sends(connection, HANDSHAKE, UPDATE, sizeof UPDATE);
        peer_update(&connection->peer, &connection->peer.server);
    }
    assert_int_equal(receive(connection), TP_NEED_MORE);
    server_sends(connection, HANDSHAKE, UPDATE, sizeof UPDATE);
    expect_refused(connection, TP_TLS_ERROR_FLOOD, UNEXPECTED_MESSAGE);
}

static void test_key_update_is_sent_before_the_write_key_wears_out(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS13);
    connection->record.write.sequence = TP_TLS_RECORDS_PER_KEY - 1;
    connection->peer.client.sequence = TP_TLS_RECORDS_PER_KEY - 1;
    expect_alive(connection);
    assert_int_equal(tp_tls_record_output_size(&connection->record), 0);
    server_sends(connection, DATA, "x", 1);
    assert_int_equal(receive(connection), TP_OK);
    expect_received(connection, "x", 1);
    expect_answer(connection);
    expect_alive(connection);
    connection_free(connection);
}

/* ---- TLS 1.2 ---- */

static void test_hello_request_is_refused_with_a_warning(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS12);
    server_sends(connection, HANDSHAKE, HELLO_REQUEST, sizeof HELLO_REQUEST);
    server_sends(connection, HANDSHAKE, HELLO_REQUEST, sizeof HELLO_REQUEST);
    assert_int_equal(receive(connection), TP_NEED_MORE);
    uint8_t sealed[64];
    uint8_t opened[64];
    size_t size = tp_tls_record_output(&connection->record, sealed, sizeof sealed);
    struct tp_span in = {sealed, size};
    assert_int_equal(peer_open(&connection->peer, &in, opened, &size), ALERT);
    assert_memory_equal(opened, "\x01\x64", 2); /* no_renegotiation, RFC 5246 7.2.2 */
    assert_int_equal(in.size, 0);
    expect_alive(connection);
    connection_free(connection);
}

static void test_hello_request_flood_is_refused(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS12);
    for (int i = 0; i <= TP_TLS_POST_HANDSHAKE_MESSAGES_MAX; i++)
        server_sends(connection, HANDSHAKE, HELLO_REQUEST, sizeof HELLO_REQUEST);
    assert_int_equal(receive(connection), TP_ERROR);
    assert_int_equal(connection->record.error, TP_TLS_ERROR_FLOOD);
    connection_free(connection);
}

static void test_hello_request_with_a_body_is_refused(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS12);
    server_sends(connection, HANDSHAKE, "\x00\x00\x00\x01\x00", 5);
    expect_refused(connection, TP_TLS_ERROR_DECODE, DECODE_ERROR);
}

static void test_handshake_message_in_tls12_is_refused(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS12);
    server_sends(connection, HANDSHAKE, TICKET, sizeof TICKET);
    expect_refused(connection, TP_TLS_ERROR_UNEXPECTED_MESSAGE, UNEXPECTED_MESSAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alert_close_notify_closes),
        cmocka_unit_test(test_alert_fatal_is_named_and_not_answered),
        cmocka_unit_test(test_alert_of_warning_level_is_fatal_in_tls13),
        cmocka_unit_test(test_alert_warnings_are_tolerated_until_they_are_a_flood),
        cmocka_unit_test(test_alert_of_wrong_size_is_refused),
        cmocka_unit_test(test_alert_inside_a_handshake_message_is_refused),
        cmocka_unit_test(test_end_without_close_notify_is_truncation),
        cmocka_unit_test(test_ticket_whole_coalesced_or_bytewise_is_ignored),
        cmocka_unit_test(test_ticket_of_greatest_size_is_ignored_and_one_more_refused),
        cmocka_unit_test(test_ticket_too_small_is_refused),
        cmocka_unit_test(test_ticket_split_by_data_is_refused),
        cmocka_unit_test(test_ticket_flood_is_refused),
        cmocka_unit_test(test_handshake_record_empty_is_refused),
        cmocka_unit_test(test_handshake_message_of_another_type_is_refused),
        cmocka_unit_test(test_key_update_switches_keys_and_is_answered),
        cmocka_unit_test(test_key_update_in_two_records_is_taken),
        cmocka_unit_test(test_key_update_requests_in_a_row_are_answered_once),
        cmocka_unit_test(test_key_update_followed_by_bytes_in_its_record_is_refused),
        cmocka_unit_test(test_key_update_with_old_keys_behind_it_is_refused),
        cmocka_unit_test(test_key_update_of_unknown_request_is_refused),
        cmocka_unit_test(test_key_update_of_wrong_size_is_refused),
        cmocka_unit_test(test_key_update_flood_is_refused),
        cmocka_unit_test(test_key_update_is_sent_before_the_write_key_wears_out),
        cmocka_unit_test(test_hello_request_is_refused_with_a_warning),
        cmocka_unit_test(test_hello_request_flood_is_refused),
        cmocka_unit_test(test_hello_request_with_a_body_is_refused),
        cmocka_unit_test(test_handshake_message_in_tls12_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
