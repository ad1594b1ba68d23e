/* The byte-stream seam below TLS: user-space TCP over a frame link, or a kernel socket.
 *
 * Which one is in use is fixed at init and reported by tp_stream_name. Called by session.c. */
#ifndef TP_NETSTACK_STREAM_STREAM_H
#define TP_NETSTACK_STREAM_STREAM_H
#include <stdbool.h>
#include <stdint.h>

#include "netstack/span.h"
#include "netstack/tcp/connection.h"

enum tp_stream_kind { TP_STREAM_TCP, TP_STREAM_SOCKET };

enum { TP_STREAM_SOCKET_BUFFER_SIZE = 1 << 20 };

struct tp_stream {
    enum tp_stream_kind kind;
    struct tp_tcp *tcp; /* TP_STREAM_TCP: borrowed */
    int fd;             /* TP_STREAM_SOCKET: owned, non-blocking, connect() already called */
    bool connected, closing, ended;
    int error;        /* errno of the socket, or 0 */
    uint8_t *rx, *tx; /* TP_STREAM_SOCKET: TP_STREAM_SOCKET_BUFFER_SIZE each */
    size_t tx_head, tx_tail;
};

void tp_stream_init_tcp(struct tp_stream *stream, struct tp_tcp *tcp);
/* take_fd is closed by deinit. False: out of memory. */
bool tp_stream_init_socket(struct tp_stream *stream, int take_fd);
void tp_stream_deinit(struct tp_stream *stream);

bool tp_stream_connected(struct tp_stream *stream);
/* TP_STREAM_SOCKET only: what one recv() of at most size_max bytes brought; valid until the next
 * call. TP_OK, TP_NEED_MORE (nothing there), TP_CLOSED (end of stream), TP_ERROR. */
enum tp_status tp_stream_receive(struct tp_stream *stream, size_t size_max, struct tp_span *out);
/* How many bytes tp_stream_send would take. */
size_t tp_stream_space(const struct tp_stream *stream);
size_t tp_stream_send(struct tp_stream *stream, struct tp_span data);
/* TP_STREAM_SOCKET only: hands queued bytes to the kernel. */
enum tp_status tp_stream_flush(struct tp_stream *stream);
bool tp_stream_pending(const struct tp_stream *stream);
void tp_stream_close(struct tp_stream *stream);
void tp_stream_abort(struct tp_stream *stream);
#endif
