/* The byte-stream seam below TLS. Each kind of stream is a file of this folder with a table of
 * operations: tcp.c (user-space TCP over a frame link), socket.c (a kernel socket).
 *
 * Which one is in use is fixed at init. Called by session.c, which knows no kind: what a kind has
 * no use for, its operation does not do. Input comes by receive where the stream is asked for it (a
 * socket), or as segments where frames bring it (tp_session_segment). One thread. */
#ifndef TP_NETSTACK_STREAM_STREAM_H
#define TP_NETSTACK_STREAM_STREAM_H
#include <stdbool.h>
#include <stdint.h>

#include "netstack/netif.h"
#include "netstack/span.h"
#include "netstack/tcp/connection.h"

/* Each way. A record of 16 KiB and a segment of 64 KiB fit; what is more waits in the kernel. */
enum { TP_STREAM_SOCKET_BUFFER_SIZE = 1 << 17 };

struct tp_stream;

struct tp_stream_ops {
    void (*deinit)(struct tp_stream *stream);
    void (*connect)(struct tp_stream *stream, uint64_t now_ns);
    bool (*connected)(struct tp_stream *stream);
    enum tp_status (*receive)(struct tp_stream *stream, size_t size_max, struct tp_span *out);
    void (*promise)(struct tp_stream *stream, size_t size);
    size_t (*space)(const struct tp_stream *stream);
    size_t (*send)(struct tp_stream *stream, struct tp_span data);
    bool (*pending)(const struct tp_stream *stream);
    uint32_t (*output)(struct tp_stream *stream, struct tp_netif *netif, uint64_t now_ns);
    uint64_t (*deadline)(const struct tp_stream *stream);
    void (*close)(struct tp_stream *stream);
    void (*abort)(struct tp_stream *stream);
    const char *(*failure)(const struct tp_stream *stream);
    bool (*finished)(const struct tp_stream *stream);
};

struct tp_stream {
    const struct tp_stream_ops *ops;
    /* tcp.c */
    struct tp_tcp *tcp;         /* borrowed */
    struct tp_netif_flow *flow; /* borrowed; where its segments leave */
    /* socket.c */
    int fd; /* owned, non-blocking, connect() already called */
    bool connected, closing, ended;
    int error;        /* errno of the socket, or 0 */
    uint8_t *rx, *tx; /* TP_STREAM_SOCKET_BUFFER_SIZE each */
    size_t tx_head, tx_tail;
};

void tp_stream_init_tcp(struct tp_stream *stream, struct tp_tcp *tcp);
/* take_fd is closed by deinit. False: out of memory. */
bool tp_stream_init_socket(struct tp_stream *stream, int take_fd);

static inline void tp_stream_deinit(struct tp_stream *stream)
{
    stream->ops->deinit(stream);
}

static inline void tp_stream_connect(struct tp_stream *stream, uint64_t now_ns)
{
    stream->ops->connect(stream, now_ns);
}

static inline bool tp_stream_connected(struct tp_stream *stream)
{
    return stream->ops->connected(stream);
}

/* At most size_max bytes that came; valid until the next call. TP_OK, TP_NEED_MORE (nothing there,
 * or segments bring the input), TP_CLOSED (end of stream), TP_ERROR (see tp_stream_failure). */
static inline enum tp_status tp_stream_receive(struct tp_stream *stream, size_t size_max,
                                               struct tp_span *out)
{
    return stream->ops->receive(stream, size_max, out);
}

/* The reader has room for size more bytes: the peer may send them. */
static inline void tp_stream_promise(struct tp_stream *stream, size_t size)
{
    stream->ops->promise(stream, size);
}

/* How many bytes tp_stream_send would take. */
static inline size_t tp_stream_space(const struct tp_stream *stream)
{
    return stream->ops->space(stream);
}

static inline size_t tp_stream_send(struct tp_stream *stream, struct tp_span data)
{
    return stream->ops->send(stream, data);
}

/* Will output have something to do though no input came? */
static inline bool tp_stream_pending(const struct tp_stream *stream)
{
    return stream->ops->pending(stream);
}

/* Commits what is due to the link, or to the kernel. Returns frames committed; for a socket 1 when
 * the kernel took all that was queued, 0 when it did not or there was nothing. */
static inline uint32_t tp_stream_output(struct tp_stream *stream, struct tp_netif *netif,
                                        uint64_t now_ns)
{
    return stream->ops->output(stream, netif, now_ns);
}

/* The latest time for the next output; UINT64_MAX: no timer runs. */
static inline uint64_t tp_stream_deadline(const struct tp_stream *stream)
{
    return stream->ops->deadline(stream);
}

/* The end of our direction, behind all that was queued. */
static inline void tp_stream_close(struct tp_stream *stream)
{
    stream->ops->close(stream);
}

static inline void tp_stream_abort(struct tp_stream *stream)
{
    stream->ops->abort(stream);
}

/* Why the stream is dead (static text): refused, reset, timed out. NULL while it is not. */
static inline const char *tp_stream_failure(const struct tp_stream *stream)
{
    return stream->ops->failure(stream);
}

/* Closed on both sides or dead, and nothing left to send. */
static inline bool tp_stream_finished(const struct tp_stream *stream)
{
    return stream->ops->finished(stream);
}
#endif
