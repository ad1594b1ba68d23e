/* sources: netstack/ws/message.c netstack/ws/frame.c netstack/ws/utf8.c ; libs: */
/* WebSocket server bytes: whatever comes, the messages and the error do not depend on how the bytes
 * were cut, payloads lie inside the buffer, and no more payload comes out than bytes went in. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "netstack/ws/ws.h"

enum { CAPACITY = 6000, MESSAGE_SIZE_MAX = 5000, FRAGMENT_COUNT_MAX = 16 };
enum { USUAL_CAPACITY = 1000, USUAL_MESSAGE_SIZE = 500 };

struct outcome {
    uint64_t hash; /* of all messages in order */
    size_t payload_size, message_count;
    enum tp_status end;
    uint16_t close_code;
    const char *error;
};

static void require(int condition)
{
    if (!condition)
        abort();
}

static void hash_bytes(struct outcome *outcome, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++)
        outcome->hash = (outcome->hash ^ bytes[i]) * UINT64_C(0x100000001b3);
}

static void take_message(struct outcome *outcome, const struct tp_buffer *buffer,
                         const struct tp_ws_message *message)
{
    const uint8_t header[3] = {(uint8_t)message->opcode, (uint8_t)(message->close_code >> 8),
                               (uint8_t)message->close_code};
    require(message->payload.data >= buffer->data);
    require(message->payload.data + message->payload.size <= buffer->data + buffer->tail);
    hash_bytes(outcome, header, sizeof header);
    hash_bytes(outcome, &message->payload.size, sizeof message->payload.size);
    hash_bytes(outcome, message->payload.data, message->payload.size);
    outcome->payload_size += message->payload.size;
    outcome->message_count++;
}

/* As netstack/session.c does: a message that is too large for here has all unread bytes moved. */
static void move(struct tp_ws *ws, struct tp_buffer *buffer)
{
    const struct tp_span unread = tp_buffer_unread(buffer);
    uint8_t *large = malloc(CAPACITY);
    require(large != NULL && buffer->capacity == USUAL_CAPACITY);
    memcpy(large, unread.data, unread.size);
    free(buffer->data);
    *buffer = (struct tp_buffer){large, CAPACITY, 0, unread.size};
    ws->config.message_size_here = MESSAGE_SIZE_MAX;
}

static enum tp_status next(struct tp_ws *ws, struct tp_buffer *buffer,
                           struct tp_ws_message *message)
{
    const enum tp_status status = tp_ws_input(ws, buffer, message);
    if (status != TP_FULL)
        return status;
    move(ws, buffer);
    const enum tp_status again = tp_ws_input(ws, buffer, message);
    require(again != TP_FULL);
    return again;
}

/* Feeds data in pieces of 1 to piece_max bytes. Small pieces begin in a small buffer. */
static struct outcome play(const uint8_t *data, size_t size, size_t piece_max)
{
    const bool is_small = piece_max < USUAL_MESSAGE_SIZE;
    const size_t capacity = is_small ? USUAL_CAPACITY : CAPACITY;
    struct tp_buffer buffer = {malloc(capacity), capacity, 0, 0};
    struct tp_ws ws;
    struct tp_ws_message message;
    struct outcome outcome = {.end = TP_NEED_MORE};
    require(buffer.data != NULL);
    tp_ws_init(&ws, &(struct tp_ws_config){MESSAGE_SIZE_MAX, FRAGMENT_COUNT_MAX,
                                           is_small ? USUAL_MESSAGE_SIZE : 0});
    for (size_t at = 0, piece; at < size && outcome.end == TP_NEED_MORE; at += piece) {
        piece = 1 + (at * 2654435761U >> 7) % piece_max;
        piece = piece < size - at ? piece : size - at;
        piece = piece < tp_buffer_space(&buffer) ? piece : tp_buffer_space(&buffer);
        require(piece > 0); /* TP_NEED_MORE promises room */
        memcpy(buffer.data + buffer.tail, data + at, piece);
        buffer.tail += piece;
        while ((outcome.end = next(&ws, &buffer, &message)) == TP_OK)
            take_message(&outcome, &buffer, &message);
        require(buffer.head <= buffer.tail && buffer.tail <= buffer.capacity);
    }
    outcome.close_code = ws.close_code;
    outcome.error = ws.error;
    require((outcome.end == TP_ERROR) == (ws.error != NULL));
    require(outcome.end != TP_ERROR || tp_ws_close_code_valid(ws.close_code));
    free(buffer.data);
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const size_t piece_sizes[] = {1, 7, 300};
    struct outcome whole = play(data, size, CAPACITY);
    require(whole.payload_size <= size && whole.message_count <= size / 2);
    for (size_t i = 0; i < sizeof piece_sizes / sizeof *piece_sizes; i++) {
        struct outcome split = play(data, size, piece_sizes[i]);
        require(split.hash == whole.hash && split.message_count == whole.message_count);
        require(split.end == whole.end && split.close_code == whole.close_code);
        require(split.error == whole.error);
    }
    return 0;
}
