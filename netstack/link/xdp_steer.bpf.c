/* Which frames leave the kernel: the XDP program in front of an AF_XDP socket.
 *
 * Redirected: TCP to our address and a local port of our range, and ICMP errors that quote a TCP
 * segment which we sent from there. Everything else - ARP, ping, other people's connections - goes
 * on to the kernel, and so does ours while no socket stands in the map: a crash leaves the machine
 * as it was. Runs in softirq for every frame of the interface; loaded by af_xdp_program.c.
 *
 * A frame that is redirected bears its stamp in the 16 bytes in front of it (struct frame_stamp, as
 * XDP metadata): the time that the poll cannot know. A driver that has no room for it leaves the
 * frame without.
 *
 * "xdp.frags": without it the kernel refuses interfaces whose frames may span several buffers. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum {
    QUEUE_COUNT_MAX = 64,
    FRAGMENT_MASK = 0x3fff, /* more-fragments and the offset (RFC 791 3.1) */
    ICMP_UNREACHABLE = 3,
    ICMP_TIME_EXCEEDED = 11,
    ICMP_PARAMETER_PROBLEM = 12,
};

/* Keep in step with struct steer_config in af_xdp_program.c. Frozen at load: the verifier and the
 * JIT see constants. */
struct steer_config {
    __be32 address;
    __u16 port_low, port_high; /* host byte order, both ends included */
};
const volatile struct steer_config steer_config;

struct {
    __uint(type, BPF_MAP_TYPE_XSKMAP);
    __uint(max_entries, QUEUE_COUNT_MAX);
    __type(key, __u32);
    __type(value, __u32);
} xsks SEC(".maps");

/* Keep in step with struct frame_stamp in af_xdp_state.h. */
struct frame_stamp {
    __u64 monotonic_ns, check; /* check: monotonic_ns ^ STAMP_CHECK */
};
#define STAMP_CHECK 0x7a65726f20706f68ull

struct icmp_error {
    __u8 type, code;
    __be16 checksum;
    __be32 rest;
};

struct ports { /* how every TCP header begins, and all of it that an ICMP quote must hold */
    __be16 source, destination;
};

static __always_inline int is_ours(__be16 port)
{
    const __u16 number = bpf_ntohs(port);

    return number >= steer_config.port_low && number <= steer_config.port_high;
}

/* Where the header behind an IPv4 header begins, or NULL: malformed or a fragment. */
static __always_inline void *behind_ipv4(struct iphdr *ip, void *end)
{
    if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
        return NULL;
    if (ip->frag_off & bpf_htons(FRAGMENT_MASK))
        return NULL;
    return (void *)ip + ip->ihl * 4;
}

static __always_inline int quotes_our_segment(struct icmp_error *icmp, void *end)
{
    if ((void *)(icmp + 1) > end)
        return 0;
    if (icmp->type != ICMP_UNREACHABLE && icmp->type != ICMP_TIME_EXCEEDED &&
        icmp->type != ICMP_PARAMETER_PROBLEM)
        return 0;

    struct iphdr *quoted = (void *)(icmp + 1);
    struct ports *ports = behind_ipv4(quoted, end);
    if (!ports || (void *)(ports + 1) > end)
        return 0;
    return quoted->protocol == IPPROTO_TCP && quoted->saddr == steer_config.address &&
           is_ours(ports->source);
}

/* No pointer into the frame is valid after it. */
static __always_inline void stamp(struct xdp_md *context)
{
    if (bpf_xdp_adjust_meta(context, -(int)sizeof(struct frame_stamp)) != 0)
        return;

    struct frame_stamp *stamp = (void *)(long)context->data_meta;
    if ((void *)(stamp + 1) > (void *)(long)context->data)
        return;
    stamp->monotonic_ns = bpf_ktime_get_ns();
    stamp->check = stamp->monotonic_ns ^ STAMP_CHECK;
}

SEC("xdp.frags")
int xdp_steer(struct xdp_md *context)
{
    void *end = (void *)(long)context->data_end;
    struct ethhdr *ethernet = (void *)(long)context->data;
    int ours = 0;

    if ((void *)(ethernet + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP))
        return XDP_PASS;

    struct iphdr *ip = (void *)(ethernet + 1);
    void *payload = behind_ipv4(ip, end);
    if (!payload || ip->daddr != steer_config.address)
        return XDP_PASS;
    if (ip->protocol == IPPROTO_TCP) {
        struct ports *ports = payload;
        ours = (void *)(ports + 1) <= end && is_ours(ports->destination);
    } else if (ip->protocol == IPPROTO_ICMP) {
        ours = quotes_our_segment(payload, end);
    }
    if (!ours)
        return XDP_PASS;
    stamp(context);
    return bpf_redirect_map(&xsks, context->rx_queue_index, XDP_PASS);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
