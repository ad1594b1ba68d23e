#include "netstack/understudy.h"

#include <assert.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "netstack/session_state.h"
#include "netstack/tls/record.h"
#include "netstack/wire/checksum.h"
#include "netstack/wire/ethernet.h"
#include "netstack/wire/ipv4.h"
#include "netstack/wire/tcp_option.h"

enum {
    FRAME_SIZE_MAX = 4096,
    PORT_LOW = 61000,
    PEER_PORT = 443,
    MESSAGE_SIZE_MAX = 4096,
    WINDOW = 1 << 16,
    SECRET_SIZE = 32, /* of SHA-256 */
    CHECKSUM_OFFSET = 16,
    LINE = 64,
    BUFFER_TOUCHED = 512,    /* a usual message */
    SIZE_IN_TWO_BYTES = 126, /* RFC 6455 5.2: the seven bits that say so */
};
/* RFC 5737: for documentation, so nobody's. */
static const uint32_t OUR_ADDRESS = 0xc0000201, PEER_ADDRESS = 0xc6336401;
static const uint8_t OUR_MAC[6] = {2, 0, 0, 0, 0, 1}, PEER_MAC[6] = {2, 0, 0, 0, 0, 2};
static_assert((int)TP_UNDERSTUDY_AES_128_GCM == 1 + (int)TP_AEAD_AES_128_GCM &&
                  (int)TP_UNDERSTUDY_CHACHA20_POLY1305 == 1 + (int)TP_AEAD_CHACHA20_POLY1305,
              "a kind is its cipher, from 1");

/* One session and the server that it takes itself to be connected to. */
struct connection {
    struct tp_tls_record record; /* the server's; first: it wants the allocation's alignment */
    bool has_record;
    struct tp_session *session; /* NULL: none */
    struct tp_tcp *tcp;
    void *tcp_memory;
    struct tp_netif_flow *flow;
    struct tp_tcp_segment next; /* of the server's */
};

struct tp_understudy {
    struct connection connection[TP_UNDERSTUDY_KIND_COUNT];
    struct tp_link link;
    struct tp_netif netif;
    struct tp_netif_flow flows[TP_UNDERSTUDY_KIND_COUNT];
    struct tp_aead_library library;
    struct tp_tls_context *context;
    uint32_t frame_size; /* of the frame that waits; 0: none */
    uint8_t plain[TP_WS_FRAME_HEADER_SIZE_MAX + TP_UNDERSTUDY_TEXT_MAX];
    uint8_t frame[FRAME_SIZE_MAX], sent[FRAME_SIZE_MAX];
};

/* ---- the link to nobody ---------------------------------------------------------------------- */

static struct tp_understudy *understudy_of(struct tp_link *link)
{
    return (struct tp_understudy *)(void *)((uint8_t *)link - offsetof(struct tp_understudy, link));
}

static uint32_t rx_burst(struct tp_link *link, struct tp_frame *frames, uint32_t count)
{
    struct tp_understudy *understudy = understudy_of(link);
    if (understudy->frame_size == 0 || count == 0)
        return 0;
    frames[0] = (struct tp_frame){understudy->frame, understudy->frame_size, 0, 0};
    understudy->frame_size = 0;
    return 1;
}

static void rx_release(struct tp_link *link, const struct tp_frame *frames, uint32_t count)
{
    (void)link, (void)frames, (void)count;
}

static uint8_t *tx_claim(struct tp_link *link)
{
    return understudy_of(link)->sent;
}

static void tx_commit(struct tp_link *link, uint32_t size)
{
    (void)link, (void)size;
}

static void tx_abort(struct tp_link *link)
{
    (void)link;
}

static int tx_kick(struct tp_link *link)
{
    (void)link;
    return 0;
}

static const struct tp_link_ops ops = {rx_burst,  rx_release, tx_claim,
                                       tx_commit, tx_abort,   tx_kick};

/* ---- what the server sends ------------------------------------------------------------------- */

/* The TCP segment stands in the frame behind room for its headers, without its checksum. */
static void finish_frame(struct tp_understudy *understudy, uint32_t segment_size)
{
    uint8_t *ip = understudy->frame + TP_ETHERNET_HEADER_SIZE, *tcp = ip + TP_IPV4_HEADER_SIZE;
    tp_ethernet_write_header(understudy->frame, OUR_MAC, PEER_MAC, TP_ETHERNET_TYPE_IPV4);
    tp_ipv4_write_header(&(struct tp_ipv4_header){.source_address = PEER_ADDRESS,
                                                  .destination_address = OUR_ADDRESS,
                                                  .payload_size = (uint16_t)segment_size,
                                                  .protocol = TP_IPV4_PROTOCOL_TCP},
                         ip);
    const uint64_t pseudo =
        tp_checksum_pseudo_header(PEER_ADDRESS, OUR_ADDRESS, TP_IPV4_PROTOCOL_TCP, segment_size);
    tp_store_be16(tcp + CHECKSUM_OFFSET,
                  understudy->link.partial_checksums
                      ? tp_checksum_fold(pseudo)
                      : tp_checksum_finish(tp_checksum_partial(tcp, segment_size, pseudo)));
    understudy->frame_size = TP_NETIF_HEADERS_SIZE + segment_size;
}

/* RFC 6455 5.2, of a server: not masked. */
static size_t write_message(uint8_t *out, enum tp_ws_opcode opcode, struct tp_span text)
{
    size_t size = 2;
    out[0] = (uint8_t)(0x80 | (unsigned)opcode);
    out[1] = (uint8_t)text.size;
    if (text.size >= SIZE_IN_TWO_BYTES) {
        out[1] = SIZE_IN_TWO_BYTES;
        tp_store_be16(out + 2, (uint16_t)text.size);
        size = 4;
    }
    memcpy(out + size, text.data, text.size);
    return size + text.size;
}

void tp_understudy_play(struct tp_understudy *understudy, enum tp_understudy_kind kind,
                        enum tp_ws_opcode opcode, struct tp_span text)
{
    struct connection *by = &understudy->connection[kind];
    assert(text.size <= TP_UNDERSTUDY_TEXT_MAX);
    const struct tp_span plain = {understudy->plain,
                                  write_message(understudy->plain, opcode, text)};
    uint8_t *tcp = understudy->frame + TP_NETIF_HEADERS_SIZE;
    const uint32_t header_size = tp_tcp_segment_write_header(&by->next, tcp);
    size_t size = plain.size;
    if (by->has_record) {
        size = tp_tls_record_seal(&by->record, plain, tcp + header_size,
                                  FRAME_SIZE_MAX - TP_NETIF_HEADERS_SIZE - header_size);
        assert(size > 0);
    } else {
        memcpy(tcp + header_size, plain.data, plain.size);
    }
    by->next.sequence += (uint32_t)size;
    finish_frame(understudy, header_size + (uint32_t)size);
}

/* ---- making them ----------------------------------------------------------------------------- */

/* As if a server had answered its SYN. */
static bool establish(struct connection *by, const struct tp_tcp_config *config)
{
    static const uint64_t NOW_NS = 1000000000;
    uint8_t bytes[2 * TP_TCP_HEADER_SIZE_MAX];
    struct tp_tcp_segment syn;
    struct tp_tcp_delivery delivery;
    tp_tcp_connect(by->tcp, NOW_NS);
    const uint32_t size = tp_tcp_output(by->tcp, NOW_NS, bytes, sizeof bytes);
    if (!tp_tcp_segment_parse((struct tp_span){bytes, size}, &syn))
        return false;
    by->next = (struct tp_tcp_segment){
        .source_port = config->remote_port,
        .destination_port = config->local_port,
        .sequence = 1,
        .acknowledgment = syn.sequence + 1,
        .window = UINT16_MAX,
        .flags = TP_TCP_SYN | TP_TCP_ACK,
        .has_mss = true,
        .mss = config->mss,
        .has_window_scale = true,
        .sack_permitted = true,
        .has_timestamps = true,
        .timestamp_value = 1,
        .timestamp_echo = syn.timestamp_value,
    };
    (void)tp_tcp_input(by->tcp, &by->next, NOW_NS, &delivery);
    by->next.sequence++;
    by->next.flags = TP_TCP_PSH | TP_TCP_ACK;
    by->next.has_mss = by->next.has_window_scale = by->next.sack_permitted = false;
    return tp_tcp_state(by->tcp) == TP_TCP_ESTABLISHED;
}

static bool open_tcp(struct tp_understudy *understudy, uint32_t kind, struct tp_stream *stream)
{
    struct connection *by = &understudy->connection[kind];
    struct tp_tcp_config config;
    tp_tcp_config_init(&config);
    config.local_address = OUR_ADDRESS;
    config.remote_address = PEER_ADDRESS;
    config.local_port = (uint16_t)(PORT_LOW + kind);
    config.remote_port = PEER_PORT;
    config.receive_buffer_size = config.send_buffer_size = WINDOW;
    config.keepalive_ns = 0;
    by->tcp_memory = aligned_alloc(64, (tp_tcp_memory_size(&config) + 63) / 64 * 64);
    if (by->tcp_memory == NULL)
        return false;
    by->tcp = tp_tcp_init(by->tcp_memory, &config);
    by->flow = tp_netif_bind(&understudy->netif, &config, by->tcp, NULL);
    tp_netif_next_hop(by->flow, PEER_MAC);
    tp_stream_init_tcp(stream, by->tcp);
    return establish(by, &config);
}

/* Keys that both ends have, without a handshake. */
static bool agree(struct tp_understudy *understudy, uint32_t kind)
{
    struct connection *by = &understudy->connection[kind];
    struct tp_tls_secrets ours = {.tls13 = true,
                                  .algorithm = (enum tp_aead_algorithm)(kind - 1),
                                  .digest = "SHA256",
                                  .secret_size = SECRET_SIZE};
    if (RAND_bytes(ours.client, SECRET_SIZE) != 1 || RAND_bytes(ours.server, SECRET_SIZE) != 1)
        return false;
    struct tp_tls_secrets theirs = ours;
    memcpy(theirs.client, ours.server, SECRET_SIZE);
    memcpy(theirs.server, ours.client, SECRET_SIZE);
    by->has_record = true;
    return tp_tls_record_init(&by->record, &understudy->library, &theirs) &&
           tp_tls_begin_records(by->session->tls, &ours);
}

static bool open_one(struct tp_understudy *understudy, uint32_t kind, char *error,
                     size_t error_size)
{
    struct connection *by = &understudy->connection[kind];
    struct tp_stream stream;
    snprintf(error, error_size, "its TCP or TLS cannot be set up");
    if (!open_tcp(understudy, kind, &stream))
        return false;
    const struct tp_session_config config = {
        .tls = kind == TP_UNDERSTUDY_PLAIN ? NULL : understudy->context,
        .server_name = "understudy.invalid",
        .websocket = true,
        .host = "understudy.invalid",
        .target = "/",
        .extra_headers = "",
        .message_size_max = MESSAGE_SIZE_MAX,
        .receive_window = WINDOW,
        .handshake_timeout_ns = 1,
    };
    by->session = tp_session_new(&config, &stream, error, error_size);
    if (by->session == NULL)
        return false;
    tp_session_set_flow(by->session, by->flow);
    if (kind != TP_UNDERSTUDY_PLAIN && !agree(understudy, kind))
        return false;
    by->session->read_size = 0; /* the upgrade request, which nobody needs */
    tp_session_set_phase(by->session, TP_SESSION_OPEN, 1);
    return true;
}

struct tp_understudy *tp_understudy_new(bool partial_checksums, char *error, size_t error_size)
{
    const size_t alignment = _Alignof(struct tp_understudy);
    struct tp_understudy *understudy =
        aligned_alloc(alignment, (sizeof *understudy + alignment - 1) / alignment * alignment);
    snprintf(error, error_size, "out of memory");
    if (understudy == NULL)
        return NULL;
    memset(understudy, 0, sizeof *understudy);
    understudy->link = (struct tp_link){.ops = &ops,
                                        .tx_frame_size = FRAME_SIZE_MAX,
                                        .partial_checksums = partial_checksums,
                                        .fd = -1};
    tp_netif_init(&understudy->netif, &understudy->link, OUR_MAC, OUR_ADDRESS);
    tp_netif_ports(&understudy->netif, understudy->flows, PORT_LOW, TP_UNDERSTUDY_KIND_COUNT);
    const char *reason;
    (void)tp_aead_library_open_ipsec_mb(&understudy->library, &reason); /* else libcrypto's */
    const struct tp_tls_context_config config = {.insecure = true};
    understudy->context = tp_tls_context_new(&config, error, error_size);
    bool is_open = understudy->context != NULL;
    for (uint32_t kind = 0; is_open && kind < TP_UNDERSTUDY_KIND_COUNT; kind++)
        is_open = open_one(understudy, kind, error, error_size);
    if (is_open)
        return understudy;
    tp_understudy_free(understudy);
    return NULL;
}

void tp_understudy_free(struct tp_understudy *understudy)
{
    if (understudy == NULL)
        return;
    for (uint32_t kind = 0; kind < TP_UNDERSTUDY_KIND_COUNT; kind++) {
        struct connection *by = &understudy->connection[kind];
        tp_session_free(by->session);
        if (by->has_record)
            tp_tls_record_deinit(&by->record);
        free(by->tcp_memory);
    }
    tp_tls_context_free(understudy->context);
    tp_aead_library_close(&understudy->library);
    free(understudy);
}

/* ---- what they are --------------------------------------------------------------------------- */

struct tp_netif *tp_understudy_netif(struct tp_understudy *understudy)
{
    return &understudy->netif;
}

struct tp_session *tp_understudy_session(struct tp_understudy *understudy,
                                         enum tp_understudy_kind kind, void *owner)
{
    understudy->connection[kind].flow->owner = owner;
    return understudy->connection[kind].session;
}

enum tp_understudy_kind tp_understudy_kind_of(const struct tp_session *session)
{
    if (session->tls == NULL)
        return TP_UNDERSTUDY_PLAIN;
    const struct tp_tls_record *record = tp_tls_records(session->tls);
    return record == NULL ? TP_UNDERSTUDY_KIND_COUNT
                          : (enum tp_understudy_kind)(1 + record->algorithm);
}

/* ---- the real ones --------------------------------------------------------------------------- */

static void touch(const void *from, size_t size)
{
    for (size_t at = 0; at < size; at += LINE)
        __builtin_prefetch((const uint8_t *)from + at);
}

void tp_session_touch(const struct tp_session *session)
{
    const struct tp_tls_record *record = session->tls == NULL ? NULL : tp_tls_records(session->tls);
    touch(session, offsetof(struct tp_session, text));
    if (session->stream.tcp != NULL)
        tp_tcp_touch(session->stream.tcp);
    if (session->stream.flow != NULL)
        touch(session->stream.flow, sizeof *session->stream.flow);
    if (record != NULL) {
        touch(&record->read, sizeof record->read);
        touch(&record->state,
              offsetof(struct tp_tls_record, output) - offsetof(struct tp_tls_record, state));
    }
    touch(session->buffer.data + session->buffer.tail, BUFFER_TOUCHED);
}
