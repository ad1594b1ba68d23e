/* The transmission control block, and the functions that the files of this folder offer each other.
 * Variables carry their RFC 9293 3.3.1 names; what an RFC does not name says its unit.
 *
 * Reading order: connection.c (life), tcp_in.c (a segment arrives), tcp_out.c (a segment leaves),
 * timers.c, then rtt.c, congestion.c, sack.c, reassembly.c, icmp.c, isn.c. */
#ifndef TP_NETSTACK_TCP_STATE_H
#define TP_NETSTACK_TCP_STATE_H
#include "netstack/tcp/connection.h"
#include "netstack/tcp/reassembly.h"
#include "netstack/tcp/sequence.h"
#include "netstack/wire/tcp_option.h"

#define TP_TCP_NEVER UINT64_MAX
#define TP_TCP_MS 1000000ull
#define TP_TCP_SECOND 1000000000ull

#define TP_TCP_RTO_INITIAL_NS (1 * TP_TCP_SECOND)             /* RFC 6298 2.1 */
#define TP_TCP_RTO_AFTER_SYN_LOSS_NS (3 * TP_TCP_SECOND)      /* RFC 6298 5.7 */
#define TP_TCP_CLOCK_GRANULARITY_NS (1 * TP_TCP_MS)           /* RFC 6298 2.2: G */
#define TP_TCP_TIMESTAMP_TICK_NS (1 * TP_TCP_MS)              /* RFC 7323 5.4: 1 ms to 1 s */
#define TP_TCP_TIMESTAMP_LIFE_NS (24 * 86400 * TP_TCP_SECOND) /* RFC 7323 5.5 */
#define TP_TCP_TIME_WAIT_NS (60 * TP_TCP_SECOND)              /* 2 MSL with MSL 30 s, as Linux */
/* RFC 8985 7.2: how long the peer may hold back an ACK of a lone segment. Linux: at least 40 ms. */
#define TP_TCP_PEER_DELAYED_ACK_NS (40 * TP_TCP_MS)
#define TP_TCP_TLP_MIN_NS (2 * TP_TCP_MS)
#define TP_TCP_CHALLENGE_PERIOD_NS (1 * TP_TCP_SECOND) /* RFC 5961 7 */

enum {
    TP_TCP_TIMESTAMPS_SIZE = 12,  /* with two NOP before it */
    TP_TCP_MSS_DEFAULT = 536,     /* RFC 9293 3.7.1: the peer sent no MSS option */
    TP_TCP_MSS_MIN = 216,         /* floor against CVE-2019-11479: tiny segments, huge cost */
    TP_TCP_PMTU_MIN = 576,        /* RFC 1191 3: no smaller path is believed */
    TP_TCP_WINDOW_SCALE_MAX = 14, /* RFC 7323 2.3 */
    TP_TCP_INITIAL_WINDOW_SEGMENTS = 10, /* RFC 6928 2 */
    TP_TCP_INITIAL_WINDOW_BYTES = 14600, /* RFC 6928 2 */
    TP_TCP_DUPACK_THRESHOLD = 3,         /* RFC 5681 3.2 */
    TP_TCP_QUICK_ACK_COUNT = 16,   /* segments acknowledged at once while the peer slow-starts */
    TP_TCP_PUSH_COUNT_MAX = 16,    /* remembered ends of application writes */
    TP_TCP_RTT_TICKS_MAX = 120000, /* an echo older than this is not ours */
    TP_TCP_BACKOFF_MAX = 16,       /* doublings; rto_max cuts in long before */
    TP_TCP_KEEPALIVE_PROBE_COUNT_MAX = 3,
    TP_TCP_DSACK_COUNT_MAX = 4,     /* of one burst, each in an ACK of its own; the rest untold */
    TP_TCP_CHALLENGE_COUNT_MIN = 5, /* per period, plus a random 0 .. 7: CVE-2016-5696 */
    TP_TCP_CHALLENGE_COUNT_SPREAD = 8,
};

/* What tp_tcp_output has to build besides data that windows allow. */
enum tp_tcp_pending {
    TP_TCP_PENDING_RESET = 0x01,
    TP_TCP_PENDING_SYN = 0x02,
    TP_TCP_PENDING_RETRANSMIT = 0x04,   /* one segment at snd_una */
    TP_TCP_PENDING_TAIL_PROBE = 0x08,   /* RFC 8985 7.3 */
    TP_TCP_PENDING_WINDOW_PROBE = 0x10, /* RFC 9293 3.8.6.1 */
    TP_TCP_PENDING_KEEPALIVE = 0x20,
    TP_TCP_PENDING_ACK = 0x40,
};

/* One timer serves all three: each excludes the others (RFC 8985 7.2, RFC 9293 3.8.6.1). */
enum tp_tcp_retransmit_timer {
    TP_TCP_TIMER_NONE,
    TP_TCP_TIMER_RTO,
    TP_TCP_TIMER_TAIL_PROBE,
    TP_TCP_TIMER_PERSIST,
};

struct tp_tcp {
    /* Read or written by every in-order segment. */
    enum tp_tcp_state state;
    uint32_t pending; /* enum tp_tcp_pending */
    uint32_t rcv_nxt;
    uint32_t rcv_edge;      /* right edge the peer has seen, rcv_nxt + rcv_wnd: never moves left */
    uint32_t last_ack_sent; /* RFC 7323 4.3: Last.ACK.sent */
    uint32_t ts_recent;     /* RFC 7323 4.3: TS.Recent */
    uint32_t rcv_mss;       /* largest segment seen: what "full-sized" means for the peer */
    uint32_t quick_acks;    /* segments left to acknowledge at once */
    uint32_t snd_una, snd_nxt;
    uint32_t snd_max; /* highest snd_nxt so far: after a time-out snd_nxt goes back to snd_una */
    uint32_t snd_wnd, snd_wl1, snd_wl2;
    uint64_t last_input_ns, last_ts_recent_ns, delayed_ack_ns;
    uint8_t snd_scale, rcv_scale; /* RFC 7323 2.2: Snd.Wind.Shift, Rcv.Wind.Shift */
    bool timestamps, sack, window_scaling;
    bool peer_finished; /* the peer's FIN was reached: rcv_nxt is behind it */
    bool fin_held;      /* a FIN waits behind a gap at fin_sequence */
    bool closing;       /* our FIN stands at snd_end */
    uint8_t keepalive_probes;
    struct tp_tcp_counters counters;

    /* Receive side, when something is out of order or the window moves. */
    uint32_t irs, fin_sequence;
    uint32_t rcv_adv;       /* right edge we mean to offer: rcv_edge is this, rounded up by scale */
    uint32_t receive_space; /* as the application said */
    uint32_t duplicate_acks_due; /* by themselves: peers count them (RFC 5681 3.2) */
    uint32_t dsack_count;
    struct tp_tcp_sack_block dsack[TP_TCP_DSACK_COUNT_MAX]; /* RFC 2883 4: not told yet */
    uint32_t sack_told; /* the recency of the newest range that an ACK told of */
    struct tp_tcp_reassembly reassembly;

    /* Send side. Bytes [snd_una, snd_end) lie in send_ring at sequence & send_mask. */
    uint8_t *send_ring;
    uint32_t send_mask;
    uint32_t iss, snd_end;
    uint32_t snd_mss;                     /* payload of a full segment, options already taken off */
    uint32_t max_snd_wnd;                 /* RFC 5961 5.2: MAX.SND.WND */
    uint32_t push[TP_TCP_PUSH_COUNT_MAX]; /* ends of application writes, ascending */
    uint32_t push_count;
    uint32_t reset_sequence, reset_acknowledgment; /* of the RST that is pending */
    uint8_t reset_flags;
    bool syn_retransmitted;

    /* Round-trip time (RFC 6298) and the retransmission timer. */
    uint64_t srtt_ns, rttvar_ns, rto_ns; /* rto_ns without back-off */
    uint64_t rtt_started_ns;
    uint32_t rtt_sequence; /* the timed segment ends here */
    bool rtt_timing, rtt_known;
    uint8_t backoff;
    uint8_t probes_unanswered; /* of a closed window, since the peer last answered; saturates */
    uint8_t retransmit_timer;  /* enum tp_tcp_retransmit_timer */
    uint64_t retransmit_timer_ns, rto_started_ns;
    uint64_t unacknowledged_since_ns; /* progress of the peer; the user timeout counts from here */
    uint64_t life_timer_ns;           /* connect timeout or TIME-WAIT */

    /* Congestion (RFC 5681, 6582). */
    uint32_t cwnd, ssthresh, recover, dupacks, bytes_acked;
    uint32_t last_sack_left, last_sack_right; /* first block of the last duplicate */
    bool in_recovery, tail_probe_out;
    /* Before the last time-out, until the first ACK after it tells whether it was right. */
    bool timeout_in_doubt;
    uint32_t cwnd_before, ssthresh_before, timeout_timestamp;
    uint64_t last_send_ns;

    uint64_t challenge_period_ns; /* start of the running period */
    uint32_t challenges_left;
    uint64_t random;     /* xorshift state, seeded from the ISN secret */
    uint32_t isn_offset; /* RFC 6528 3: F() */
    uint32_t ts_offset;  /* RFC 7323 7.1 */
    enum tp_tcp_error error;
    struct tp_tcp_config config;
};

static inline uint32_t tp_tcp_timestamp_now(const struct tp_tcp *tcp, uint64_t now_ns)
{
    return tcp->ts_offset + (uint32_t)(now_ns / TP_TCP_TIMESTAMP_TICK_NS);
}

static inline uint32_t tp_tcp_rcv_wnd(const struct tp_tcp *tcp)
{
    return tcp->rcv_edge - tcp->rcv_nxt;
}

/* One behind the last sequence number that was queued: data, and our FIN. */
static inline uint32_t tp_tcp_queued_end(const struct tp_tcp *tcp)
{
    return tcp->snd_end + (tcp->closing ? 1 : 0);
}

static inline bool tp_tcp_is_synchronized(enum tp_tcp_state state)
{
    return state >= TP_TCP_ESTABLISHED;
}

/* connection.c */
void tp_tcp_end(struct tp_tcp *tcp, enum tp_tcp_error error);
void tp_tcp_established(struct tp_tcp *tcp, uint64_t now_ns);
void tp_tcp_time_wait_start(struct tp_tcp *tcp, uint64_t now_ns);

/* isn.c */
void tp_tcp_isn_init(struct tp_tcp *tcp);
uint32_t tp_tcp_isn(const struct tp_tcp *tcp, uint64_t now_ns);
uint32_t tp_tcp_random(struct tp_tcp *tcp);

/* tcp_in.c */
/* RFC 5961: an ACK that asks the peer to prove itself, within the limit of this connection. */
void tp_tcp_challenge(struct tp_tcp *tcp, uint64_t now_ns);

/* tcp_out.c */
/* The sequence number of a segment without data: the peer accepts it even after we went back to
 * snd_una, or after it shrank its window. */
uint32_t tp_tcp_acceptable_sequence(const struct tp_tcp *tcp);
/* True when tp_tcp_output would build a segment now. */
bool tp_tcp_output_is_due(const struct tp_tcp *tcp);

/* window.c */
uint16_t tp_tcp_window_field(struct tp_tcp *tcp, bool syn);
void tp_tcp_window_start(struct tp_tcp *tcp);

/* timers.c */
void tp_tcp_timer_rearm(struct tp_tcp *tcp, uint64_t now_ns);
void tp_tcp_timer_sent(struct tp_tcp *tcp, uint64_t now_ns);
void tp_tcp_timers_run(struct tp_tcp *tcp, uint64_t now_ns);

/* rtt.c */
void tp_tcp_rtt_init(struct tp_tcp *tcp);
void tp_tcp_rtt_sample(struct tp_tcp *tcp, uint64_t rtt_ns);
void tp_tcp_rtt_acknowledged(struct tp_tcp *tcp, const struct tp_tcp_segment *segment,
                             uint64_t now_ns);
uint64_t tp_tcp_rto_backed_off(const struct tp_tcp *tcp);

/* congestion.c */
void tp_tcp_congestion_init(struct tp_tcp *tcp);
void tp_tcp_congestion_acknowledged(struct tp_tcp *tcp, uint32_t acknowledged,
                                    uint32_t flight_before);
void tp_tcp_congestion_duplicate(struct tp_tcp *tcp);
void tp_tcp_congestion_timeout(struct tp_tcp *tcp, uint64_t now_ns);
void tp_tcp_congestion_timeout_judge(struct tp_tcp *tcp, const struct tp_tcp_segment *segment);
void tp_tcp_congestion_idle(struct tp_tcp *tcp, uint64_t now_ns);
uint32_t tp_tcp_congestion_window(const struct tp_tcp *tcp);

/* sack.c */
/* Bytes of the SACK option that the next segment carries. */
uint32_t tp_tcp_sack_size(const struct tp_tcp *tcp);
void tp_tcp_sack_write(struct tp_tcp *tcp, struct tp_tcp_segment *segment);
/* RFC 2883 4: [left, right) came once more. */
void tp_tcp_sack_duplicate(struct tp_tcp *tcp, uint32_t left, uint32_t right);
/* Something that the peer must know stands in no ACK yet. */
bool tp_tcp_sack_is_untold(const struct tp_tcp *tcp);
bool tp_tcp_sack_is_duplicate(struct tp_tcp *tcp, const struct tp_tcp_segment *segment);
#endif
