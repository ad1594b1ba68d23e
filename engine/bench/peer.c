/* The honest neighbours of `tickpath bench echo`: a WebSocket echo server that spins on kernel
 * sockets, and the C client that spins on recv() against it. Each is a process of its own.
 *
 *   peer server ADDRESS PORT [CERT KEY]
 *   peer client ADDRESS PORT SIZE COUNT OUTPUT [CA_FILE]     round trips as raw u64 nanoseconds
 *
 * Started by engine/bench/echo.py, pinned and at SCHED_FIFO. Kernel TCP, TCP_NODELAY, MSG_DONTWAIT,
 * OpenSSL for TLS. One connection, one message in flight. Not a product: exits on any surprise. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER_SIZE = 1 << 17, HEAD_SIZE_MAX = 8192, WARM_UP = 2000 };

struct stream {
    int fd;
    SSL *ssl; /* NULL: plain */
    uint8_t data[BUFFER_SIZE];
    size_t size;
};

static void die(const char *what)
{
    fprintf(stderr, "peer: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Appends what is there; spins when nothing is. False at the end of the stream. */
static bool receive(struct stream *s)
{
    for (;;) {
        ssize_t size;
        if (s->ssl != NULL) {
            size = SSL_read(s->ssl, s->data + s->size, (int)(BUFFER_SIZE - s->size));
            if (size <= 0 && SSL_get_error(s->ssl, (int)size) == SSL_ERROR_WANT_READ)
                continue;
        } else {
            size = recv(s->fd, s->data + s->size, BUFFER_SIZE - s->size, MSG_DONTWAIT);
            if (size < 0 && errno == EAGAIN)
                continue;
        }
        if (size <= 0)
            return false;
        s->size += (size_t)size;
        return true;
    }
}

static bool transmit(struct stream *s, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t sent;
        if (s->ssl != NULL) {
            sent = SSL_write(s->ssl, data, (int)size);
            if (sent <= 0 && SSL_get_error(s->ssl, (int)sent) == SSL_ERROR_WANT_WRITE)
                continue;
        } else {
            sent = send(s->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (sent < 0 && errno == EAGAIN)
                continue;
        }
        if (sent <= 0)
            return false;
        data += sent;
        size -= (size_t)sent;
    }
    return true;
}

static void consume(struct stream *s, size_t size)
{
    s->size -= size;
    memmove(s->data, s->data + size, s->size);
}

static size_t read_head(struct stream *s)
{
    for (;;) {
        const uint8_t *end = memmem(s->data, s->size, "\r\n\r\n", 4);
        if (end != NULL)
            return (size_t)(end - s->data) + 4;
        if (s->size > HEAD_SIZE_MAX || !receive(s))
            return 0;
    }
}

static bool accept_upgrade(struct stream *s)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455 1.3 */
    const size_t head_size = read_head(s);
    if (head_size == 0)
        return false;
    s->data[head_size - 1] = 0;
    const char *key = strcasestr((char *)s->data, "Sec-WebSocket-Key: ");
    if (key == NULL)
        return false;
    char text[24 + sizeof guid], answer[256];
    snprintf(text, sizeof text, "%.24s%s", key + 19, guid);
    uint8_t digest[SHA_DIGEST_LENGTH], accept[32];
    SHA1((uint8_t *)text, strlen(text), digest);
    EVP_EncodeBlock(accept, digest, sizeof digest);
    const int size = snprintf(answer, sizeof answer,
                              "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                              "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                              (char *)accept);
    consume(s, head_size);
    return transmit(s, (uint8_t *)answer, (size_t)size);
}

/* Returns the size of the frame at the start of the buffer, 0 when it is not whole; *payload. */
static size_t frame_at_start(const struct stream *s, size_t *header, size_t *payload)
{
    if (s->size < 4)
        return 0;
    const bool masked = s->data[1] & 0x80;
    *payload = s->data[1] & 0x7f;
    *header = 2;
    if (*payload == 126) {
        *payload = (size_t)s->data[2] << 8 | s->data[3];
        *header = 4;
    } else if (*payload == 127) {
        errno = EMSGSIZE;
        die("frames above 65535 bytes are not part of this benchmark");
    }
    *header += masked ? 4 : 0;
    return s->size < *header + *payload ? 0 : *header + *payload;
}

static size_t write_header(uint8_t *out, uint8_t first, size_t payload, bool masked)
{
    out[0] = first;
    if (payload < 126) {
        out[1] = (uint8_t)(payload | (masked ? 0x80 : 0));
        return 2;
    }
    out[1] = masked ? 126 | 0x80 : 126;
    out[2] = (uint8_t)(payload >> 8);
    out[3] = (uint8_t)payload;
    return 4;
}

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

static struct sockaddr_in address_of(const char *address, const char *port)
{
    struct sockaddr_in out = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    if (inet_pton(AF_INET, address, &out.sin_addr) != 1)
        die(address);
    return out;
}

static void no_delay(int fd)
{
    const int on = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)
        die("TCP_NODELAY");
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0)
        die("O_NONBLOCK");
}

static void shake_hands(SSL *ssl, int (*handshake)(SSL *))
{
    for (int result; (result = handshake(ssl)) != 1;) {
        const int reason = SSL_get_error(ssl, result);
        if (reason != SSL_ERROR_WANT_READ && reason != SSL_ERROR_WANT_WRITE)
            return; /* the first read reports it */
    }
}

static _Noreturn void serve(int argc, char **argv)
{
    const struct sockaddr_in address = address_of(argv[2], argv[3]);
    SSL_CTX *context = NULL;
    if (argc == 6) {
        context = SSL_CTX_new(TLS_server_method());
        if (SSL_CTX_use_certificate_chain_file(context, argv[4]) != 1 ||
            SSL_CTX_use_PrivateKey_file(context, argv[5], SSL_FILETYPE_PEM) != 1)
            die("certificate or key");
        SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256");
        SSL_CTX_set_num_tickets(context, 0);
    }
    const int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, 4) != 0)
        die("listen");
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
        if (accept_upgrade(&s))
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

int main(int argc, char **argv)
{
    if (argc >= 4 && strcmp(argv[1], "server") == 0)
        serve(argc, argv);
    if (argc >= 7 && strcmp(argv[1], "client") == 0)
        return run_client(argc, argv);
    fputs("usage: peer server ADDRESS PORT [CERT KEY] | "
          "peer client ADDRESS PORT SIZE COUNT OUTPUT [CA_FILE]\n",
          stderr);
    return 2;
}
