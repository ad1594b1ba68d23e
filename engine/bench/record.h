/* The contenders of `tickpath bench record`: batches of TLS records opened by tp_tls_input and by
 * SSL_read, timed in C. Called by engine/bench/record.py, which shakes hands and seals with
 * Python's ssl as the server. One thread, no I/O. */
#ifndef TP_ENGINE_BENCH_RECORD_H
#define TP_ENGINE_BENCH_RECORD_H
#include <stdbool.h>
#include <stdint.h>

#include "netstack/tls/tls.h"

/* OpenSSL's own client over two memory BIOs. It verifies nothing. */
struct tp_bench_ssl;
struct tp_bench_ssl *tp_bench_ssl_new(void); /* NULL: out of memory */
void tp_bench_ssl_free(struct tp_bench_ssl *ssl);
/* Takes what the server sent, goes on with the handshake, returns what the server must get. */
size_t tp_bench_ssl_exchange(struct tp_bench_ssl *ssl, struct tp_span in, uint8_t *out,
                             size_t capacity);
bool tp_bench_ssl_connected(const struct tp_bench_ssl *ssl);

/* Nanoseconds that opening the sealed records took; 0: they did not give exactly plain_size bytes.
 * SSL_read finds the records in its BIO already: that copy is not counted against it. */
uint64_t tp_bench_ssl_open(struct tp_bench_ssl *ssl, struct tp_span sealed, uint8_t *out,
                           size_t plain_size);
uint64_t tp_bench_tls_open(struct tp_tls *tls, struct tp_span sealed, struct tp_buffer *out,
                           size_t plain_size);
/* Bytes that the process's heap holds now. */
uint64_t tp_bench_heap_bytes(void);
#endif
