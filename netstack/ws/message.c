/* Frames to messages, in place (RFC 6455 5.4 to 5.6, 7.4, 8.1).
 *
 * Called by netstack/session_ws.c; calls frame.c and utf8.c. The buffer, from its head, holds first
 * the fragments joined so far (message_size bytes), then room that headers and control frames left
 * (up to consumed), then unread frames. All offsets are relative to the head, so that the bytes can
 * be moved down at any time. Each byte is moved a bounded number of times: once by the join, and
 * once for each frame that it is an unfinished part of. */
#include <string.h>

#include "netstack/ws/frame.h"
#include "netstack/ws/ws.h"

/* Free space to offer the writer at the tail: TLS asks for a whole record (2^14 + 256 bytes). */
enum { SPACE_WANTED = 16384 + 256 };
enum { GAP_SIZE_MIN = 4096 };

enum { CLOSE_PROTOCOL = 1002, CLOSE_EMPTY = 1005, CLOSE_TEXT = 1007, CLOSE_POLICY = 1008 };
enum { CLOSE_SIZE = 1009 };

void tp_ws_init(struct tp_ws *ws, const struct tp_ws_config *config)
{
    *ws = (struct tp_ws){.config = *config};
    if (config->message_size_here == 0)
        ws->config.message_size_here = config->message_size_max;
}

static enum tp_status fail(struct tp_ws *ws, uint16_t close_code, const char *error)
{
    ws->close_code = close_code;
    ws->error = error;
    return TP_ERROR;
}

static struct tp_span unread(const struct tp_ws *ws, const struct tp_buffer *buffer)
{
    size_t start = buffer->head + ws->consumed;
    return (struct tp_span){buffer->data + start, buffer->tail - start};
}

/* Forgets the message that the previous call returned; an open one stays. */
static void drop_previous(struct tp_ws *ws, struct tp_buffer *buffer)
{
    if (ws->message_opcode != 0)
        return;
    buffer->head += ws->consumed;
    ws->consumed = 0;
    ws->message_size = 0;
    if (buffer->head == buffer->tail)
        buffer->head = buffer->tail = 0;
}

/* Closes the room between the joined fragments and the unread bytes. */
static void close_gap(struct tp_ws *ws, struct tp_buffer *buffer)
{
    struct tp_span rest = unread(ws, buffer);
    if (ws->consumed == ws->message_size)
        return;
    memmove(buffer->data + buffer->head + ws->message_size, rest.data, rest.size);
    buffer->tail = buffer->head + ws->message_size + rest.size;
    ws->consumed = ws->message_size;
}

/* Gives the writer room for what the frame at hand still misses. The gap is closed early too when
 * that costs less than what made it, so that control frames without end inside a message do not
 * eat the buffer. */
static enum tp_status make_room(struct tp_ws *ws, struct tp_buffer *buffer, uint64_t missing)
{
    size_t gap = ws->consumed - ws->message_size;
    if (gap >= GAP_SIZE_MIN && gap >= unread(ws, buffer).size)
        close_gap(ws, buffer);
    size_t wanted = missing < SPACE_WANTED ? SPACE_WANTED : (size_t)missing;
    if (tp_buffer_space(buffer) >= wanted)
        return TP_NEED_MORE;
    close_gap(ws, buffer);
    if (buffer->head > 0)
        memmove(buffer->data, buffer->data + buffer->head, buffer->tail - buffer->head);
    buffer->tail -= buffer->head;
    buffer->head = 0;
    if (tp_buffer_space(buffer) == 0)
        return fail(ws, CLOSE_SIZE, "message larger than the receive buffer");
    return TP_NEED_MORE;
}

static bool exceeds(const struct tp_ws *ws, const struct tp_ws_frame *frame, size_t size_max)
{
    return ws->message_size > size_max || frame->payload_size > size_max - ws->message_size;
}

/* May this frame stand here? Decided from its header alone. */
static enum tp_status admit(struct tp_ws *ws, const struct tp_ws_frame *frame, size_t capacity)
{
    if (!tp_ws_opcode_is_control(frame->opcode)) {
        bool open = ws->message_opcode != 0;
        if (open && frame->opcode != TP_WS_CONTINUATION)
            return fail(ws, CLOSE_PROTOCOL, "new message inside a fragmented one");
        if (!open && frame->opcode == TP_WS_CONTINUATION)
            return fail(ws, CLOSE_PROTOCOL, "continuation without a message to continue");
        if (exceeds(ws, frame, ws->config.message_size_here))
            return exceeds(ws, frame, ws->config.message_size_max)
                       ? fail(ws, CLOSE_SIZE, "message larger than message_size_max")
                       : TP_FULL;
        if ((open || !frame->fin) && ws->fragment_count >= ws->config.fragment_count_max)
            return fail(ws, CLOSE_POLICY, "more fragments than fragment_count_max");
    }
    /* message_size is at most capacity, and so the differences cannot wrap. */
    if (frame->header_size > capacity - ws->message_size ||
        frame->payload_size > capacity - ws->message_size - frame->header_size)
        return fail(ws, CLOSE_SIZE, "message larger than the receive buffer");
    return TP_OK;
}

/* Validates the part of a text frame's payload that was not seen yet. */
static bool text_valid(struct tp_ws *ws, const struct tp_ws_frame *frame, struct tp_span payload)
{
    uint8_t opcode = frame->opcode == TP_WS_CONTINUATION ? ws->message_opcode : frame->opcode;
    if (opcode != TP_WS_TEXT)
        return true;
    struct tp_span fresh = {payload.data + ws->text_checked, payload.size - ws->text_checked};
    ws->text_checked = payload.size;
    return tp_ws_utf8_input(&ws->utf8, fresh);
}

static enum tp_status take_close(struct tp_ws *ws, struct tp_span payload,
                                 struct tp_ws_message *out)
{
    if (payload.size == 1)
        return fail(ws, CLOSE_PROTOCOL, "close frame with a payload of one byte");
    uint16_t code = CLOSE_EMPTY;
    if (payload.size >= 2) {
        code = (uint16_t)(payload.data[0] << 8 | payload.data[1]);
        if (!tp_ws_close_code_valid(code))
            return fail(ws, CLOSE_PROTOCOL, "close code that must not be sent");
        payload = (struct tp_span){payload.data + 2, payload.size - 2};
    }
    struct tp_ws_utf8 utf8 = {0};
    if (!tp_ws_utf8_input(&utf8, payload) || !tp_ws_utf8_complete(&utf8))
        return fail(ws, CLOSE_TEXT, "close reason is not UTF-8");
    ws->closed = true;
    *out = (struct tp_ws_message){.opcode = TP_WS_CLOSE, .close_code = code, .payload = payload};
    return TP_OK;
}

/* Puts the fragment behind those before it. The first one stays where it is: the head moves. */
static void join(struct tp_ws *ws, struct tp_buffer *buffer, const struct tp_ws_frame *frame)
{
    if (ws->message_opcode == 0) {
        ws->message_opcode = frame->opcode;
        buffer->head += frame->header_size;
        ws->consumed = (size_t)frame->payload_size;
    } else {
        uint8_t *message = buffer->data + buffer->head;
        memmove(message + ws->message_size, message + ws->consumed + frame->header_size,
                (size_t)frame->payload_size);
        ws->consumed += frame->header_size + (size_t)frame->payload_size;
    }
    ws->message_size += (size_t)frame->payload_size;
    ws->fragment_count++;
}

/* Takes a whole data frame. TP_NEED_MORE: a fragment that is not the last one. */
static enum tp_status take_data(struct tp_ws *ws, struct tp_buffer *buffer,
                                const struct tp_ws_frame *frame, struct tp_ws_message *out)
{
    struct tp_span payload = unread(ws, buffer);
    payload = (struct tp_span){payload.data + frame->header_size, (size_t)frame->payload_size};
    bool valid = text_valid(ws, frame, payload);
    ws->text_checked = 0;
    if (!valid || (frame->fin && !tp_ws_utf8_complete(&ws->utf8)))
        return fail(ws, CLOSE_TEXT, "text is not UTF-8");
    if (frame->fin && ws->message_opcode == 0) {
        *out = (struct tp_ws_message){.opcode = frame->opcode, .payload = payload};
        ws->consumed = frame->header_size + payload.size;
        return TP_OK;
    }
    join(ws, buffer, frame);
    if (!frame->fin)
        return TP_NEED_MORE;
    *out = (struct tp_ws_message){.opcode = ws->message_opcode,
                                  .payload = {buffer->data + buffer->head, ws->message_size}};
    ws->message_opcode = 0;
    ws->fragment_count = 0;
    return TP_OK;
}

static enum tp_status take_control(struct tp_ws *ws, struct tp_span payload,
                                   const struct tp_ws_frame *frame, struct tp_ws_message *out)
{
    ws->consumed += frame->header_size + payload.size;
    if (frame->opcode == TP_WS_CLOSE)
        return take_close(ws, payload, out);
    *out = (struct tp_ws_message){.opcode = frame->opcode, .payload = payload};
    return TP_OK;
}

/* A frame of which only a part is here: make sure that the rest fits, and that text which is
 * already wrong is refused without waiting for it. */
static enum tp_status wait_for_rest(struct tp_ws *ws, struct tp_buffer *buffer,
                                    const struct tp_ws_frame *frame)
{
    struct tp_span rest = unread(ws, buffer);
    struct tp_span payload = {rest.data + frame->header_size, rest.size - frame->header_size};
    if (!tp_ws_opcode_is_control(frame->opcode) && !text_valid(ws, frame, payload))
        return fail(ws, CLOSE_TEXT, "text is not UTF-8");
    ws->awaited = ws->message_size + (size_t)frame->payload_size;
    return make_room(ws, buffer, frame->payload_size - payload.size);
}

enum tp_status tp_ws_input(struct tp_ws *ws, struct tp_buffer *buffer, struct tp_ws_message *out)
{
    if (ws->closed || ws->error != NULL) { /* what follows is thrown away */
        buffer->head = buffer->tail = 0;
        ws->consumed = 0;
        return ws->error != NULL ? TP_ERROR : TP_CLOSED;
    }
    drop_previous(ws, buffer);
    enum tp_status status = TP_NEED_MORE;
    while (status == TP_NEED_MORE) { /* every pass takes a fragment of at least two bytes */
        struct tp_span rest = unread(ws, buffer);
        struct tp_ws_frame frame;
        const char *error;
        status = tp_ws_frame_parse(rest, &frame, &error);
        if (status == TP_NEED_MORE) {
            ws->awaited = ws->message_size;
            return make_room(ws, buffer, TP_WS_FRAME_HEADER_SIZE_MAX);
        }
        if (status == TP_ERROR)
            return fail(ws, CLOSE_PROTOCOL, error);
        status = admit(ws, &frame, buffer->capacity);
        if (status != TP_OK)
            return status;
        if (rest.size - frame.header_size < frame.payload_size)
            return wait_for_rest(ws, buffer, &frame);
        struct tp_span payload = {rest.data + frame.header_size, (size_t)frame.payload_size};
        status = tp_ws_opcode_is_control(frame.opcode) ? take_control(ws, payload, &frame, out)
                                                       : take_data(ws, buffer, &frame, out);
    }
    return status;
}
