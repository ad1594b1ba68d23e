/* The exchange's end of `tickpath bench burst` over a veth pair: accepts the reader's connections,
 * answers REST, seals all messages beforehand, then sends as fast as the kernel's TCP takes them.
 *
 *   peer_burst ADDRESS PORT CERT KEY CONNECTIONS DIRECTORY
 *
 * DIRECTORY holds exchange_info.json, depth.json (one base for all instruments) and
 * messages.bin: for each message u32 connection, u32 size, bytes. A line on stdin starts it, the
 * end of stdin ends it. Prints "ready", then "sent START_NS END_NS RETRANSMITS".
 * Started by engine/bench/burst_veth.py. Exits on any surprise. */
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/bench/peer_stream.h"

enum {
    PATH_SIZE = 512,
    CONNECTION_MAX = 64,
    CHUNK_SIZE = 1 << 16,
    PRIORITY = 10,
    INSTRUMENTS_A_CONNECTION = 30,
};

struct feed {
    struct stream stream;
    bool subscribed;
    const uint8_t *sealed;
    size_t size, sent;
};

struct exchange {
    struct file exchange_info, depth, messages;
    SSL_CTX *context;
    int listener;
    size_t connections, subscribed;
    struct feed feed[CONNECTION_MAX]; /* by the number that its first channel tells */
};

static void answer_rest(struct exchange *e, struct stream *s, const char *target)
{
    const bool depth = strncmp(target, "/api/v3/depth", 13) == 0;
    const struct file *body = depth ? &e->depth : &e->exchange_info;
    char head[256];
    const int size = snprintf(head, sizeof head,
                              "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                              "Content-Length: %zu\r\nConnection: close\r\n\r\n",
                              body->size);
    (void)(transmit(s, (uint8_t *)head, (size_t)size) && transmit(s, body->data, body->size));
    SSL_shutdown(s->ssl);
}

/* Waits for the subscription; its first channel, "...@C<instrument>USDT", names the connection. */
static void take_subscription(struct exchange *e, struct stream *s)
{
    size_t header, payload;
    while (frame_at_start(s, &header, &payload) == 0)
        if (!receive(s))
            die("subscription");
    const uint8_t *mask = s->data + header - 4;
    char text[BUFFER_SIZE];
    for (size_t i = 0; i < payload; i++)
        text[i] = (char)(s->data[header + i] ^ mask[i & 3]);
    text[payload] = 0;
    const char *at = strstr(text, "@C");
    const size_t number = at != NULL ? (size_t)atol(at + 2) / INSTRUMENTS_A_CONNECTION : SIZE_MAX;
    if (number >= e->connections || e->feed[number].subscribed)
        die("the subscription names no instrument of this benchmark");
    consume(s, header + payload);
    e->feed[number].stream = *s;
    e->feed[number].subscribed = true;
    e->subscribed++;
}

static void accept_one(struct exchange *e)
{
    static struct stream s;
    s = (struct stream){.fd = accept4(e->listener, NULL, NULL, 0)};
    if (s.fd < 0)
        return;
    no_delay(s.fd);
    s.ssl = SSL_new(e->context);
    SSL_set_fd(s.ssl, s.fd);
    shake_hands(s.ssl, SSL_accept);
    const size_t head_size = read_head(&s);
    if (head_size > 8 && memmem(s.data, head_size, "pgrade: websocket", 17) != NULL) {
        if (!answer_upgrade(&s, head_size))
            die("upgrade");
        take_subscription(e, &s);
        return;
    }
    if (head_size > 8)
        answer_rest(e, &s, (const char *)s.data + 4);
    SSL_free(s.ssl);
    close(s.fd);
}

static bool line_on_stdin(void)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    char byte;
    return poll(&input, 1, 1) > 0 && read(STDIN_FILENO, &byte, 1) == 1;
}

/* From here on what OpenSSL seals goes to memory, and from there to the socket in large pieces. */
static void seal_all(struct exchange *e)
{
    static uint8_t frame[BUFFER_SIZE];
    for (size_t i = 0; i < e->connections; i++)
        SSL_set0_wbio(e->feed[i].stream.ssl, BIO_new(BIO_s_mem()));
    for (size_t offset = 0; offset + 8 <= e->messages.size;) {
        uint32_t head[2];
        memcpy(head, e->messages.data + offset, sizeof head);
        const size_t header = write_header(frame, 0x82, head[1], false);
        memcpy(frame + header, e->messages.data + offset + sizeof head, head[1]);
        offset += sizeof head + head[1];
        SSL *ssl = e->feed[head[0]].stream.ssl;
        if (SSL_write(ssl, frame, (int)(header + head[1])) <= 0)
            die("seal");
    }
    for (size_t i = 0; i < e->connections; i++) {
        char *data;
        const long size = BIO_get_mem_data(SSL_get_wbio(e->feed[i].stream.ssl), &data);
        e->feed[i].sealed = (const uint8_t *)data;
        e->feed[i].size = (size_t)size;
    }
}

/* Every connection in turn gives the kernel what it takes, until all is with the kernel. */
static void send_all(struct exchange *e)
{
    for (size_t left = e->connections; left > 0;) {
        left = 0;
        for (size_t i = 0; i < e->connections; i++) {
            struct feed *feed = &e->feed[i];
            const size_t rest = feed->size - feed->sent;
            if (rest == 0)
                continue;
            const ssize_t sent =
                send(feed->stream.fd, feed->sealed + feed->sent,
                     rest < CHUNK_SIZE ? rest : CHUNK_SIZE, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (sent < 0 && errno != EAGAIN)
                die("send");
            feed->sent += sent > 0 ? (size_t)sent : 0;
            left++;
        }
    }
}

static uint32_t retransmits(const struct exchange *e)
{
    uint32_t total = 0;
    for (size_t i = 0; i < e->connections; i++) {
        struct tcp_info info = {0};
        socklen_t size = sizeof info;
        if (getsockopt(e->feed[i].stream.fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0)
            die("TCP_INFO");
        total += info.tcpi_total_retrans;
    }
    return total;
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        fputs("usage: peer_burst ADDRESS PORT CERT KEY CONNECTIONS DIRECTORY\n", stderr);
        return 2;
    }
    static struct exchange e;
    e.connections = (size_t)atol(argv[5]);
    if (e.connections > CONNECTION_MAX)
        die("CONNECTIONS");
    e.exchange_info = map_file(argv[6], "exchange_info.json");
    e.depth = map_file(argv[6], "depth.json");
    e.messages = map_file(argv[6], "messages.bin");
    e.context = server_context(argv[3], argv[4]);
    e.listener = listen_on(argv[1], argv[2]);
    no_delay(e.listener);
    puts("ready");
    fflush(stdout);
    while (!line_on_stdin())
        accept_one(&e);
    if (e.subscribed != e.connections)
        die("not all connections are subscribed");
    seal_all(&e);
    (void)sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = PRIORITY});
    const uint64_t start_ns = now_ns();
    send_all(&e);
    const uint64_t end_ns = now_ns();
    (void)sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){0});
    while (line_on_stdin()) /* the rest of the line */
        continue;
    char byte; /* the reader has all: Python says so by closing stdin */
    (void)!read(STDIN_FILENO, &byte, 1);
    printf("sent %llu %llu %u\n", (unsigned long long)start_ns, (unsigned long long)end_ns,
           retransmits(&e));
    return 0;
}
