/* What the benchmark's peers share: a spinning byte stream over a kernel socket or OpenSSL, and the
 * little of WebSocket that they need. Called by peer.c and peer_exchange.c. Exits on any surprise.
 */
#ifndef TP_ENGINE_BENCH_PEER_STREAM_H
#define TP_ENGINE_BENCH_PEER_STREAM_H
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BUFFER_SIZE = 1 << 17, HEAD_SIZE_MAX = 8192 };

struct stream {
    int fd;
    SSL *ssl; /* NULL: plain */
    uint8_t data[BUFFER_SIZE];
    size_t size;
};

/* A file that a benchmark prepared, mapped for reading. */
struct file {
    const uint8_t *data;
    size_t size;
};

_Noreturn void die(const char *what);
uint64_t now_ns(void);
/* Appends what is there; spins when nothing is. False at the end of the stream. */
bool receive(struct stream *s);
/* One try: -1 at the end of the stream, 0 nothing there, 1 something came. */
int receive_once(struct stream *s);
bool transmit(struct stream *s, const uint8_t *data, size_t size);
void consume(struct stream *s, size_t size);
/* Size of the HTTP head at the start of the buffer, waiting for it; 0 when none comes. */
size_t read_head(struct stream *s);
/* Answers the WebSocket upgrade that stands in the buffer. */
bool answer_upgrade(struct stream *s, size_t head_size);
/* Returns the size of the frame at the start of the buffer, 0 when it is not whole. */
size_t frame_at_start(const struct stream *s, size_t *header, size_t *payload);
size_t write_header(uint8_t *out, uint8_t first, size_t payload, bool masked);
struct sockaddr_in address_of(const char *address, const char *port);
void no_delay(int fd);
void shake_hands(SSL *ssl, int (*handshake)(SSL *));
SSL_CTX *server_context(const char *certificate, const char *key);
int listen_on(const char *address, const char *port);
struct file map_file(const char *directory, const char *name);
#endif
