/* The record layer against an independent peer: what is opened, what is refused and how.
 *
 * Vectors: RFC 8448 section 3, whose records open only under the keys that its secrets give. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#ifdef TP_HAVE_IPSEC_MB
#include <cpuid.h>
#endif

#include "tests/c/tls/connection.h"

enum { CCS = 20, ALERT = 21, HANDSHAKE = 22, DATA = 23 };
enum { BAD_RECORD_MAC = 20, RECORD_OVERFLOW = 22, UNEXPECTED_MESSAGE = 10, PROTOCOL_VERSION = 70 };

static uint8_t noise[3 * 16384];

static int fill_noise(void **state)
{
    (void)state;
    uint32_t value = 1;
    for (size_t i = 0; i < sizeof noise; i++) {
        value = value * 1664525 + 1013904223; /* Numerical Recipes' generator */
        noise[i] = (uint8_t)(value >> 24);
    }
    return 0;
}

/* ---- RFC 8448 section 3 ---- */

static const uint8_t RFC8448_SERVER_SECRET[32] =
    "\xa1\x1a\xf9\xf0\x55\x31\xf8\x56\xad\x47\x11\x6b\x45\xa9\x50\x32"
    "\x82\x04\xb4\xf4\x4b\xfb\x6b\x3a\x4b\x4f\x1f\x3f\xcb\x63\x16\x43";
static const uint8_t RFC8448_CLIENT_SECRET[32] =
    "\x9e\x40\x64\x6c\xe7\x9a\x7f\x9d\xc0\x5a\xf8\x88\x9b\xce\x65\x52"
    "\x87\x5a\xfa\x0b\x06\xdf\x00\x87\xf7\x92\xeb\xb7\xc1\x75\x04\xa5";
static const uint8_t RFC8448_SERVER_DATA[72] =
    "\x17\x03\x03\x00\x43\x2e\x93\x7e\x11\xef\x4a\xc7\x40\xe5\x38\xad\x36\x00\x5f\xc4\xa4\x69\x32"
    "\xfc\x32\x25\xd0\x5f\x82\xaa\x1b\x36\xe3\x0e\xfa\xf9\x7d\x90\xe6\xdf\xfc\x60\x2d\xcb\x50\x1a"
    "\x59\xa8\xfc\xc4\x9c\x4b\xf2\xe5\xf0\xa2\x1c\x00\x47\xc2\xab\xf3\x32\x54\x0d\xd0\x32\xe1\x67"
    "\xc2\x95\x5d";
static const uint8_t RFC8448_SERVER_CLOSE[24] =
    "\x17\x03\x03\x00\x13\xb5\x8f\xd6\x71\x66\xeb\xf5\x99\xd2\x47\x20\xcf\xbe\x7e\xfa\x7a\x88\x64"
    "\xa9";
static const uint8_t RFC8448_CLIENT_DATA[72] =
    "\x17\x03\x03\x00\x43\xa2\x3f\x70\x54\xb6\x2c\x94\xd0\xaf\xfa\xfe\x82\x28\xba\x55\xcb\xef\xac"
    "\xea\x42\xf9\x14\xaa\x66\xbc\xab\x3f\x2b\x98\x19\xa8\xa5\xb4\x6b\x39\x5b\xd5\x4a\x9a\x20\x44"
    "\x1e\x2b\x62\x97\x4e\x1f\x5a\x62\x92\xa2\x97\x70\x14\xbd\x1e\x3d\xea\xe6\x3a\xee\xbb\x21\x69"
    "\x49\x15\xe4";
static const uint8_t RFC8448_CLIENT_CLOSE[24] =
    "\x17\x03\x03\x00\x13\xc9\x87\x27\x60\x65\x56\x66\xb7\x4d\x7f\xf1\x15\x3e\xfd\x6d\xb6\xd0\xb0"
    "\xe3";
#define RFC8448_DATA_SIZE 50 /* the bytes 0, 1, ... 49, both ways */

static void test_key_schedule_rfc8448_secrets_give_its_keys(void **state)
{
    (void)state;
    struct tp_tls_keys keys;
    assert_true(tp_tls13_keys("SHA256", (struct tp_span){RFC8448_SERVER_SECRET, 32}, 16, &keys));
    assert_memory_equal(keys.key,
                        "\x9f\x02\x28\x3b\x6c\x9c\x07\xef\xc2\x6b\xb9\xf2\xac\x92\xe3\x56", 16);
    assert_memory_equal(keys.iv, "\xcf\x78\x2b\x88\xdd\x83\x54\x9a\xad\xf1\xe9\x84", 12);
    assert_true(tp_tls13_keys("SHA256", (struct tp_span){RFC8448_CLIENT_SECRET, 32}, 16, &keys));
    assert_memory_equal(keys.key,
                        "\x17\x42\x2d\xda\x59\x6e\xd5\xd9\xac\xd8\x90\xe3\xc6\x3f\x50\x51", 16);
    assert_memory_equal(keys.iv, "\x5b\x78\x92\x3d\xee\x08\x57\x90\x33\xe5\x23\xd9", 12);
}

static void rfc8448(struct connection *connection)
{
    struct tp_tls_record *record = &connection->record;
    struct tp_tls_secrets secrets = {
        .tls13 = true, .algorithm = TP_AEAD_AES_128_GCM, .digest = "SHA256", .secret_size = 32};
    memcpy(secrets.server, RFC8448_SERVER_SECRET, 32);
    memcpy(secrets.client, RFC8448_CLIENT_SECRET, 32);
    tp_tls_record_deinit(record);
    assert_true(tp_tls_record_init(record, &connection->library, &secrets));
    record->read.sequence = 1; /* the server's first record was its NewSessionTicket */
    uint8_t data[RFC8448_DATA_SIZE];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)i;

    uint8_t sealed[128];
    size_t size =
        tp_tls_record_seal(record, (struct tp_span){data, sizeof data}, sealed, sizeof sealed);
    assert_int_equal(size, sizeof RFC8448_CLIENT_DATA);
    assert_memory_equal(sealed, RFC8448_CLIENT_DATA, size);
    tp_tls_record_close(record);
    assert_int_equal(tp_tls_record_output(record, sealed, sizeof sealed), 24);
    assert_memory_equal(sealed, RFC8448_CLIENT_CLOSE, 24);

    memcpy(connection->wire, RFC8448_SERVER_DATA, sizeof RFC8448_SERVER_DATA);
    memcpy(connection->wire + 72, RFC8448_SERVER_CLOSE, sizeof RFC8448_SERVER_CLOSE);
    connection->wire_size = 72 + 24;
    assert_int_equal(receive(connection), TP_CLOSED);
    expect_received(connection, data, sizeof data);
    assert_int_equal(tp_tls_record_end_of_input(record), TP_CLOSED);
}

static void test_record_rfc8448_trace_is_reproduced(void **state)
{
    (void)state;
    struct variant variant = TLS13;
    for (int i = 0; i < 2; i++) {
        variant.ipsec_mb = i == 1;
        struct connection *connection = connection_new(variant);
        if (connection == NULL)
            continue;
        rfc8448(connection);
        connection_free(connection);
    }
}

/* ---- what is opened ---- */

static void every_split(struct connection *connection)
{
    static const size_t sizes[] = {1, 15, 16, 17, 63, 64, 65, 257};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (size_t piece = 1; piece < sizes[i] + 40; piece++) {
            server_sends(connection, DATA, noise, sizes[i]);
            server_sends(connection, DATA, noise + sizes[i], 3);
            assert_int_equal(receive_in_pieces(connection, piece), TP_OK);
            expect_received(connection, noise, sizes[i] + 3);
        }
    }
}

static void test_record_straddling_at_every_byte_is_opened(void **state)
{
    (void)state;
    for_each_variant(every_split);
}

static void largest(struct connection *connection)
{
    server_sends(connection, DATA, noise, 16384);
    assert_int_equal(receive(connection), TP_OK);
    expect_received(connection, noise, 16384);
    server_sends(connection, DATA, noise, 16384);
    assert_int_equal(receive_in_pieces(connection, 1448), TP_OK);
    expect_received(connection, noise, 16384);
}

static void test_record_of_greatest_size_is_opened(void **state)
{
    (void)state;
    for_each_variant(largest);
}

static void test_record_padding_is_stripped(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS13);
    struct tp_span data = {noise, 100};
    connection->wire_size = peer_seal(&connection->peer, DATA, data, 16384 - 100, connection->wire);
    assert_int_equal(receive(connection), TP_OK);
    expect_received(connection, noise, 100);
    connection_free(connection);
}

static void tail_waits(struct connection *connection)
{
    server_sends(connection, DATA, noise, 300);
    size_t size = connection->wire_size;
    for (size_t i = 0; i < size; i++) {
        struct tp_span in = {connection->wire + i, 1};
        assert_int_equal(connection->out.tail, 0);
        enum tp_status status = tp_tls_record_input(&connection->record, &in, &connection->out);
        assert_int_equal(status, i + 1 < size ? TP_NEED_MORE : TP_OK);
    }
    connection->wire_size = 0;
    expect_received(connection, noise, 300);
}

static void test_record_plaintext_is_invisible_before_its_tag(void **state)
{
    (void)state;
    for_each_variant(tail_waits);
}

/* Unread bytes move to the front of the buffer while a record is half decrypted behind them. */
static void compacted(struct connection *connection)
{
    struct tp_buffer *out = &connection->out;
    server_sends(connection, DATA, noise, 100);
    server_sends(connection, DATA, noise + 100, 500);
    struct tp_span in = {connection->wire, connection->wire_size - 200};
    assert_int_equal(tp_tls_record_input(&connection->record, &in, out), TP_OK);
    assert_int_equal(tp_tls_record_input(&connection->record, &in, out), TP_NEED_MORE);
    memmove(out->data, out->data + 60, 40);
    out->tail = 40;
    in = (struct tp_span){connection->wire + connection->wire_size - 200, 200};
    assert_int_equal(tp_tls_record_input(&connection->record, &in, out), TP_OK);
    connection->wire_size = 0;
    expect_received(connection, noise + 60, 540);
}

static void test_record_straddling_survives_compaction(void **state)
{
    (void)state;
    for_each_variant(compacted);
}

static void full(struct connection *connection)
{
    struct tp_buffer *out = &connection->out;
    size_t extra = connection->peer.tls13 ? 1 : 0; /* the content type */
    for (size_t piece = 1000; piece > 0; piece = piece == 1000 ? 7 : 0) {
        server_sends(connection, DATA, noise, 100);
        out->capacity = 100 + extra - 1;
        struct tp_span in = {connection->wire, 0};
        enum tp_status status = TP_NEED_MORE;
        while (status == TP_NEED_MORE) {
            size_t left = (size_t)(connection->wire + connection->wire_size - in.data);
            in.size = left < piece ? left : piece;
            status = tp_tls_record_input(&connection->record, &in, out);
        }
        assert_int_equal(status, TP_FULL);
        assert_int_equal(out->tail, 0);
        out->capacity = 100 + extra;
        in.size = (size_t)(connection->wire + connection->wire_size - in.data);
        assert_int_equal(tp_tls_record_input(&connection->record, &in, out), TP_OK);
        assert_int_equal(in.size, 0);
        connection->wire_size = 0;
        expect_received(connection, noise, 100);
    }
}

static void test_record_without_room_waits_until_there_is(void **state)
{
    (void)state;
    for_each_variant(full);
}

/* ---- what is refused ---- */

static void corrupt(struct connection *connection, size_t piece, size_t position)
{
    static const uint8_t nothing[200] = {0};
    server_sends(connection, DATA, noise, 50);
    size_t start = connection->wire_size;
    server_sends(connection, DATA, noise, 200);
    connection->wire[start + position] ^= 0x10;
    server_sends(connection, DATA, noise, 20);
    assert_int_equal(receive_in_pieces(connection, piece), TP_ERROR);
    assert_int_equal(connection->record.error, TP_TLS_ERROR_BAD_RECORD_MAC);
    assert_memory_equal(connection->out.data + 50, nothing, 200); /* the unverified is wiped */
    expect_received(connection, noise, 50);
    expect_fatal_alert(connection, BAD_RECORD_MAC);
    server_sends(connection, DATA, noise, 10);
    assert_int_equal(receive(connection), TP_ERROR);
    expect_received(connection, noise, 0);
    uint8_t sealed[64];
    struct tp_span data = {noise, 1};
    assert_int_equal(tp_tls_record_seal(&connection->record, data, sealed, sizeof sealed), 0);
}

static void test_record_with_one_bit_flipped_is_refused(void **state)
{
    (void)state;
    for (int i = 0; i < 12 * 3 * 2; i++) {
        struct variant variant = {i % 2 == 1, i / 2 % 2 == 1, (enum tp_aead_algorithm)(i / 4 % 3)};
        struct connection *connection = connection_new(variant);
        if (connection == NULL)
            continue;
        size_t positions[] = {8, 100, 5 + 200 + 15};
        corrupt(connection, i / 36 == 0 ? 4096 : 13, positions[i / 12 % 3]);
        connection_free(connection);
    }
}

static size_t body_max(const struct connection *connection)
{
    if (connection->peer.tls13)
        return 16384 + 1 + 16;
    return 16384 + 16 + connection->record.explicit_nonce_size;
}

/* Only the header is given: it must be refused before any byte of the body. */
static void overflow(struct connection *connection)
{
    size_t size = body_max(connection) + 1;
    uint8_t header[5] = {DATA, 3, 3, (uint8_t)(size >> 8), (uint8_t)size};
    memcpy(connection->wire, header, 5);
    connection->wire_size = 5;
    assert_int_equal(receive(connection), TP_ERROR);
    assert_int_equal(connection->record.error, TP_TLS_ERROR_RECORD_OVERFLOW);
    expect_fatal_alert(connection, RECORD_OVERFLOW);
}

static void test_record_over_the_limit_is_refused_by_its_header(void **state)
{
    (void)state;
    for_each_variant(overflow);
}

static void overflow_whole(struct connection *connection)
{
    server_sends(connection, DATA, noise, 16385);
    assert_int_equal(receive(connection), TP_ERROR);
    assert_int_equal(connection->record.error, TP_TLS_ERROR_RECORD_OVERFLOW);
    expect_received(connection, noise, 0);
}

static void test_record_of_one_byte_too_many_is_refused(void **state)
{
    (void)state;
    for_each_variant(overflow_whole);
}

static void too_short(struct connection *connection)
{
    uint8_t header[5] = {DATA, 3, 3, 0, 15};
    memcpy(connection->wire, header, 5);
    connection->wire_size = 5;
    assert_int_equal(receive(connection), TP_ERROR);
    assert_int_equal(connection->record.error, TP_TLS_ERROR_BAD_RECORD_MAC);
    expect_fatal_alert(connection, BAD_RECORD_MAC);
}

static void test_record_too_short_for_a_tag_is_refused(void **state)
{
    (void)state;
    for_each_variant(too_short);
}

static void empty_flood(struct connection *connection)
{
    for (int i = 0; i < TP_TLS_EMPTY_RECORDS_MAX; i++)
        server_sends(connection, DATA, noise, 0);
    server_sends(connection, DATA, noise, 1);
    for (int i = 0; i < TP_TLS_EMPTY_RECORDS_MAX; i++)
        server_sends(connection, DATA, noise, 0);
    assert_int_equal(receive(connection), TP_NEED_MORE);
    expect_received(connection, noise, 1);
    server_sends(connection, DATA, noise, 0);
    assert_int_equal(receive_in_pieces(connection, 3), TP_ERROR);
    assert_int_equal(connection->record.error, TP_TLS_ERROR_FLOOD);
}

static void test_record_empty_is_tolerated_until_it_is_a_flood(void **state)
{
    (void)state;
    for_each_variant(empty_flood);
}

static void expect_refused(struct connection *connection, enum tp_tls_error error, uint8_t alert)
{
    assert_int_equal(receive(connection), TP_ERROR);
    assert_int_equal(connection->record.error, error);
    expect_fatal_alert(connection, alert);
    expect_received(connection, noise, 0);
    connection_free(connection);
}

static void test_record_of_padding_only_is_refused(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS13);
    connection->wire_size =
        peer_seal(&connection->peer, 0, (struct tp_span){noise, 0}, 30, connection->wire);
    expect_refused(connection, TP_TLS_ERROR_UNEXPECTED_MESSAGE, UNEXPECTED_MESSAGE);
}

static void test_record_without_content_type_is_refused(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS13);
    /* 16 bytes of body: a tag over nothing, made by the peer's cipher under its keys. */
    struct peer *peer = &connection->peer;
    uint8_t header[5] = {DATA, 3, 3, 0, 16};
    struct tp_aead_library libcrypto = {NULL};
    static struct tp_aead aead;
    assert_true(tp_aead_init(&aead, &libcrypto, TP_AEAD_AES_128_GCM, peer->server.key, true));
    memcpy(connection->wire, header, 5);
    assert_true(tp_aead_seal(&aead, peer->server.iv, (struct tp_span){header, 5},
                             (struct tp_span){noise, 0}, connection->wire + 5));
    tp_aead_deinit(&aead);
    connection->wire_size = 21;
    expect_refused(connection, TP_TLS_ERROR_UNEXPECTED_MESSAGE, UNEXPECTED_MESSAGE);
}

static void test_record_in_plaintext_after_the_keys_is_refused(void **state)
{
    (void)state;
    for (uint8_t type = 0; type < 26; type++) {
        if (type == DATA)
            continue;
        struct connection *connection = connection_new(TLS13);
        uint8_t record[7] = {type, 3, 3, 0, 2, 1, 0};
        memcpy(connection->wire, record, sizeof record);
        connection->wire_size = sizeof record;
        expect_refused(connection, TP_TLS_ERROR_UNEXPECTED_MESSAGE, UNEXPECTED_MESSAGE);
    }
}

static void test_record_of_unknown_type_is_refused(void **state)
{
    (void)state;
    static const uint8_t types[] = {0, 1, CCS, 24, 25, 255};
    for (size_t i = 0; i < 2 * sizeof types; i++) {
        struct connection *connection = connection_new(i % 2 == 0 ? TLS12 : TLS13);
        if (i % 2 == 1 && types[i / 2] == 0) { /* TLS 1.3: padding, tested above */
            connection_free(connection);
            continue;
        }
        server_sends(connection, types[i / 2], "\x01", 1);
        expect_refused(connection, TP_TLS_ERROR_UNEXPECTED_MESSAGE, UNEXPECTED_MESSAGE);
    }
}

static void test_record_of_another_version_is_refused_in_tls12(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS12);
    server_sends(connection, DATA, noise, 5);
    connection->wire[2] = 1;
    expect_refused(connection, TP_TLS_ERROR_DECODE, PROTOCOL_VERSION);
}

static void test_record_of_another_version_fails_its_tag_in_tls13(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS13);
    server_sends(connection, DATA, noise, 5);
    connection->wire[2] = 1;
    expect_refused(connection, TP_TLS_ERROR_BAD_RECORD_MAC, BAD_RECORD_MAC);
}

static void test_record_replayed_is_refused(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS13);
    server_sends(connection, DATA, noise, 5);
    uint8_t copy[27];
    memcpy(copy, connection->wire, sizeof copy);
    assert_int_equal(receive(connection), TP_OK);
    expect_received(connection, noise, 5);
    memcpy(connection->wire, copy, sizeof copy);
    connection->wire_size = sizeof copy;
    expect_refused(connection, TP_TLS_ERROR_BAD_RECORD_MAC, BAD_RECORD_MAC);
}

static void test_record_behind_the_last_sequence_number_is_refused(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS13);
    connection->record.read.sequence = connection->peer.server.sequence = UINT64_MAX - 1;
    server_sends(connection, DATA, noise, 5);
    assert_int_equal(receive(connection), TP_OK);
    expect_received(connection, noise, 5);
    server_sends(connection, DATA, noise, 5);
    assert_int_equal(receive(connection), TP_ERROR);
    assert_int_equal(connection->record.error, TP_TLS_ERROR_FLOOD);
    connection_free(connection);
}

/* ---- what is sealed ---- */

static void sealed_sizes(struct connection *connection)
{
    static const size_t sizes[] = {1, 2, 255, 16383, 16384, 16385, 40000};
    static uint8_t sealed[3 * PEER_RECORD_SIZE_MAX];
    static uint8_t opened[PEER_RECORD_SIZE_MAX];
    struct tp_tls_record *record = &connection->record;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct tp_span data = {noise, sizes[i]};
        size_t capacity = tp_tls_record_sealed_size(record, sizes[i]);
        assert_int_equal(tp_tls_record_seal(record, data, sealed, capacity - 1), 0);
        assert_int_equal(tp_tls_record_seal(record, data, sealed, capacity), capacity);
        struct tp_span in = {sealed, capacity};
        size_t taken = 0;
        while (in.size > 0) {
            size_t size = 0;
            assert_int_equal(peer_open(&connection->peer, &in, opened, &size), DATA);
            assert_in_range(size, 1, 16384);
            assert_memory_equal(opened, noise + taken, size);
            taken += size;
        }
        assert_int_equal(taken, sizes[i]);
    }
}

static void test_seal_of_each_size_is_opened_by_the_peer(void **state)
{
    (void)state;
    for_each_variant(sealed_sizes);
}

static void test_seal_behind_the_last_sequence_number_is_refused(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS12);
    uint8_t sealed[128];
    struct tp_span data = {noise, 8};
    connection->record.write.sequence = UINT64_MAX - 1;
    assert_true(tp_tls_record_seal(&connection->record, data, sealed, sizeof sealed) > 0);
    assert_int_equal(tp_tls_record_seal(&connection->record, data, sealed, sizeof sealed), 0);
    assert_int_equal(connection->record.error, TP_TLS_ERROR_FLOOD);
    connection_free(connection);
}

static void test_output_leaves_in_any_pieces(void **state)
{
    (void)state;
    struct connection *connection = connection_new(TLS13);
    tp_tls_record_close(&connection->record);
    tp_tls_record_close(&connection->record); /* once is enough */
    uint8_t sealed[64];
    size_t size = 0;
    while (tp_tls_record_output(&connection->record, sealed + size, 1) == 1)
        size++;
    assert_int_equal(size, 24);
    struct tp_span in = {sealed, size};
    uint8_t opened[64];
    assert_int_equal(peer_open(&connection->peer, &in, opened, &size), ALERT);
    assert_memory_equal(opened, "\x01\x00", 2);
    connection_free(connection);
}

/* ---- the ciphers ---- */

static void test_aead_libcrypto_reproduces_the_vectors(void **state)
{
    (void)state;
    struct tp_aead_library library = {NULL};
    assert_true(tp_aead_self_test(&library));
}

/* Without this a broken libipsec-mb would only make the other tests leave it out. */
static void test_aead_ipsec_mb_is_trusted_where_the_cpu_has_aes(void **state)
{
    (void)state;
    struct tp_aead_library library = {NULL};
    const char *reason = NULL;
    bool expected = false;
#ifdef TP_HAVE_IPSEC_MB
    unsigned a, b, c = 0, d;
    (void)__get_cpuid(1, &a, &b, &c, &d);
    /* AVX that the kernel keeps to itself (noxsave) would be used all the same. */
    expected =
        __builtin_cpu_supports("aes") && ((c & bit_AVX) == 0 || __builtin_cpu_supports("avx"));
#endif
    assert_int_equal(tp_aead_library_open_ipsec_mb(&library, &reason), expected);
    assert_int_equal(reason == NULL, expected);
    tp_aead_library_close(&library);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_aead_libcrypto_reproduces_the_vectors),
        cmocka_unit_test(test_aead_ipsec_mb_is_trusted_where_the_cpu_has_aes),
        cmocka_unit_test(test_key_schedule_rfc8448_secrets_give_its_keys),
        cmocka_unit_test(test_record_rfc8448_trace_is_reproduced),
        cmocka_unit_test(test_record_straddling_at_every_byte_is_opened),
        cmocka_unit_test(test_record_of_greatest_size_is_opened),
        cmocka_unit_test(test_record_padding_is_stripped),
        cmocka_unit_test(test_record_plaintext_is_invisible_before_its_tag),
        cmocka_unit_test(test_record_straddling_survives_compaction),
        cmocka_unit_test(test_record_without_room_waits_until_there_is),
        cmocka_unit_test(test_record_with_one_bit_flipped_is_refused),
        cmocka_unit_test(test_record_over_the_limit_is_refused_by_its_header),
        cmocka_unit_test(test_record_of_one_byte_too_many_is_refused),
        cmocka_unit_test(test_record_too_short_for_a_tag_is_refused),
        cmocka_unit_test(test_record_empty_is_tolerated_until_it_is_a_flood),
        cmocka_unit_test(test_record_of_padding_only_is_refused),
        cmocka_unit_test(test_record_without_content_type_is_refused),
        cmocka_unit_test(test_record_in_plaintext_after_the_keys_is_refused),
        cmocka_unit_test(test_record_of_unknown_type_is_refused),
        cmocka_unit_test(test_record_of_another_version_is_refused_in_tls12),
        cmocka_unit_test(test_record_of_another_version_fails_its_tag_in_tls13),
        cmocka_unit_test(test_record_replayed_is_refused),
        cmocka_unit_test(test_record_behind_the_last_sequence_number_is_refused),
        cmocka_unit_test(test_seal_of_each_size_is_opened_by_the_peer),
        cmocka_unit_test(test_seal_behind_the_last_sequence_number_is_refused),
        cmocka_unit_test(test_output_leaves_in_any_pieces),
    };
    return cmocka_run_group_tests(tests, fill_noise, NULL);
}
