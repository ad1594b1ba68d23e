/* A piece of a message: valid as long as the message is. */
#ifndef TP_PROTO_TEXT_H
#define TP_PROTO_TEXT_H
#include <stddef.h>
#include <stdint.h>

struct tp_text {
    const uint8_t *at; /* NULL: what was looked for is absent */
    size_t size;
};
#endif
