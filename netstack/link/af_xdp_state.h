/* What the three files of the AF_XDP link share: af_xdp.c (hot), af_xdp_open.c (cold) and
 * af_xdp_program.c (BPF). Not for anyone else. */
#ifndef TP_NETSTACK_AF_XDP_STATE_H
#define TP_NETSTACK_AF_XDP_STATE_H
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/if_xdp.h>

#include "netstack/link/af_xdp.h"

/* Younger than Debian 12's headers; the kernel says EINVAL or ENOPROTOOPT where it lacks them. */
#ifndef XDP_USE_SG
#define XDP_USE_SG (1 << 4)
#endif
#ifndef XDP_PKT_CONTD
#define XDP_PKT_CONTD (1 << 0)
#endif
#ifndef XDP_MAX_TX_SKB_BUDGET
#define XDP_MAX_TX_SKB_BUDGET 9
#endif

/* What xdp_steer.bpf.c writes in front of a frame (keep in step). A chunk is used again: who read a
 * stamp wipes it out, so that no later frame has it. */
struct frame_stamp {
    uint64_t monotonic_ns, check; /* check: monotonic_ns ^ FRAME_STAMP_CHECK */
};
static const uint64_t FRAME_STAMP_CHECK = 0x7a65726f20706f68;

/* Who may touch a frame. FREE -> TX_CLAIMED -> TX_INFLIGHT -> FREE, and FILL -> RX -> FILL. Each
 * move is asserted: a frame in two places is the classic UMEM bug. */
enum frame_state {
    FRAME_FREE,        /* on our stack */
    FRAME_FILL,        /* the kernel's, to receive into */
    FRAME_RX,          /* the caller's, until rx_release */
    FRAME_TX_CLAIMED,  /* the caller's, until tx_commit or tx_abort */
    FRAME_TX_INFLIGHT, /* the kernel's, until it shows up in the COMPLETION ring */
    FRAME_STATE_COUNT,
};

/* One of the four rings shared with the kernel. Indices run free and wrap at 2^32. */
struct xdp_ring {
    _Atomic uint32_t *producer, *consumer;
    _Atomic uint32_t *flags;
    void *entries; /* struct xdp_desc in RX and TX, uint64_t in FILL and COMPLETION */
    uint32_t count, mask;
    uint32_t local; /* our own index: producer of FILL and TX, consumer of RX and COMPLETION */
    void *map;
    size_t map_size;
};

/* Parts of a multi-buffer frame, copied together as they come. */
struct rx_join {
    uint8_t *buffer; /* TP_LINK_FRAME_SIZE_MAX */
    uint32_t size;
    uint64_t stamp_ns; /* its first part's */
    bool active;       /* between the first and the last part */
    bool discard;      /* the frame is broken: swallow the rest of its parts */
    bool lent_out;     /* the buffer is with the caller until rx_release */
};

struct tp_af_xdp {
    struct tp_link link; /* first: the ops cast back */
    struct xdp_ring rx, fill, tx, completion;
    uint8_t *umem;
    uint64_t umem_size;
    bool has_huge_pages;                  /* the UMEM's */
    uint32_t frame_count, rx_frame_count; /* frames [0, rx_frame_count) receive, the rest send */
    uint8_t *state;                       /* enum frame_state of each frame */
    uint32_t state_count[FRAME_STATE_COUNT];
    uint32_t *free_frames; /* a stack: the frame used last is the one still in the cache */
    uint32_t free_count;
    uint32_t claimed;    /* frame number, or NO_FRAME */
    uint32_t rx_burst;   /* frames lent out */
    uint32_t idle_polls; /* empty polls since the device was last asked for */
    bool tx_deferred;    /* the kernel left frames in the TX ring */
    struct rx_join join;
    uint64_t rx_malformed, rx_oversize, tx_deferrals;
    int socket;
    enum tp_af_xdp_mode mode;
    struct steer_program *program;
};

/* af_xdp.c */
extern const struct tp_link_ops af_xdp_ops;
/* Gives frames [0, rx_frame_count) to the kernel and puts the others on the stack. */
void af_xdp_frames_init(struct tp_af_xdp *af_xdp);

/* af_xdp_program.c. All return 0 or a negative errno. */
struct steer_program;
int steer_program_load(const struct tp_af_xdp_config *config, struct steer_program **out);
int steer_program_attach(struct steer_program *program, uint32_t interface_index, uint32_t flags);
int steer_program_insert(struct steer_program *program, uint32_t queue, int socket);
void steer_program_detach(struct steer_program *program);
/* In a forked child: it stays attached. */
void steer_program_forget(struct steer_program *program);
void steer_program_free(struct steer_program *program);

/* Generated from xdp_steer.bpf.c by embed.py. */
extern const unsigned char xdp_steer_object[];
extern const size_t xdp_steer_object_size;
#endif
