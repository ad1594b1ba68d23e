/* The stream over a kernel socket: plain non-blocking recv and send. */
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "netstack/stream/stream.h"

static void socket_deinit(struct tp_stream *stream)
{
    if (stream->fd >= 0)
        close(stream->fd);
    free(stream->rx);
    free(stream->tx);
    *stream = (struct tp_stream){.ops = stream->ops, .fd = -1};
}

static void socket_connect(struct tp_stream *stream, uint64_t now_ns)
{
    (void)stream, (void)now_ns; /* who made the socket called connect() */
}

static bool socket_connected(struct tp_stream *stream)
{
    if (stream->connected || stream->error != 0)
        return stream->connected;
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
        error = errno;
    struct sockaddr_storage peer;
    socklen_t peer_size = sizeof peer;
    if (error != 0)
        stream->error = error;
    else
        stream->connected = getpeername(stream->fd, (struct sockaddr *)&peer, &peer_size) == 0;
    return stream->connected;
}

static enum tp_status socket_receive(struct tp_stream *stream, size_t size_max, struct tp_span *out)
{
    assert(size_max > 0);
    if (stream->ended || stream->error != 0)
        return TP_NEED_MORE;
    const size_t capacity =
        size_max < TP_STREAM_SOCKET_BUFFER_SIZE ? size_max : TP_STREAM_SOCKET_BUFFER_SIZE;
    const ssize_t size = recv(stream->fd, stream->rx, capacity, MSG_DONTWAIT);
    if (size > 0) {
        *out = (struct tp_span){stream->rx, (size_t)size};
        return TP_OK;
    }
    if (size == 0) {
        stream->ended = true;
        return TP_CLOSED;
    }
    if (errno == EAGAIN || errno == EINTR)
        return TP_NEED_MORE;
    stream->error = errno;
    return TP_ERROR;
}

static void socket_promise(struct tp_stream *stream, size_t size)
{
    (void)stream, (void)size; /* the kernel's buffer is the window */
}

static size_t socket_space(const struct tp_stream *stream)
{
    return TP_STREAM_SOCKET_BUFFER_SIZE - (stream->tx_tail - stream->tx_head);
}

static size_t socket_send(struct tp_stream *stream, struct tp_span data)
{
    if (stream->tx_head > 0 && TP_STREAM_SOCKET_BUFFER_SIZE - stream->tx_tail < data.size) {
        memmove(stream->tx, stream->tx + stream->tx_head, stream->tx_tail - stream->tx_head);
        stream->tx_tail -= stream->tx_head;
        stream->tx_head = 0;
    }
    const size_t space = TP_STREAM_SOCKET_BUFFER_SIZE - stream->tx_tail;
    const size_t taken = data.size < space ? data.size : space;
    memcpy(stream->tx + stream->tx_tail, data.data, taken);
    stream->tx_tail += taken;
    return taken;
}

static bool socket_pending(const struct tp_stream *stream)
{
    /* After an error nothing leaves any more: who waited for it would wait forever. */
    return stream->error == 0 && (stream->tx_head < stream->tx_tail || stream->closing);
}

static uint32_t socket_output(struct tp_stream *stream, struct tp_netif *netif, uint64_t now_ns)
{
    (void)netif, (void)now_ns;
    if (!socket_pending(stream) || !stream->connected)
        return 0;
    while (stream->tx_head < stream->tx_tail) {
        const ssize_t sent = send(stream->fd, stream->tx + stream->tx_head,
                                  stream->tx_tail - stream->tx_head, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOTCONN))
            return 0;
        if (sent < 0) {
            stream->error = errno;
            return 0;
        }
        stream->tx_head += (size_t)sent;
    }
    stream->tx_head = stream->tx_tail = 0;
    if (stream->closing) {
        stream->closing = false;
        (void)shutdown(stream->fd, SHUT_WR);
    }
    return 1;
}

static uint64_t socket_deadline(const struct tp_stream *stream)
{
    (void)stream; /* its timers are the kernel's */
    return UINT64_MAX;
}

static void socket_close(struct tp_stream *stream)
{
    stream->closing = true;
}

static void socket_abort(struct tp_stream *stream)
{
    /* SO_LINGER 0 turns close into RST, as abort does for our own TCP. */
    const struct linger hard = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(stream->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    stream->tx_head = stream->tx_tail = 0;
    stream->closing = false;
    stream->ended = true;
}

static const char *socket_failure(const struct tp_stream *stream)
{
    return stream->error != 0 ? strerrordesc_np(stream->error) : NULL;
}

static bool socket_finished(const struct tp_stream *stream)
{
    /* Closing a socket with unread bytes makes the kernel send RST, which overtakes our last
     * frames: wait for the peer's end. The owner bounds that time. */
    return stream->error != 0 || stream->ended;
}

bool tp_stream_init_socket(struct tp_stream *stream, int take_fd)
{
    static const struct tp_stream_ops ops = {
        .deinit = socket_deinit,
        .connect = socket_connect,
        .connected = socket_connected,
        .receive = socket_receive,
        .promise = socket_promise,
        .space = socket_space,
        .send = socket_send,
        .pending = socket_pending,
        .output = socket_output,
        .deadline = socket_deadline,
        .close = socket_close,
        .abort = socket_abort,
        .failure = socket_failure,
        .finished = socket_finished,
    };
    *stream = (struct tp_stream){.ops = &ops, .fd = take_fd};
    stream->rx = malloc(TP_STREAM_SOCKET_BUFFER_SIZE);
    stream->tx = malloc(TP_STREAM_SOCKET_BUFFER_SIZE);
    const int on = 1; /* latency: no Nagle; a failure costs delay, not correctness */
    (void)setsockopt(take_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return stream->rx != NULL && stream->tx != NULL;
}
