/* Byte ranges and stage results that every layer of the stack shares.
 *
 * A span is borrowed: whoever hands one out says when it dies. */
#ifndef TP_NETSTACK_SPAN_H
#define TP_NETSTACK_SPAN_H
#include <stddef.h>
#include <stdint.h>

struct tp_span {
    const uint8_t *data;
    size_t size;
};

/* What a stage says of its input. TP_ERROR always comes with an error code in the stage itself,
 * named by that stage's tp_<stage>_error_name(). */
enum tp_status {
    TP_OK,        /* something was produced: look at the output */
    TP_NEED_MORE, /* all input was taken, nothing complete yet */
    TP_FULL,      /* no room: give the same input again after making room */
    TP_CLOSED,    /* the peer ended the conversation by the protocol's own rules */
    TP_ERROR,     /* hostile or broken input: the conversation is over */
};

/* The message buffer of a connection: bytes [head, tail) of data[0, capacity) are unread.
 * TLS writes plaintext at tail; HTTP and WebSocket read at head, in place. */
struct tp_buffer {
    uint8_t *data;
    size_t capacity;
    size_t head;
    size_t tail;
};

static inline struct tp_span tp_buffer_unread(const struct tp_buffer *buffer)
{
    return (struct tp_span){buffer->data + buffer->head, buffer->tail - buffer->head};
}

static inline size_t tp_buffer_space(const struct tp_buffer *buffer)
{
    return buffer->capacity - buffer->tail;
}
#endif
