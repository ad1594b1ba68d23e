#include "engine/bench/record.h"

#include <malloc.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <time.h>

struct tp_bench_ssl {
    SSL_CTX *context;
    SSL *ssl; /* owns both BIOs */
};

static uint64_t clock_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void tp_bench_ssl_free(struct tp_bench_ssl *ssl)
{
    SSL_free(ssl->ssl);
    SSL_CTX_free(ssl->context);
    free(ssl);
}

struct tp_bench_ssl *tp_bench_ssl_new(void)
{
    struct tp_bench_ssl *ssl = calloc(1, sizeof *ssl);
    if (ssl == NULL)
        return NULL;
    ssl->context = SSL_CTX_new(TLS_client_method());
    ssl->ssl = ssl->context != NULL ? SSL_new(ssl->context) : NULL;
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    if (ssl->ssl == NULL || in == NULL || out == NULL ||
        SSL_set_ciphersuites(ssl->ssl, "TLS_AES_128_GCM_SHA256") != 1) {
        BIO_free(in);
        BIO_free(out);
        tp_bench_ssl_free(ssl);
        return NULL;
    }
    BIO_set_mem_eof_return(in, -1); /* empty: try again later */
    SSL_set_bio(ssl->ssl, in, out);
    SSL_set_connect_state(ssl->ssl);
    return ssl;
}

size_t tp_bench_ssl_exchange(struct tp_bench_ssl *ssl, struct tp_span in, uint8_t *out,
                             size_t capacity)
{
    size_t size = 0;
    if (in.size > 0 && BIO_write_ex(SSL_get_rbio(ssl->ssl), in.data, in.size, &size) != 1)
        return 0;
    (void)SSL_do_handshake(ssl->ssl);
    if (BIO_read_ex(SSL_get_wbio(ssl->ssl), out, capacity, &size) != 1)
        return 0;
    return size;
}

bool tp_bench_ssl_connected(const struct tp_bench_ssl *ssl)
{
    return SSL_is_init_finished(ssl->ssl) == 1;
}

uint64_t tp_bench_ssl_open(struct tp_bench_ssl *ssl, struct tp_span sealed, uint8_t *out,
                           size_t plain_size)
{
    size_t taken = 0, piece = 0;
    if (BIO_write_ex(SSL_get_rbio(ssl->ssl), sealed.data, sealed.size, &piece) != 1)
        return 0;
    const uint64_t start_ns = clock_now();
    while (taken < plain_size &&
           SSL_read_ex(ssl->ssl, out + taken, plain_size - taken, &piece) == 1)
        taken += piece;
    const uint64_t took_ns = clock_now() - start_ns;
    return taken == plain_size ? took_ns : 0;
}

uint64_t tp_bench_tls_open(struct tp_tls *tls, struct tp_span sealed, struct tp_buffer *out,
                           size_t plain_size)
{
    const uint64_t start_ns = clock_now();
    while (sealed.size > 0 && tp_tls_input(tls, &sealed, out) == TP_OK)
        continue;
    const uint64_t took_ns = clock_now() - start_ns;
    return out->tail - out->head == plain_size ? took_ns : 0;
}

uint64_t tp_bench_heap_bytes(void)
{
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}
