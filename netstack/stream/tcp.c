/* The stream over our own TCP: bytes leave as segments of a flow, and come back as segments that
 * session.c takes from the netif. */
#include "netstack/stream/stream.h"

enum { OUTPUT_BUDGET = 256 };

static void tcp_deinit(struct tp_stream *stream)
{
    stream->tcp = NULL; /* the memory is the caller's */
}

static void tcp_connect(struct tp_stream *stream, uint64_t now_ns)
{
    tp_tcp_connect(stream->tcp, now_ns);
}

static bool tcp_connected(struct tp_stream *stream)
{
    return tp_tcp_state(stream->tcp) >= TP_TCP_ESTABLISHED;
}

static enum tp_status tcp_receive(struct tp_stream *stream, size_t size_max, struct tp_span *out)
{
    (void)stream, (void)size_max, (void)out;
    return TP_NEED_MORE;
}

static void tcp_promise(struct tp_stream *stream, size_t size)
{
    tp_tcp_receive_space(stream->tcp, size < UINT32_MAX ? (uint32_t)size : UINT32_MAX);
}

static size_t tcp_space(const struct tp_stream *stream)
{
    return tp_tcp_send_space(stream->tcp);
}

static size_t tcp_send(struct tp_stream *stream, struct tp_span data)
{
    return tp_tcp_send(stream->tcp, data);
}

static bool tcp_pending(const struct tp_stream *stream)
{
    (void)stream; /* its timers say when */
    return false;
}

static uint32_t tcp_output(struct tp_stream *stream, struct tp_netif *netif, uint64_t now_ns)
{
    return tp_netif_output(netif, stream->flow, now_ns, OUTPUT_BUDGET);
}

static uint64_t tcp_deadline(const struct tp_stream *stream)
{
    return tp_tcp_deadline(stream->tcp);
}

static void tcp_close(struct tp_stream *stream)
{
    tp_tcp_close(stream->tcp);
}

static void tcp_abort(struct tp_stream *stream)
{
    tp_tcp_abort(stream->tcp);
}

static const char *tcp_failure(const struct tp_stream *stream)
{
    if (tp_tcp_state(stream->tcp) != TP_TCP_CLOSED)
        return NULL;
    return tp_tcp_error_name(tp_tcp_error(stream->tcp));
}

static bool tcp_finished(const struct tp_stream *stream)
{
    const enum tp_tcp_state state = tp_tcp_state(stream->tcp);
    /* Deadline 0: a segment is due now, which may be the RST. */
    return (state == TP_TCP_CLOSED || state == TP_TCP_TIME_WAIT) &&
           tp_tcp_deadline(stream->tcp) != 0;
}

void tp_stream_init_tcp(struct tp_stream *stream, struct tp_tcp *tcp)
{
    static const struct tp_stream_ops ops = {
        .deinit = tcp_deinit,
        .connect = tcp_connect,
        .connected = tcp_connected,
        .receive = tcp_receive,
        .promise = tcp_promise,
        .space = tcp_space,
        .send = tcp_send,
        .pending = tcp_pending,
        .output = tcp_output,
        .deadline = tcp_deadline,
        .close = tcp_close,
        .abort = tcp_abort,
        .failure = tcp_failure,
        .finished = tcp_finished,
    };
    *stream = (struct tp_stream){.ops = &ops, .tcp = tcp, .fd = -1};
}
