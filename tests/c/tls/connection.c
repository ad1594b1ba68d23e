/* See connection.h. */
#include "tests/c/tls/connection.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct connection *connection_new(struct variant variant)
{
    void *memory = NULL;
    assert_int_equal(posix_memalign(&memory, 64, sizeof(struct connection)), 0);
    struct connection *connection = memory;
    memset(connection, 0, sizeof *connection);
    const char *reason = NULL;
    if (variant.ipsec_mb && !tp_aead_library_open_ipsec_mb(&connection->library, &reason)) {
        free(connection);
        return NULL;
    }
    struct tp_tls_secrets secrets = peer_secrets(variant.tls13, variant.algorithm, 1);
    peer_init(&connection->peer, &secrets);
    assert_true(tp_tls_record_init(&connection->record, &connection->library, &secrets));
    connection->out =
        (struct tp_buffer){connection->out_memory, sizeof connection->out_memory, 0, 0};
    return connection;
}

void connection_free(struct connection *connection)
{
    tp_tls_record_deinit(&connection->record);
    tp_aead_library_close(&connection->library);
    free(connection);
}

void for_each_variant(void (*body)(struct connection *connection))
{
    for (int i = 0; i < 12; i++) {
        struct variant variant = {i % 2 == 1, i / 2 % 2 == 1, (enum tp_aead_algorithm)(i / 4)};
        struct connection *connection = connection_new(variant);
        if (connection == NULL)
            continue;
        body(connection);
        connection_free(connection);
    }
}

void server_sends(struct connection *connection, uint8_t type, const void *data, size_t size)
{
    assert_true(connection->wire_size + size + 64 <= sizeof connection->wire);
    connection->wire_size += peer_seal(&connection->peer, type, (struct tp_span){data, size}, 0,
                                       connection->wire + connection->wire_size);
}

enum tp_status receive_in_pieces(struct connection *connection, size_t size)
{
    enum tp_status status = TP_OK;
    size_t taken = 0;
    while (taken < connection->wire_size && (status == TP_OK || status == TP_NEED_MORE)) {
        size_t left = connection->wire_size - taken;
        struct tp_span in = {connection->wire + taken, left < size ? left : size};
        size_t before = in.size;
        do
            status = tp_tls_record_input(&connection->record, &in, &connection->out);
        while (status == TP_OK && in.size > 0);
        taken += before - in.size;
    }
    connection->wire_size = 0;
    return status;
}

enum tp_status receive(struct connection *connection)
{
    return receive_in_pieces(connection, sizeof connection->wire);
}

void expect_received(struct connection *connection, const void *data, size_t size)
{
    struct tp_span unread = tp_buffer_unread(&connection->out);
    assert_int_equal(unread.size, size);
    assert_memory_equal(unread.data, data, size);
    connection->out.head = connection->out.tail = 0;
}

void expect_fatal_alert(struct connection *connection, uint8_t description)
{
    uint8_t sealed[256];
    uint8_t opened[256];
    size_t size = 0;
    struct tp_span in = {sealed, tp_tls_record_output(&connection->record, sealed, sizeof sealed)};
    assert_int_equal(peer_open(&connection->peer, &in, opened, &size), 21);
    assert_int_equal(size, 2);
    assert_int_equal(opened[0], 2);
    assert_int_equal(opened[1], description);
    assert_int_equal(in.size, 0);
}
