/* A link over an AF_XDP socket: one queue of one interface, frames in memory shared with the
 * kernel.
 *
 * Opened in the caller's network namespace. Tries native zero-copy, then native copy, then generic
 * XDP, and says which it got; the program leaves with the process (bpf_link). One thread owns the
 * link; open and close are cold. Called by af_xdp.py; the link is used by netstack/netif.c.
 * Source: Documentation/networking/af_xdp.rst. */
#ifndef TP_NETSTACK_AF_XDP_H
#define TP_NETSTACK_AF_XDP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "netstack/link/link.h"

enum tp_af_xdp_mode {
    TP_AF_XDP_AUTO, /* only to ask for: the first of the others that works */
    TP_AF_XDP_NATIVE_ZERO_COPY,
    TP_AF_XDP_NATIVE_COPY,
    TP_AF_XDP_GENERIC,
    TP_AF_XDP_MODE_COUNT,
};

enum {
    TP_AF_XDP_FRAME_SIZE = 2048, /* a UMEM chunk; 256 of it are the kernel's headroom on receive */
    TP_AF_XDP_FRAME_COUNT_DEFAULT = 4096,
    TP_AF_XDP_FRAME_COUNT_MIN = 256,
    TP_AF_XDP_FRAME_COUNT_MAX = 1 << 18,
    TP_AF_XDP_TEXT_SIZE = 1024, /* room for the story of three refused modes */
};

struct tp_af_xdp_config {
    uint32_t interface_index, queue;
    enum tp_af_xdp_mode mode;     /* TP_AF_XDP_AUTO, or the only one to try */
    uint32_t frame_count;         /* power of two; 0: TP_AF_XDP_FRAME_COUNT_DEFAULT */
    uint32_t address;             /* ours, host byte order */
    uint16_t port_low, port_high; /* local TCP ports taken from the kernel, both included */
    bool no_huge_pages;           /* leave 2 MiB pages to others even where some are free */
};

struct tp_af_xdp_statistics { /* XDP_STATISTICS, the kernel's view, and ours */
    uint64_t rx_dropped, rx_invalid_descriptors, tx_invalid_descriptors, rx_ring_full,
        fill_ring_empty, tx_ring_empty;
    uint64_t rx_malformed; /* frames under 14 bytes, descriptors beyond their chunk */
    uint64_t rx_oversize;  /* multi-buffer frames above TP_LINK_FRAME_SIZE_MAX */
    uint64_t tx_deferred;  /* kicks that left frames in the ring: EAGAIN, EBUSY, ENOBUFS */
    uint32_t frames_free, frames_fill, frames_rx, frames_tx; /* where the UMEM's frames are now */
};

struct tp_af_xdp;

/* NULL on failure, with the reason of every mode tried and a remedy in text. On success text holds
 * the modes that were refused on the way, or "". */
struct tp_af_xdp *tp_af_xdp_open(const struct tp_af_xdp_config *config,
                                 char text[TP_AF_XDP_TEXT_SIZE]);
void tp_af_xdp_close(struct tp_af_xdp *af_xdp);
/* In a forked child, in place of close: frees what is the child's, and leaves the program on the
 * interface and the sockets in its map to the parent. */
void tp_af_xdp_disown(struct tp_af_xdp *af_xdp);

struct tp_link *tp_af_xdp_link(struct tp_af_xdp *af_xdp);
enum tp_af_xdp_mode tp_af_xdp_mode(const struct tp_af_xdp *af_xdp);
const char *tp_af_xdp_mode_name(enum tp_af_xdp_mode mode);
/* The NAPI instance behind the queue; 0 where there is none (veth), and then busy polling does
 * nothing and NAPI deferral only delays. */
uint32_t tp_af_xdp_napi_id(const struct tp_af_xdp *af_xdp);
bool tp_af_xdp_has_huge_pages(const struct tp_af_xdp *af_xdp);
/* 0 or a negative errno. Owner's thread. */
int tp_af_xdp_statistics(const struct tp_af_xdp *af_xdp, struct tp_af_xdp_statistics *out);
#endif
