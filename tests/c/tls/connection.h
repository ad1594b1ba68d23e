/* A record layer under test and its peer, connected by nothing but byte arrays. */
#ifndef TP_TESTS_TLS_CONNECTION_H
#define TP_TESTS_TLS_CONNECTION_H
#include "netstack/tls/record.h"
#include "tests/c/tls/peer.h"

#define CONNECTION_BUFFER_SIZE (2 * PEER_RECORD_SIZE_MAX)

struct variant {
    bool ipsec_mb;
    bool tls13;
    enum tp_aead_algorithm algorithm;
};

struct connection {
    struct tp_tls_record record; /* first: it wants the allocation's alignment */
    struct tp_aead_library library;
    struct peer peer;
    struct tp_buffer out;
    uint8_t out_memory[CONNECTION_BUFFER_SIZE];
    uint8_t wire[CONNECTION_BUFFER_SIZE];
    size_t wire_size;
};

static const struct variant TLS13 = {false, true, TP_AEAD_AES_128_GCM};
static const struct variant TLS12 = {false, false, TP_AEAD_AES_128_GCM};

struct connection *connection_new(struct variant variant);
void connection_free(struct connection *connection);
/* Runs a test body for both engines, both versions and all ciphers (without libipsec-mb where this
 * machine has none). */
void for_each_variant(void (*body)(struct connection *connection));

/* Appends a record to wire. */
void server_sends(struct connection *connection, uint8_t type, const void *data, size_t size);
/* Gives wire to the record layer until it says something else than TP_OK; then forgets wire. */
enum tp_status receive(struct connection *connection);
/* The same in pieces of `size` bytes. */
enum tp_status receive_in_pieces(struct connection *connection, size_t size);
/* Asserts that exactly these bytes were received, and forgets them. */
void expect_received(struct connection *connection, const void *data, size_t size);
/* Asserts that the record layer has one alert to send, fatal, of this description, and no more. */
void expect_fatal_alert(struct connection *connection, uint8_t description);
#endif
