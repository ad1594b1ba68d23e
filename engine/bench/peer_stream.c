#include "engine/bench/peer_stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

_Noreturn void die(const char *what)
{
    fprintf(stderr, "peer: %s: %s\n", what, strerror(errno));
    exit(1);
}

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int receive_once(struct stream *s)
{
    ssize_t size;
    if (s->ssl != NULL) {
        size = SSL_read(s->ssl, s->data + s->size, (int)(BUFFER_SIZE - s->size));
        if (size <= 0 && SSL_get_error(s->ssl, (int)size) == SSL_ERROR_WANT_READ)
            return 0;
    } else {
        size = recv(s->fd, s->data + s->size, BUFFER_SIZE - s->size, MSG_DONTWAIT);
        if (size < 0 && errno == EAGAIN)
            return 0;
    }
    if (size <= 0)
        return -1;
    s->size += (size_t)size;
    return 1;
}

bool receive(struct stream *s)
{
    int result;
    while ((result = receive_once(s)) == 0)
        continue;
    return result > 0;
}

bool transmit(struct stream *s, const uint8_t *data, size_t size)
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

void consume(struct stream *s, size_t size)
{
    s->size -= size;
    memmove(s->data, s->data + size, s->size);
}

size_t read_head(struct stream *s)
{
    for (;;) {
        const uint8_t *end = memmem(s->data, s->size, "\r\n\r\n", 4);
        if (end != NULL)
            return (size_t)(end - s->data) + 4;
        if (s->size > HEAD_SIZE_MAX || !receive(s))
            return 0;
    }
}

bool answer_upgrade(struct stream *s, size_t head_size)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455 1.3 */
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

size_t frame_at_start(const struct stream *s, size_t *header, size_t *payload)
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

size_t write_header(uint8_t *out, uint8_t first, size_t payload, bool masked)
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

struct sockaddr_in address_of(const char *address, const char *port)
{
    struct sockaddr_in out = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    if (inet_pton(AF_INET, address, &out.sin_addr) != 1)
        die(address);
    return out;
}

void no_delay(int fd)
{
    const int on = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)
        die("TCP_NODELAY");
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0)
        die("O_NONBLOCK");
}

void shake_hands(SSL *ssl, int (*handshake)(SSL *))
{
    for (int result; (result = handshake(ssl)) != 1;) {
        const int reason = SSL_get_error(ssl, result);
        if (reason != SSL_ERROR_WANT_READ && reason != SSL_ERROR_WANT_WRITE)
            return; /* the first read reports it */
    }
}

SSL_CTX *server_context(const char *certificate, const char *key)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        die("certificate or key");
    SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256");
    SSL_CTX_set_num_tickets(context, 0);
    return context;
}

int listen_on(const char *address, const char *port)
{
    const struct sockaddr_in bound = address_of(address, port);
    const int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (const struct sockaddr *)&bound, sizeof bound) != 0 ||
        listen(listener, 16) != 0)
        die("listen");
    return listener;
}

struct file map_file(const char *directory, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    const int fd = open(path, O_RDONLY);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0)
        die(path);
    const struct file file = {
        mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0),
        (size_t)status.st_size};
    if (file.data == MAP_FAILED)
        die(path);
    close(fd);
    return file;
}
