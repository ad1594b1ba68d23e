/* The frame seam: whole Ethernet frames in and out, whatever carries them.
 *
 * Implemented by af_xdp.c (the wire), memory.c (tests, benchmarks) and fault_injector.c (wraps
 * another link). One thread owns a link. Called by netstack/netif.c.
 *
 *   rx_burst -> use the frames -> rx_release        (frame data dies at rx_release)
 *   tx_claim -> fill the frame -> tx_commit | tx_abort,  then one tx_kick for all that was
 * committed
 */
#ifndef TP_NETSTACK_LINK_H
#define TP_NETSTACK_LINK_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TP_LINK_BURST_MAX = 64, TP_LINK_FRAME_SIZE_MAX = 65536 };

/* One received frame, contiguous (a link joins the parts of a multi-buffer frame itself). */
struct tp_frame {
    uint8_t *data;
    uint32_t size;
    uint32_t id;       /* the link's own handle; opaque to the caller */
    uint64_t stamp_ns; /* CLOCK_MONOTONIC when it reached the host; 0: this link does not say */
};

struct tp_link_counters {
    uint64_t rx_frames, rx_bytes, rx_dropped,
        rx_joined; /* rx_joined: multi-buffer frames copied together */
    uint64_t tx_frames, tx_bytes, tx_full, tx_kicks;
};

struct tp_link;

struct tp_link_ops {
    /* Fills frames[0, returned); returned <= count <= TP_LINK_BURST_MAX. 0 when nothing is there.
     */
    uint32_t (*rx_burst)(struct tp_link *link, struct tp_frame *frames, uint32_t count);
    /* Gives back all frames of the latest burst. */
    void (*rx_release)(struct tp_link *link, const struct tp_frame *frames, uint32_t count);
    /* Returns room for one outgoing frame of up to tx_frame_size bytes, NULL when none is free. */
    uint8_t *(*tx_claim)(struct tp_link *link);
    void (*tx_commit)(struct tp_link *link, uint32_t size);
    void (*tx_abort)(struct tp_link *link);
    /* Sends what was committed. 0, or a negative errno: -ENXIO, -ENETDOWN when the device is gone.
     */
    int (*tx_kick)(struct tp_link *link);
};

/* The head of every link; the implementation's own state follows it. */
struct tp_link {
    const struct tp_link_ops *ops;
    uint32_t tx_frame_size; /* bytes that tx_claim's room holds */
    bool partial_checksums; /* veth: accept a TCP checksum that covers the pseudo-header only */
    int fd;                 /* to poll() for input; -1: none, the caller spins */
    int error;              /* 0, or the negative errno that ended this link (-ENETDOWN, ...) */
    struct tp_link_counters counters;
};

static inline uint32_t tp_link_rx_burst(struct tp_link *link, struct tp_frame *frames,
                                        uint32_t count)
{
    return link->ops->rx_burst(link, frames, count);
}
static inline void tp_link_rx_release(struct tp_link *link, const struct tp_frame *frames,
                                      uint32_t count)
{
    link->ops->rx_release(link, frames, count);
}
static inline uint8_t *tp_link_tx_claim(struct tp_link *link)
{
    return link->ops->tx_claim(link);
}
static inline void tp_link_tx_commit(struct tp_link *link, uint32_t size)
{
    link->ops->tx_commit(link, size);
}
static inline void tp_link_tx_abort(struct tp_link *link)
{
    link->ops->tx_abort(link);
}
static inline int tp_link_tx_kick(struct tp_link *link)
{
    return link->ops->tx_kick(link);
}
#endif
