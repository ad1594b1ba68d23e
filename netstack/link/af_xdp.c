/* The AF_XDP link's hot half: descriptors in and out, frames from owner to owner.
 *
 * Called through link.h by the owner's thread; opened by af_xdp_open.c. The rings are shared with
 * the kernel: each acquire and release below pairs with net/xdp/xsk_queue.h on the other side. */
#include "netstack/link/af_xdp.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "netstack/link/af_xdp_state.h"

enum {
    ETHERNET_HEADER_SIZE = 14,
    FRAME_SIZE_SHIFT = 11,
    NO_FRAME = UINT32_MAX >> 1, /* fits an enumerator; above any frame number */
    JOINED_FRAME = NO_FRAME,    /* id of a frame that lies in the join buffer */
    /* The kernel takes at least 16 frames a call (32 now, see XDP_MAX_TX_SKB_BUDGET): enough calls
     * for the largest TX ring at the default frame count. */
    KICK_COUNT_MAX = 64,
    /* A deaf receiver learns only from a system call that its device is gone. About 10 ns a poll:
     * one call of 0.3 us every 10 ms. */
    IDLE_POLLS_PER_CHECK = 1 << 20,
};
_Static_assert(TP_AF_XDP_FRAME_SIZE == 1 << FRAME_SIZE_SHIFT, "the shift follows the size");

#if !defined(__OPTIMIZE__) || defined(__SANITIZE_ADDRESS__)
enum { CANARY_CHECKED = 1 };
#else
enum { CANARY_CHECKED = 0 };
#endif
static const uint64_t canary = 0x5afe0f4a3e5afe0fu;

static struct tp_af_xdp *af_xdp_of(struct tp_link *link)
{
    return (struct tp_af_xdp *)link;
}

static void frame_move(struct tp_af_xdp *af_xdp, uint32_t frame, enum frame_state from,
                       enum frame_state to)
{
    assert(af_xdp->state[frame] == from);
    af_xdp->state[frame] = (uint8_t)to;
    af_xdp->state_count[from]--;
    af_xdp->state_count[to]++;
}

static uint8_t *frame_data(const struct tp_af_xdp *af_xdp, uint32_t frame)
{
    return af_xdp->umem + ((size_t)frame << FRAME_SIZE_SHIFT);
}

/* The kernel may hand back any address within the chunk; one outside the UMEM is a kernel bug. */
static uint32_t frame_at(const struct tp_af_xdp *af_xdp, uint64_t address)
{
    assert(address < af_xdp->umem_size);
    return (uint32_t)(address >> FRAME_SIZE_SHIFT);
}

static uint64_t *ring_address(const struct xdp_ring *ring, uint32_t index)
{
    return &((uint64_t *)ring->entries)[index & ring->mask];
}

static struct xdp_desc *ring_descriptor(const struct xdp_ring *ring, uint32_t index)
{
    return &((struct xdp_desc *)ring->entries)[index & ring->mask];
}

static bool needs_wakeup(const struct xdp_ring *ring)
{
    return (atomic_load_explicit(ring->flags, memory_order_relaxed) & XDP_RING_NEED_WAKEUP) != 0;
}

static void frame_push_free(struct tp_af_xdp *af_xdp, uint32_t frame)
{
    if (CANARY_CHECKED)
        memcpy(frame_data(af_xdp, frame), &canary, sizeof canary);
    af_xdp->free_frames[af_xdp->free_count++] = frame;
}

static uint32_t frame_pop_free(struct tp_af_xdp *af_xdp)
{
    const uint32_t frame = af_xdp->free_frames[--af_xdp->free_count];

    if (CANARY_CHECKED)
        assert(memcmp(frame_data(af_xdp, frame), &canary, sizeof canary) == 0);
    return frame;
}

/* Cannot overflow: FILL has room for every frame that receives. */
static void fill_put(struct tp_af_xdp *af_xdp, uint32_t frame)
{
    *ring_address(&af_xdp->fill, af_xdp->fill.local++) = (uint64_t)frame << FRAME_SIZE_SHIFT;
}

static void fill_publish(struct tp_af_xdp *af_xdp)
{
    /* Pairs with the kernel's acquire of the FILL producer: the addresses are written. */
    atomic_store_explicit(af_xdp->fill.producer, af_xdp->fill.local, memory_order_release);
}

void af_xdp_frames_init(struct tp_af_xdp *af_xdp)
{
    af_xdp->claimed = NO_FRAME;
    for (uint32_t frame = 0; frame < af_xdp->rx_frame_count; frame++) {
        af_xdp->state[frame] = FRAME_FILL;
        fill_put(af_xdp, frame);
    }
    fill_publish(af_xdp);
    for (uint32_t frame = af_xdp->frame_count; frame > af_xdp->rx_frame_count; frame--) {
        af_xdp->state[frame - 1] = FRAME_FREE;
        frame_push_free(af_xdp, frame - 1);
    }
    af_xdp->state_count[FRAME_FILL] = af_xdp->rx_frame_count;
    af_xdp->state_count[FRAME_FREE] = af_xdp->free_count;
}

static void link_failed(struct tp_af_xdp *af_xdp, int error)
{
    if (af_xdp->link.error == 0)
        af_xdp->link.error = error;
}

/* One system call that sends nothing: asks a zero-copy driver to look at the FILL ring, and learns
 * whether the device still is there (ENXIO: unbound, ENETDOWN: down). */
static void rx_wake(struct tp_af_xdp *af_xdp)
{
    if (recvfrom(af_xdp->socket, NULL, 0, MSG_DONTWAIT, NULL, NULL) >= 0)
        return;
    if (errno == ENXIO || errno == ENETDOWN || errno == ENODEV)
        link_failed(af_xdp, -errno);
}

static void rx_recycle(struct tp_af_xdp *af_xdp, uint32_t frame)
{
    frame_move(af_xdp, frame, FRAME_RX, FRAME_FILL);
    fill_put(af_xdp, frame);
}

/* The stamp in front of a frame, once, whatever becomes of the frame; 0: it has none. */
static uint64_t take_stamp(const struct tp_af_xdp *af_xdp, const struct xdp_desc *descriptor)
{
    struct frame_stamp stamp;
    if ((descriptor->addr & (TP_AF_XDP_FRAME_SIZE - 1)) < sizeof stamp)
        return 0;
    uint8_t *at = af_xdp->umem + descriptor->addr - sizeof stamp;
    memcpy(&stamp, at, sizeof stamp);
    if ((stamp.monotonic_ns ^ FRAME_STAMP_CHECK) != stamp.check)
        return 0;
    memset(at, 0, sizeof stamp);
    return stamp.monotonic_ns;
}

/* Adds one part to the frame being joined and recycles the part's chunk. Returns true when the
 * joined frame is whole and good. */
static bool rx_join_part(struct tp_af_xdp *af_xdp, const struct xdp_desc *descriptor, bool valid,
                         uint64_t stamp_ns)
{
    struct rx_join *join = &af_xdp->join;
    const bool last = (descriptor->options & XDP_PKT_CONTD) == 0;

    if (!join->active)
        *join = (struct rx_join){.buffer = join->buffer, .stamp_ns = stamp_ns, .active = true};
    if (!valid && !join->discard) {
        af_xdp->rx_malformed++;
        join->discard = true;
    }
    if (!join->discard && descriptor->len > TP_LINK_FRAME_SIZE_MAX - join->size) {
        af_xdp->rx_oversize++;
        join->discard = true;
    }
    if (!join->discard) {
        memcpy(join->buffer + join->size, af_xdp->umem + descriptor->addr, descriptor->len);
        join->size += descriptor->len;
    }
    rx_recycle(af_xdp, frame_at(af_xdp, descriptor->addr));
    if (!last)
        return false;
    join->active = false;
    if (join->discard) {
        af_xdp->link.counters.rx_dropped++;
        return false;
    }
    join->lent_out = true;
    return true;
}

/* Turns one descriptor into a frame. Returns false when it yields none (a part, or dropped). */
static bool rx_take(struct tp_af_xdp *af_xdp, const struct xdp_desc *descriptor,
                    struct tp_frame *out)
{
    const uint32_t frame = frame_at(af_xdp, descriptor->addr);
    const uint32_t offset = (uint32_t)(descriptor->addr & (TP_AF_XDP_FRAME_SIZE - 1));
    const bool valid = descriptor->len <= TP_AF_XDP_FRAME_SIZE - offset;

    const uint64_t stamp_ns = take_stamp(af_xdp, descriptor);

    frame_move(af_xdp, frame, FRAME_FILL, FRAME_RX);
    if (af_xdp->join.active || (descriptor->options & XDP_PKT_CONTD)) {
        if (!rx_join_part(af_xdp, descriptor, valid, stamp_ns))
            return false;
        *out = (struct tp_frame){af_xdp->join.buffer, af_xdp->join.size, JOINED_FRAME,
                                 af_xdp->join.stamp_ns};
        af_xdp->link.counters.rx_joined++;
        return true;
    }
    if (!valid || descriptor->len < ETHERNET_HEADER_SIZE) {
        af_xdp->rx_malformed++;
        af_xdp->link.counters.rx_dropped++;
        rx_recycle(af_xdp, frame);
        return false;
    }
    *out = (struct tp_frame){af_xdp->umem + descriptor->addr, descriptor->len, frame, stamp_ns};
    return true;
}

static int tx_flush(struct tp_af_xdp *af_xdp);

static void rx_idle(struct tp_af_xdp *af_xdp)
{
    if (af_xdp->tx_deferred)
        (void)tx_flush(af_xdp);
    if (needs_wakeup(&af_xdp->fill) || ++af_xdp->idle_polls >= IDLE_POLLS_PER_CHECK) {
        af_xdp->idle_polls = 0;
        rx_wake(af_xdp);
    }
}

static uint32_t rx_burst(struct tp_link *link, struct tp_frame *frames, uint32_t count)
{
    struct tp_af_xdp *af_xdp = af_xdp_of(link);
    struct xdp_ring *rx = &af_xdp->rx;
    /* Pairs with the kernel's release of the RX producer: descriptors and frames are written. */
    const uint32_t producer = atomic_load_explicit(rx->producer, memory_order_acquire);
    const uint32_t fill_before = af_xdp->fill.local;
    uint32_t got = 0;

    assert(af_xdp->rx_burst == 0 && count <= TP_LINK_BURST_MAX);
    if (producer == rx->local) {
        rx_idle(af_xdp);
        return 0;
    }
    af_xdp->idle_polls = 0;
    while (got < count && rx->local != producer) {
        const struct xdp_desc *descriptor = ring_descriptor(rx, rx->local);
        /* There is one join buffer: a second joined frame waits for the next burst. */
        if (af_xdp->join.lent_out && (descriptor->options & XDP_PKT_CONTD))
            break;
        if (rx_take(af_xdp, descriptor, &frames[got])) {
            link->counters.rx_bytes += frames[got].size;
            got++;
        }
        rx->local++;
    }
    link->counters.rx_frames += got;
    af_xdp->rx_burst = got;
    /* Pairs with the kernel's acquire of the RX consumer: the descriptors may be overwritten. */
    atomic_store_explicit(rx->consumer, rx->local, memory_order_release);
    if (af_xdp->fill.local != fill_before)
        fill_publish(af_xdp);
    return got;
}

static void rx_release(struct tp_link *link, const struct tp_frame *frames, uint32_t count)
{
    struct tp_af_xdp *af_xdp = af_xdp_of(link);

    assert(count == af_xdp->rx_burst);
    if (count == 0)
        return;
    af_xdp->rx_burst = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (frames[i].id == JOINED_FRAME)
            af_xdp->join.lent_out = false;
        else
            rx_recycle(af_xdp, frames[i].id);
    }
    fill_publish(af_xdp);
    if (needs_wakeup(&af_xdp->fill))
        rx_wake(af_xdp);
}

static void completion_drain(struct tp_af_xdp *af_xdp)
{
    struct xdp_ring *completion = &af_xdp->completion;
    /* Pairs with the kernel's release of the COMPLETION producer. */
    const uint32_t producer = atomic_load_explicit(completion->producer, memory_order_acquire);

    if (producer == completion->local)
        return;
    while (completion->local != producer) {
        const uint32_t frame = frame_at(af_xdp, *ring_address(completion, completion->local++));
        frame_move(af_xdp, frame, FRAME_TX_INFLIGHT, FRAME_FREE);
        frame_push_free(af_xdp, frame);
    }
    /* Pairs with the kernel's acquire of the COMPLETION consumer. */
    atomic_store_explicit(completion->consumer, completion->local, memory_order_release);
}

/* Frames committed and not yet taken by the kernel. */
static uint32_t tx_queued(const struct tp_af_xdp *af_xdp)
{
    /* Pairs with the kernel's release of the TX consumer. */
    return af_xdp->tx.local - atomic_load_explicit(af_xdp->tx.consumer, memory_order_acquire);
}

static uint8_t *tx_claim(struct tp_link *link)
{
    struct tp_af_xdp *af_xdp = af_xdp_of(link);

    assert(af_xdp->claimed == NO_FRAME);
    if (af_xdp->free_count == 0)
        completion_drain(af_xdp);
    if (af_xdp->free_count == 0 || tx_queued(af_xdp) == af_xdp->tx.count) {
        link->counters.tx_full++;
        return NULL;
    }
    af_xdp->claimed = frame_pop_free(af_xdp);
    frame_move(af_xdp, af_xdp->claimed, FRAME_FREE, FRAME_TX_CLAIMED);
    return frame_data(af_xdp, af_xdp->claimed);
}

static void tx_commit(struct tp_link *link, uint32_t size)
{
    struct tp_af_xdp *af_xdp = af_xdp_of(link);
    const uint32_t frame = af_xdp->claimed;

    assert(frame != NO_FRAME && size >= ETHERNET_HEADER_SIZE && size <= TP_AF_XDP_FRAME_SIZE);
    af_xdp->claimed = NO_FRAME;
    frame_move(af_xdp, frame, FRAME_TX_CLAIMED, FRAME_TX_INFLIGHT);
    *ring_descriptor(&af_xdp->tx, af_xdp->tx.local++) =
        (struct xdp_desc){.addr = (uint64_t)frame << FRAME_SIZE_SHIFT, .len = size};
    link->counters.tx_frames++;
    link->counters.tx_bytes += size;
}

static void tx_abort(struct tp_link *link)
{
    struct tp_af_xdp *af_xdp = af_xdp_of(link);

    assert(af_xdp->claimed != NO_FRAME);
    frame_move(af_xdp, af_xdp->claimed, FRAME_TX_CLAIMED, FRAME_FREE);
    frame_push_free(af_xdp, af_xdp->claimed);
    af_xdp->claimed = NO_FRAME;
}

/* Calls the kernel until it took all frames or has no room. Returns 0 or what ended the link. */
static int tx_flush(struct tp_af_xdp *af_xdp)
{
    for (uint32_t kicks = 0; kicks < KICK_COUNT_MAX && tx_queued(af_xdp) > 0; kicks++) {
        /* In copy mode nothing leaves without a call: there is no driver thread that looks. */
        if (!needs_wakeup(&af_xdp->tx))
            break;
        af_xdp->link.counters.tx_kicks++;
        if (sendto(af_xdp->socket, NULL, 0, MSG_DONTWAIT, NULL, 0) >= 0)
            continue;
        if (errno == EAGAIN) /* its budget of frames a call is spent */
            continue;
        if (errno == EBUSY || errno == ENOBUFS) /* the queue below is full: later */
            break;
        link_failed(af_xdp, -errno);
        return af_xdp->link.error;
    }
    af_xdp->tx_deferred = needs_wakeup(&af_xdp->tx) && tx_queued(af_xdp) > 0;
    af_xdp->tx_deferrals += af_xdp->tx_deferred;
    return 0;
}

static int tx_kick(struct tp_link *link)
{
    struct tp_af_xdp *af_xdp = af_xdp_of(link);

    completion_drain(af_xdp); /* a full COMPLETION ring would stop the kernel from sending */
    /* Pairs with the kernel's acquire of the TX producer: descriptors and frames are written. */
    atomic_store_explicit(af_xdp->tx.producer, af_xdp->tx.local, memory_order_release);
    if (link->error != 0)
        return link->error;
    return tx_flush(af_xdp);
}

const struct tp_link_ops af_xdp_ops = {
    .rx_burst = rx_burst,
    .rx_release = rx_release,
    .tx_claim = tx_claim,
    .tx_commit = tx_commit,
    .tx_abort = tx_abort,
    .tx_kick = tx_kick,
};

struct tp_link *tp_af_xdp_link(struct tp_af_xdp *af_xdp)
{
    return &af_xdp->link;
}

enum tp_af_xdp_mode tp_af_xdp_mode(const struct tp_af_xdp *af_xdp)
{
    return af_xdp->mode;
}

int tp_af_xdp_statistics(const struct tp_af_xdp *af_xdp, struct tp_af_xdp_statistics *out)
{
    struct xdp_statistics kernel;
    socklen_t size = sizeof kernel;

    if (getsockopt(af_xdp->socket, SOL_XDP, XDP_STATISTICS, &kernel, &size) != 0)
        return -errno;
    *out = (struct tp_af_xdp_statistics){
        .rx_dropped = kernel.rx_dropped,
        .rx_invalid_descriptors = kernel.rx_invalid_descs,
        .tx_invalid_descriptors = kernel.tx_invalid_descs,
        .rx_ring_full = kernel.rx_ring_full,
        .fill_ring_empty = kernel.rx_fill_ring_empty_descs,
        .tx_ring_empty = kernel.tx_ring_empty_descs,
        .rx_malformed = af_xdp->rx_malformed,
        .rx_oversize = af_xdp->rx_oversize,
        .tx_deferred = af_xdp->tx_deferrals,
        .frames_free = af_xdp->state_count[FRAME_FREE],
        .frames_fill = af_xdp->state_count[FRAME_FILL],
        .frames_rx = af_xdp->state_count[FRAME_RX],
        .frames_tx = af_xdp->state_count[FRAME_TX_CLAIMED] + af_xdp->state_count[FRAME_TX_INFLIGHT],
    };
    return 0;
}
