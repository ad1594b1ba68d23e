/* Plain bytes on top of a session, for HTTP: open as soon as bytes can be sent, ended by
 * close_notify (TLS) or the end of the stream. See session.h. */
#include "netstack/session_state.h"

static bool bytes_init(struct tp_session *s, const struct tp_session_config *config, char *error,
                       size_t error_size)
{
    (void)s, (void)config, (void)error, (void)error_size;
    return true;
}

static void bytes_start(struct tp_session *s, uint64_t now_ns)
{
    tp_session_set_phase(s, TP_SESSION_OPEN, now_ns);
}

static void bytes_output(struct tp_session *s)
{
    (void)s; /* it owes the peer nothing */
}

static bool bytes_ended_cleanly(const struct tp_session *s)
{
    return s->input_clean;
}

const struct tp_session_application tp_session_bytes = {
    .init = bytes_init,
    .start = bytes_start,
    .output = bytes_output,
    .ended_cleanly = bytes_ended_cleanly,
    .truncated = "the stream ended without close_notify",
};

enum tp_status tp_session_send_bytes(struct tp_session *s, struct tp_span data, size_t *taken)
{
    if (s->phase != TP_SESSION_OPEN)
        return TP_CLOSED;
    while (*taken < data.size) {
        const size_t rest = data.size - *taken;
        const size_t size = rest < TP_SESSION_FRAGMENT_SIZE ? rest : TP_SESSION_FRAGMENT_SIZE;
        if (!tp_session_room_for(s, size))
            return TP_FULL;
        tp_session_queue(s, (struct tp_span){data.data + *taken, size});
        *taken += size;
    }
    return TP_OK;
}

enum tp_status tp_session_read(struct tp_session *s, struct tp_span *out)
{
    s->buffer.head += s->read_size;
    s->read_size = 0;
    if (s->times.open != 0 && s->buffer.tail > s->buffer.head) {
        *out = tp_buffer_unread(&s->buffer);
        s->read_size = out->size;
        return TP_OK;
    }
    return tp_session_at_end(s);
}
