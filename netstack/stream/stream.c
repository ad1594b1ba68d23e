#include "netstack/stream/stream.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void tp_stream_init_tcp(struct tp_stream *stream, struct tp_tcp *tcp)
{
    *stream = (struct tp_stream){.kind = TP_STREAM_TCP, .tcp = tcp, .fd = -1};
}

bool tp_stream_init_socket(struct tp_stream *stream, int take_fd)
{
    *stream = (struct tp_stream){.kind = TP_STREAM_SOCKET, .fd = take_fd};
    stream->rx = malloc(TP_STREAM_SOCKET_BUFFER_SIZE);
    stream->tx = malloc(TP_STREAM_SOCKET_BUFFER_SIZE);
    const int on = 1; /* latency: no Nagle; a failure costs delay, not correctness */
    (void)setsockopt(take_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return stream->rx != NULL && stream->tx != NULL;
}

void tp_stream_deinit(struct tp_stream *stream)
{
    if (stream->fd >= 0)
        close(stream->fd);
    free(stream->rx);
    free(stream->tx);
    *stream = (struct tp_stream){.kind = stream->kind, .fd = -1};
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

bool tp_stream_connected(struct tp_stream *stream)
{
    if (stream->kind == TP_STREAM_SOCKET)
        return socket_connected(stream);
    const enum tp_tcp_state state = tp_tcp_state(stream->tcp);
    return state >= TP_TCP_ESTABLISHED;
}

enum tp_status tp_stream_receive(struct tp_stream *stream, size_t size_max, struct tp_span *out)
{
    assert(stream->kind == TP_STREAM_SOCKET && size_max > 0);
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

size_t tp_stream_space(const struct tp_stream *stream)
{
    if (stream->kind == TP_STREAM_TCP)
        return tp_tcp_send_space(stream->tcp);
    return TP_STREAM_SOCKET_BUFFER_SIZE - (stream->tx_tail - stream->tx_head);
}

size_t tp_stream_send(struct tp_stream *stream, struct tp_span data)
{
    if (stream->kind == TP_STREAM_TCP)
        return tp_tcp_send(stream->tcp, data);
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

enum tp_status tp_stream_flush(struct tp_stream *stream)
{
    assert(stream->kind == TP_STREAM_SOCKET);
    while (stream->tx_head < stream->tx_tail) {
        const ssize_t sent = send(stream->fd, stream->tx + stream->tx_head,
                                  stream->tx_tail - stream->tx_head, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOTCONN))
            return TP_NEED_MORE;
        if (sent < 0) {
            stream->error = errno;
            return TP_ERROR;
        }
        stream->tx_head += (size_t)sent;
    }
    stream->tx_head = stream->tx_tail = 0;
    if (stream->closing) {
        stream->closing = false;
        (void)shutdown(stream->fd, SHUT_WR);
    }
    return TP_OK;
}

bool tp_stream_pending(const struct tp_stream *stream)
{
    /* After an error nothing leaves any more: who waited for it would wait for ever. */
    return stream->kind == TP_STREAM_SOCKET && stream->error == 0 &&
           (stream->tx_head < stream->tx_tail || stream->closing);
}

void tp_stream_close(struct tp_stream *stream)
{
    if (stream->kind == TP_STREAM_TCP)
        tp_tcp_close(stream->tcp);
    else
        stream->closing = true;
}

void tp_stream_abort(struct tp_stream *stream)
{
    if (stream->kind == TP_STREAM_TCP) {
        tp_tcp_abort(stream->tcp);
        return;
    }
    /* SO_LINGER 0 turns close into RST, as abort does for our own TCP. */
    const struct linger hard = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(stream->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    stream->tx_head = stream->tx_tail = 0;
    stream->closing = false;
    stream->ended = true;
}
