/* The honest neighbours of `tickpath bench echo`: a WebSocket echo server that spins on kernel
 * sockets, and the C client that spins on recv() against it. Each is a process of its own.
 *
 *   peer server ADDRESS PORT [CERT KEY]
 *   peer reflect INTERFACE                                   raw frames, for the floor
 *   peer client ADDRESS PORT SIZE COUNT OUTPUT [CA_FILE]     round trips as raw u64 nanoseconds
 *
 * Started by engine/bench/echo.py, pinned and at SCHED_FIFO. Kernel TCP, TCP_NODELAY, MSG_DONTWAIT,
 * OpenSSL for TLS. One connection, one message in flight. Not a product: exits on any surprise. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/bench/peer_stream.h"

enum { WARM_UP = 2000, REFLECTED_SIZE_MIN = 54, NOWHERE = 3 };

static void echo(struct stream *s)
{
    static uint8_t out[BUFFER_SIZE];
    for (;;) {
        size_t header, payload;
        const size_t size = frame_at_start(s, &header, &payload);
        if (size == 0) {
            if (!receive(s))
                return;
            continue;
        }
        const uint8_t *mask = s->data + header - 4;
        const size_t out_header = write_header(out, s->data[0], payload, false);
        for (size_t i = 0; i < payload; i++)
            out[out_header + i] = s->data[header + i] ^ mask[i & 3];
        const bool close_frame = (s->data[0] & 0xf) == 8;
        consume(s, size);
        if (!transmit(s, out, out_header + payload) || close_frame)
            return;
    }
}

static _Noreturn void serve(int argc, char **argv)
{
    SSL_CTX *context = argc == 6 ? server_context(argv[4], argv[5]) : NULL;
    const int listener = listen_on(argv[2], argv[3]);
    puts("ready");
    fflush(stdout);
    static struct stream s;
    for (;;) {
        s = (struct stream){.fd = accept(listener, NULL, NULL)};
        if (s.fd < 0)
            die("accept");
        no_delay(s.fd);
        if (context != NULL) {
            s.ssl = SSL_new(context);
            SSL_set_fd(s.ssl, s.fd);
            shake_hands(s.ssl, SSL_accept);
        }
        const size_t head_size = read_head(&s);
        if (head_size > 0 && answer_upgrade(&s, head_size))
            echo(&s);
        SSL_free(s.ssl);
        close(s.fd);
    }
}

static uint64_t round_trip(struct stream *s, size_t size)
{
    static uint8_t out[BUFFER_SIZE];
    const uint64_t start_ns = now_ns();
    size_t header = write_header(out, 0x82, size, true), payload;
    const uint32_t mask = (uint32_t)random();
    memcpy(out + header, &mask, 4);
    header += 4;
    for (size_t i = 0; i < size; i++)
        out[header + i] = (uint8_t)(i ^ (mask >> (8 * (i & 3))));
    if (!transmit(s, out, header + size))
        die("send");
    size_t whole;
    while ((whole = frame_at_start(s, &header, &payload)) == 0)
        if (!receive(s))
            die("recv");
    const uint64_t took_ns = now_ns() - start_ns;
    if (payload != size || s->data[header + 1] != 1)
        die("the echo differs");
    consume(s, whole);
    return took_ns;
}

static int run_client(int argc, char **argv)
{
    const struct sockaddr_in address = address_of(argv[2], argv[3]);
    const size_t size = (size_t)atol(argv[4]), count = (size_t)atol(argv[5]);
    static struct stream s;
    s.fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(s.fd, (const struct sockaddr *)&address, sizeof address) != 0)
        die("connect");
    no_delay(s.fd);
    if (argc == 8) {
        SSL_CTX *context = SSL_CTX_new(TLS_client_method());
        if (SSL_CTX_load_verify_locations(context, argv[7], NULL) != 1)
            die("CA file");
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
        s.ssl = SSL_new(context);
        SSL_set_fd(s.ssl, s.fd);
        shake_hands(s.ssl, SSL_connect);
    }
    static const char request[] =
        "GET / HTTP/1.1\r\nHost: echo\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    if (!transmit(&s, (const uint8_t *)request, sizeof request - 1))
        die("upgrade");
    consume(&s, read_head(&s));
    uint64_t *took_ns = calloc(count, sizeof *took_ns);
    FILE *output = fopen(argv[6], "wb");
    if (took_ns == NULL || output == NULL)
        die(argv[6]);
    for (size_t i = 0; i < WARM_UP; i++)
        (void)round_trip(&s, size);
    for (size_t i = 0; i < count; i++)
        took_ns[i] = round_trip(&s, size);
    if (fwrite(took_ns, sizeof *took_ns, count, output) != count || fclose(output) != 0)
        die(argv[6]);
    return 0;
}

/* The far end of the raw-frame floor: sends every frame to 198.18.0.3 back with addresses and ports
 * exchanged. AF_PACKET, spinning. */
static _Noreturn void reflect(const char *interface)
{
    const int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_IP));
    const struct sockaddr_ll bound = {.sll_family = AF_PACKET,
                                      .sll_protocol = htons(ETH_P_IP),
                                      .sll_ifindex = (int)if_nametoindex(interface)};
    if (fd < 0 || bind(fd, (const struct sockaddr *)&bound, sizeof bound) != 0)
        die("AF_PACKET");
    puts("ready");
    fflush(stdout);
    for (;;) {
        uint8_t frame[2048], swap[6];
        const ssize_t size = recv(fd, frame, sizeof frame, MSG_DONTWAIT);
        if (size < REFLECTED_SIZE_MIN || frame[33] != NOWHERE)
            continue;
        memcpy(swap, frame, 6);
        memcpy(frame, frame + 6, 6);
        memcpy(frame + 6, swap, 6);
        memcpy(swap, frame + 26, 4);
        memcpy(frame + 26, frame + 30, 4);
        memcpy(frame + 30, swap, 4);
        if (send(fd, frame, (size_t)size, 0) != size)
            die("reflect");
    }
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "reflect") == 0)
        reflect(argv[2]);
    if (argc >= 4 && strcmp(argv[1], "server") == 0)
        serve(argc, argv);
    if (argc >= 7 && strcmp(argv[1], "client") == 0)
        return run_client(argc, argv);
    fputs("usage: peer server ADDRESS PORT [CERT KEY] | peer reflect INTERFACE | "
          "peer client ADDRESS PORT SIZE COUNT OUTPUT [CA_FILE]\n",
          stderr);
    return 2;
}
