/* Many handshakes at once: this thread moves the bytes (the hot side, and the servers), a worker
 * thread runs OpenSSL for the clients. Some are given up at a random moment; the others must
 * connect and carry data both ways, what the server sends right behind its last flight included.
 *
 *     handshake_stress [handshakes]
 *
 * Linked with --wrap=SSL_do_handshake: no client's handshake may run on this thread. Also run under
 * ThreadSanitizer and AddressSanitizer (tests/proofs/test_handshake_handover.py). */
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "netstack/tls/handshake_worker.h"
#include "netstack/tls/tls.h"
#include "tests/c/tls/loopback.h"

enum { AT_ONCE = 24, WIRE_SIZE = 1 << 16, OUT_SIZE = 1 << 16, GREETING_SIZE = 5000 };

struct connection {
    struct loopback loopback;
    struct tp_tls *tls;
    struct tp_buffer out;
    uint8_t out_memory[OUT_SIZE];
    uint8_t wire[WIRE_SIZE]; /* from the server, not delivered yet */
    size_t wire_size;
    unsigned lives; /* turns until it is given up */
    bool greeted;
};

static pthread_t hot_thread;
static _Atomic unsigned client_steps;
static uint32_t dice_state = 1;

int __real_SSL_do_handshake(SSL *ssl);
int __wrap_SSL_do_handshake(SSL *ssl);
int __wrap_SSL_do_handshake(SSL *ssl)
{
    /* The ClientHello is made where the session is: on a cold thread in the product. */
    const bool hello = SSL_get_state(ssl) == TLS_ST_BEFORE;
    if (!SSL_is_server(ssl) && !hello) {
        client_steps++;
        if (pthread_equal(pthread_self(), hot_thread)) {
            fprintf(stderr, "handshake_stress: OpenSSL ran on the hot thread\n");
            abort();
        }
    }
    return __real_SSL_do_handshake(ssl);
}

static unsigned dice(unsigned below)
{
    dice_state = dice_state * 1664525 + 1013904223; /* Numerical Recipes' generator */
    return (dice_state >> 8) % below;
}

static void *work(void *worker)
{
    tp_tls_handshake_worker_run(worker);
    return NULL;
}

static void begin(struct connection *one, struct tp_tls_context *context,
                  struct tp_tls_handshake_worker *worker)
{
    static const char *const ciphers[] = {"TLS_AES_128_GCM_SHA256",
                                          "ECDHE-ECDSA-AES128-GCM-SHA256"};
    const unsigned kind = dice(2);
    loopback_init(&one->loopback, kind == 0 ? TLS1_3_VERSION : TLS1_2_VERSION, ciphers[kind]);
    one->tls = tp_tls_new(context, "loopback");
    assert(one->tls != NULL);
    const bool taken = tp_tls_delegate(one->tls, worker);
    assert(taken);
    one->out = (struct tp_buffer){one->out_memory, OUT_SIZE, 0, 0};
    one->wire_size = 0;
    one->greeted = false;
    one->lives = dice(2) == 0 ? dice(60) : UINT32_MAX;
}

static void end(struct connection *one)
{
    tp_tls_free(one->tls);
    one->tls = NULL;
    loopback_deinit(&one->loopback);
}

/* The server's side: what comes in, and right behind its last flight a greeting. */
static void serve(struct connection *one)
{
    static uint8_t bytes[WIRE_SIZE], greeting[GREETING_SIZE];
    const size_t size = tp_tls_output(one->tls, bytes, sizeof bytes);
    if (size > 0) {
        BIO_write(one->loopback.to_server, bytes, (int)size);
        (void)SSL_do_handshake(one->loopback.server);
    }
    if (SSL_is_init_finished(one->loopback.server) && !one->greeted) {
        memset(greeting, 'g', sizeof greeting);
        const int written = SSL_write(one->loopback.server, greeting, sizeof greeting);
        assert(written == GREETING_SIZE);
        one->greeted = true;
    }
    const int answer = BIO_read(one->loopback.to_client, one->wire + one->wire_size,
                                (int)(WIRE_SIZE - one->wire_size));
    one->wire_size += answer > 0 ? (size_t)answer : 0;
}

static void deliver(struct connection *one)
{
    const size_t size = one->wire_size == 0 ? 0 : 1 + dice((unsigned)one->wire_size);
    struct tp_span in = {one->wire, size};
    enum tp_status status = tp_tls_input(one->tls, &in, &one->out);
    while (status == TP_OK && in.size > 0)
        status = tp_tls_input(one->tls, &in, &one->out);
    assert(status == TP_OK || status == TP_NEED_MORE);
    assert(in.size == 0);
    memmove(one->wire, one->wire + size, one->wire_size - size);
    one->wire_size -= size;
}

/* The greeting is there and our answer arrives. */
static void check(struct connection *one)
{
    static uint8_t sealed[1024], opened[64];
    for (size_t i = 0; i < GREETING_SIZE; i++)
        assert(one->out_memory[i] == 'g');
    const struct tp_span answer = {(const uint8_t *)"answer", 6};
    const size_t size = tp_tls_seal(one->tls, answer, sealed, sizeof sealed);
    assert(size > 0);
    const size_t got = loopback_receive(&one->loopback, (struct tp_span){sealed, size}, opened, 6);
    assert(got == 6 && memcmp(opened, "answer", 6) == 0);
}

/* One turn; whether it is over. */
static bool turn(struct connection *one, unsigned *completed)
{
    if (one->lives-- == 0)
        return true;
    serve(one);
    if (one->wire_size > 0 || tp_tls_has_news(one->tls))
        deliver(one);
    if (!tp_tls_connected(one->tls) || one->out.tail < GREETING_SIZE)
        return false;
    check(one);
    ++*completed;
    return true;
}

int main(int count, char **words)
{
    const unsigned wanted = count > 1 ? (unsigned)atoi(words[1]) : 200;
    static struct connection connections[AT_ONCE];
    char error[256];
    hot_thread = pthread_self();
    struct tp_tls_context *context = tp_tls_context_new(
        &(struct tp_tls_context_config){.insecure = true, .record_layer = TP_TLS_RECORD_EVP}, error,
        sizeof error);
    struct tp_tls_handshake_worker *worker = tp_tls_handshake_worker_new();
    assert(context != NULL && worker != NULL);
    pthread_t thread;
    const int started = pthread_create(&thread, NULL, work, worker);
    assert(started == 0);
    unsigned begun = 0, ended = 0, completed = 0;
    while (ended < wanted) {
        for (unsigned i = 0; i < AT_ONCE; i++) {
            struct connection *one = &connections[i];
            if (one->tls == NULL && begun < wanted) {
                begin(one, context, worker);
                begun++;
            } else if (one->tls != NULL && turn(one, &completed)) {
                end(one);
                ended++;
            }
        }
        tp_tls_handshake_worker_wake(worker); /* once a turn, as the hot loop does */
    }
    tp_tls_handshake_worker_stop(worker);
    pthread_join(thread, NULL);
    tp_tls_handshake_worker_free(worker);
    tp_tls_context_free(context);
    assert(completed > wanted / 3 && client_steps > completed);
    printf("%u handshakes, %u completed, %u steps on the worker\n", wanted, completed,
           client_steps);
    return 0;
}
