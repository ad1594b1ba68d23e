/* sources: tests/c/tls/loopback.c netstack/tls/tls.c netstack/tls/handover.c netstack/tls/handshake_worker.c netstack/tls/handshake.c netstack/tls/record.c netstack/tls/post_handshake.c netstack/tls/key_schedule.c netstack/tls/aead.c netstack/tls/aead_library.c ; libs: -DTP_HAVE_IPSEC_MB=1 -lssl -lcrypto -lIPSec_MB */
/* The input is a script of what happens around a handshake that a worker does: the server's bytes
 * in pieces, damaged or made up, the worker's looks, what leaves, the end. No order of these may
 * break the hand-over, lose its memory or open a connection whose handshake was damaged unseen. */
#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "netstack/tls/handshake_worker.h"
#include "netstack/tls/tls.h"
#include "tests/c/tls/loopback.h"

enum { WIRE_SIZE = 1 << 17, PIECE_MAX = 1 << 14 };

enum action { GIVE, GIVE_ALL, DAMAGE, INVENT, LOOK, LOOK_TWICE, TAKE, SERVE, SPEAK, ACTION_COUNT };

struct script {
    const uint8_t *data;
    size_t size;
};

static struct loopback loopbacks[2];
static struct tp_tls_context *context;
static uint8_t wire[WIRE_SIZE], bytes[WIRE_SIZE], out_memory[1 << 17];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void set_up(void)
{
    char error[256];
    loopback_init(&loopbacks[0], TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256");
    loopback_init(&loopbacks[1], TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256");
    context =
        tp_tls_context_new(&(struct tp_tls_context_config){.insecure = true}, error, sizeof error);
    assert(context != NULL);
}

static uint8_t next(struct script *script)
{
    if (script->size == 0)
        return 0;
    script->size--;
    return *script->data++;
}

/* The server takes what the client sends, and answers onto the wire. */
static size_t serve(struct tp_tls *tls, SSL *server, bool speaks, size_t wire_size)
{
    const size_t sent = tp_tls_output(tls, bytes, sizeof bytes);
    if (sent > 0)
        BIO_write(SSL_get_rbio(server), bytes, (int)sent);
    (void)SSL_do_handshake(server);
    if (speaks && SSL_is_init_finished(server))
        (void)SSL_write(server, "behind the last flight", 22);
    const int got = BIO_read(SSL_get_wbio(server), wire + wire_size, (int)(WIRE_SIZE - wire_size));
    return wire_size + (got > 0 ? (size_t)got : 0);
}

static bool take(struct tp_tls *tls, struct tp_span in)
{
    struct tp_buffer out = {out_memory, sizeof out_memory, 0, 0};
    enum tp_status status;
    do {
        out.head = out.tail = 0;
        status = tp_tls_input(tls, &in, &out);
    } while (status == TP_OK && in.size > 0);
    return status == TP_OK || status == TP_NEED_MORE;
}

static void play(struct script *script, struct tp_tls *tls, SSL *server,
                 struct tp_tls_handshake_worker *worker)
{
    size_t wire_size = 0;
    bool alive = true, damaged = false;
    while (script->size > 0 && alive) {
        const enum action action = next(script) % ACTION_COUNT;
        const uint8_t argument = next(script);
        size_t give = 0;
        if (action == LOOK || action == LOOK_TWICE)
            (void)tp_tls_handshake_worker_step(worker);
        if (action == LOOK_TWICE)
            (void)tp_tls_handshake_worker_step(worker);
        if (action == SERVE || action == SPEAK)
            wire_size = serve(tls, server, action == SPEAK, wire_size);
        if (action == GIVE)
            give = argument < wire_size ? argument : wire_size;
        if (action == GIVE_ALL)
            give = wire_size;
        if (action == DAMAGE && wire_size > 0) {
            wire[argument % wire_size] ^= 1;
            damaged = true;
        }
        if (action == INVENT && wire_size < WIRE_SIZE - 256) {
            memset(wire + wire_size, argument, argument);
            wire_size += argument;
            damaged = damaged || argument > 0;
        }
        const size_t room = tp_tls_input_room(tls);
        give = give < room ? give : room;
        give = give < PIECE_MAX ? give : PIECE_MAX;
        alive = take(tls, (struct tp_span){wire, give});
        memmove(wire, wire + give, wire_size - give);
        wire_size -= give;
    }
    if (!alive)
        assert(tp_tls_error(tls) != TP_TLS_ERROR_NONE && tp_tls_error_text(tls)[0] != '\0');
    if (!alive && !damaged)
        abort(); /* a whole handshake was refused */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script script = {data, size};
    if (context == NULL)
        set_up();
    SSL *server = SSL_new(loopbacks[next(&script) % 2].context);
    SSL_set_bio(server, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_accept_state(server);
    struct tp_tls_handshake_worker *worker = tp_tls_handshake_worker_new();
    struct tp_tls *tls = tp_tls_new(context, "loopback");
    assert(worker != NULL && tls != NULL);
    if (next(&script) % 4 != 0) {
        const bool taken = tp_tls_delegate(tls, worker);
        assert(taken);
    }
    play(&script, tls, server, worker);
    tp_tls_free(tls);
    tp_tls_handshake_worker_free(worker); /* asserts that nothing is left */
    SSL_free(server);
    return 0;
}
