/* sources: tests/c/tls/peer.c netstack/tls/record.c netstack/tls/post_handshake.c netstack/tls/key_schedule.c netstack/tls/aead.c netstack/tls/aead_library.c ; libs: -DTP_HAVE_IPSEC_MB=1 -lssl -lcrypto -lIPSec_MB */
/* The record layer against records that the peer of tests/c/tls sealed by EVP, then mutated, mixed
 * with hostile contents and raw bytes, and split anywhere.
 *
 * The input is a script: which version, cipher and engine; what the server sends; what is damaged
 * on the way; where the bytes are cut and when the reader compacts its buffer. Held:
 *   - what comes out is a prefix of what the server sealed before the first damaged byte;
 *   - all of it, when the server sent nothing hostile;
 *   - the tail never moves back, and nothing is delivered after an error;
 *   - whatever we send opens under the client's keys. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "netstack/tls/record.h"
#include "tests/c/tls/peer.h"

#define WIRE_SIZE_MAX 60000
#define RECORDS_MAX 64
#define CONTENT_SIZE_MAX 32
#define OUT_CAPACITY 20000 /* a little above one record, so that TP_FULL happens */

enum { ALERT = 21, HANDSHAKE = 22, DATA = 23 };

struct script {
    const uint8_t *data;
    size_t size;
};

struct scene {
    struct peer peer;
    uint8_t wire[WIRE_SIZE_MAX + PEER_RECORD_SIZE_MAX];
    size_t wire_size;
    uint8_t expected[WIRE_SIZE_MAX];
    size_t expected_size;
    /* expected_size and wire_size behind each record */
    size_t expected_at[RECORDS_MAX + 1];
    size_t wire_at[RECORDS_MAX + 1];
    size_t records;
    bool hostile; /* the server sent what may end the connection */
    size_t delivered;
};

static uint8_t byte(struct script *script)
{
    if (script->size == 0)
        return 0;
    script->size--;
    return *script->data++;
}

static size_t word(struct script *script)
{
    size_t high = byte(script);
    return high << 8 | byte(script);
}

static void send(struct scene *scene, uint8_t type, struct tp_span content, size_t padding)
{
    scene->wire_size +=
        peer_seal(&scene->peer, type, content, padding, scene->wire + scene->wire_size);
}

static void send_data(struct scene *scene, struct script *script, bool padded)
{
    size_t size = word(script) % 1600;
    if (size >= 1500)
        size = 16384;
    if (scene->expected_size + size > sizeof scene->expected)
        return;
    uint8_t *content = scene->expected + scene->expected_size;
    for (size_t i = 0; i < size; i++)
        content[i] = (uint8_t)(i * 7 + scene->records + 1);
    size_t padding = padded ? byte(script) : 0;
    scene->hostile = scene->hostile || size + padding > 16384;
    send(scene, DATA, (struct tp_span){content, size}, padding);
    scene->expected_size += size;
}

static void send_content(struct scene *scene, struct script *script, uint8_t type)
{
    uint8_t content[CONTENT_SIZE_MAX];
    size_t size = byte(script) % sizeof content;
    /* Data belongs to what is expected, which is send_data's business; and a type of 0 would be
     * padding, the type then the content's last byte that is not 0 (RFC 8446 5.4). */
    if (type == DATA || type == 0)
        type = DATA + 1;
    for (size_t i = 0; i < size; i++)
        content[i] = byte(script);
    scene->hostile = true;
    send(scene, type, (struct tp_span){content, size}, 0);
}

static void send_key_update(struct scene *scene, struct script *script)
{
    uint8_t message[5] = {24, 0, 0, 1, byte(script) & 1};
    if (!scene->peer.tls13)
        return;
    send(scene, HANDSHAKE, (struct tp_span){message, sizeof message}, 0);
    peer_update(&scene->peer, &scene->peer.server);
}

static void send_raw(struct scene *scene, struct script *script)
{
    size_t size = byte(script) % CONTENT_SIZE_MAX;
    for (size_t i = 0; i < size; i++)
        scene->wire[scene->wire_size++] = byte(script);
    scene->hostile = true;
}

static void send_one(struct scene *scene, struct script *script, uint8_t action)
{
    switch (action % 8) {
    case 4:
        send_content(scene, script, HANDSHAKE);
        break;
    case 5:
        send_content(scene, script, (action & 8) != 0 ? ALERT : byte(script));
        break;
    case 6:
        send_key_update(scene, script);
        break;
    case 7:
        send_raw(scene, script);
        break;
    default:
        send_data(scene, script, action % 8 == 3);
        break;
    }
}

/* Stays below the flood limits, so that only hostile contents may end the connection. */
static void write_scene(struct scene *scene, struct script *script)
{
    size_t count = byte(script) % 24;
    while (scene->records < count && scene->wire_size < WIRE_SIZE_MAX - 20000) {
        send_one(scene, script, byte(script));
        scene->records++;
        scene->wire_at[scene->records] = scene->wire_size;
        scene->expected_at[scene->records] = scene->expected_size;
    }
}

/* Flips bits of one byte: nothing of that record or behind it may come out. */
static void damage(struct scene *scene, struct script *script)
{
    uint8_t flip = byte(script);
    if (flip == 0 || scene->wire_size == 0)
        return;
    size_t position = (word(script) << 8 | byte(script)) % scene->wire_size;
    scene->wire[position] ^= flip;
    size_t record = 0;
    while (scene->wire_at[record + 1] <= position)
        record++;
    scene->expected_size = scene->expected_at[record];
    /* With its length damaged a record may wait for bytes that never come: no error is due. */
}

static void read_out(struct scene *scene, struct tp_buffer *out, size_t size)
{
    struct tp_span unread = tp_buffer_unread(out);
    if (size > unread.size)
        size = unread.size;
    assert(scene->delivered + size <= scene->expected_size);
    assert(memcmp(unread.data, scene->expected + scene->delivered, size) == 0);
    scene->delivered += size;
    out->head += size;
}

static void compact(struct tp_buffer *out)
{
    size_t unread = out->tail - out->head;
    memmove(out->data, out->data + out->head, unread);
    out->head = 0;
    out->tail = unread;
}

static void drain_output(struct scene *scene, struct tp_tls_record *record)
{
    static uint8_t opened[PEER_RECORD_SIZE_MAX];
    uint8_t sealed[TP_TLS_OUTPUT_SIZE];
    struct tp_span in = {sealed, tp_tls_record_output(record, sealed, sizeof sealed)};
    while (in.size > 0) {
        size_t size = 0;
        int type = peer_open(&scene->peer, &in, opened, &size);
        assert(type == ALERT || (type == HANDSHAKE && scene->peer.tls13));
        if (type == HANDSHAKE)
            peer_update(&scene->peer, &scene->peer.client);
    }
}

/* Returns the last status. Every turn takes a byte, makes room, or ends. */
static enum tp_status play(struct scene *scene, struct tp_tls_record *record, struct script *script,
                           struct tp_buffer *out)
{
    enum tp_status status = TP_NEED_MORE;
    struct tp_span left = {scene->wire, scene->wire_size};
    while (left.size > 0 && status != TP_ERROR && status != TP_CLOSED) {
        size_t piece = byte(script);
        piece = piece == 0 || piece > 250 ? 1448 : piece;
        struct tp_span in = {left.data, piece < left.size ? piece : left.size};
        size_t before = in.size;
        size_t tail = out->tail;
        status = tp_tls_record_input(record, &in, out);
        left.data += before - in.size;
        left.size -= before - in.size;
        assert(out->tail >= tail && out->tail <= out->capacity);
        assert(status == TP_OK || out->tail == tail);
        assert(status != TP_NEED_MORE || in.size == 0);
        drain_output(scene, record);
        uint8_t reading = byte(script);
        read_out(scene, out, status == TP_FULL ? SIZE_MAX : (size_t)reading * 16);
        if (status == TP_FULL || (reading & 1) != 0)
            compact(out);
    }
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tp_aead_library library;
    static bool opened;
    static struct scene scene;
    static alignas(64) struct tp_tls_record record;
    static uint8_t memory[OUT_CAPACITY];
    const char *reason = NULL;
    if (!opened && getenv("TP_FUZZ_NO_IPSEC_MB") == NULL)
        (void)tp_aead_library_open_ipsec_mb(&library, &reason);
    opened = true;

    struct script script = {data, size};
    uint8_t choice = byte(&script);
    struct tp_tls_secrets secrets =
        peer_secrets((choice & 1) != 0, (enum tp_aead_algorithm)((choice >> 1) % 3), choice);
    struct tp_aead_library libcrypto = {NULL};
    memset(&scene, 0, offsetof(struct scene, wire));
    scene = (struct scene){.hostile = false};
    peer_init(&scene.peer, &secrets);
    bool ready = tp_tls_record_init(&record, (choice & 128) != 0 ? &libcrypto : &library, &secrets);
    assert(ready);
    struct tp_buffer out = {memory, sizeof memory, 0, 0};

    write_scene(&scene, &script);
    bool damaged = script.size > 0 && script.data[0] != 0;
    damage(&scene, &script);
    enum tp_status status = play(&scene, &record, &script, &out);
    read_out(&scene, &out, SIZE_MAX);
    if (!scene.hostile) {
        assert(scene.delivered == scene.expected_size);
        assert(damaged || (status != TP_ERROR && status != TP_CLOSED));
    }
    tp_tls_record_deinit(&record);
    return 0;
}
