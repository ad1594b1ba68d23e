/* Opens and closes an AF_XDP link: memory, socket, rings, program, in the order that loses nothing.
 *
 * Cold; called by af_xdp.py through tp_af_xdp_open. Calls af_xdp_program.c. One rung of the ladder:
 *   UMEM -> socket -> rings -> FILL filled -> bind -> attach the program -> enter the XSKMAP
 * The map comes last: until then the program passes every frame on to the kernel. */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/sockios.h>
#include <net/if.h>

#include "netstack/link/af_xdp_state.h"

enum {
    /* Half of the frames receive: FILL and RX ring each have room for all of them. The other half
     * sends: a quarter in the TX ring, and a quarter in the COMPLETION ring. */
    RING_COUNT_OF_FRAMES = 4,
    TX_SKB_BUDGET = 256, /* frames the kernel sends per call; its default is 32 */
    HUGE_PAGE_SIZE = 1 << 21,
    /* A closed socket gives its queue back some time later (xdp-tutorial issue 458). */
    BUSY_RETRY_NS = 500000000,
    BUSY_PAUSE_NS = 5000000,
};

static const char *const mode_names[TP_AF_XDP_MODE_COUNT] = {
    [TP_AF_XDP_AUTO] = "auto",
    [TP_AF_XDP_NATIVE_ZERO_COPY] = "native zero-copy",
    [TP_AF_XDP_NATIVE_COPY] = "native copy",
    [TP_AF_XDP_GENERIC] = "generic copy",
};

struct opening {
    const struct tp_af_xdp_config *config;
    uint64_t busy_until_ns; /* one allowance for the whole opening */
    char *text;
};

static void say(char *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(char *text, const char *format, ...)
{
    const size_t used = strlen(text);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text + used, TP_AF_XDP_TEXT_SIZE - used, format, arguments);
    va_end(arguments);
}

static uint64_t monotonic_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* True after a pause when a busy step should be tried again. */
static bool wait_while_busy(const struct opening *opening)
{
    const struct timespec pause = {.tv_nsec = BUSY_PAUSE_NS};

    if (monotonic_ns() >= opening->busy_until_ns)
        return false;
    nanosleep(&pause, NULL);
    return true;
}

static const char *remedy(int error)
{
    switch (-error) {
    case EPERM:
    case EACCES:
        return " (needs CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON: run as root or grant "
               "them)";
    case EBUSY:
    case EEXIST:
        return " (another program holds the interface or queue: end its owner, or ip link set dev "
               "<interface> xdp off)";
    case EOPNOTSUPP:
        return " (the driver lacks it)";
    case ENOSPC:
        return " (veth needs as many receive queues here as the peer has send queues)";
    case ENOBUFS:
    case ENOMEM:
        return " (locked memory: raise RLIMIT_MEMLOCK or lower frame_count)";
    case ENODEV:
    case ENXIO:
        return " (no such interface or queue here: is it in another network namespace?)";
    case ENETDOWN:
        return " (the interface is down: ip link set dev <interface> up)";
    default:
        return "";
    }
}

static int refuse(const struct opening *opening, enum tp_af_xdp_mode mode, const char *step,
                  int error)
{
    say(opening->text, "%s%s: %s: %s%s", opening->text[0] ? "; " : "", mode_names[mode], step,
        strerror(-error), remedy(error));
    return error;
}

struct ring_shape {
    uint32_t count;
    size_t entry_size;
    const struct xdp_ring_offset *offset;
    uint64_t page;
};

static int ring_map(struct xdp_ring *ring, int socket, const struct ring_shape *shape)
{
    ring->map_size = shape->offset->desc + shape->count * shape->entry_size;
    void *map = mmap(NULL, ring->map_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                     socket, (off_t)shape->page);
    if (map == MAP_FAILED)
        return -errno;
    uint8_t *base = map;
    ring->map = map;
    ring->producer = (_Atomic uint32_t *)(void *)(base + shape->offset->producer);
    ring->consumer = (_Atomic uint32_t *)(void *)(base + shape->offset->consumer);
    ring->flags = (_Atomic uint32_t *)(void *)(base + shape->offset->flags);
    ring->entries = base + shape->offset->desc;
    ring->count = shape->count;
    ring->mask = shape->count - 1;
    ring->local = 0;
    return 0;
}

static int rings_open(struct tp_af_xdp *af_xdp)
{
    const uint32_t receive = af_xdp->rx_frame_count;
    const uint32_t send = af_xdp->frame_count / RING_COUNT_OF_FRAMES;
    struct xdp_mmap_offsets offsets;
    socklen_t offsets_size = sizeof offsets;
    const struct {
        struct xdp_ring *ring;
        int option;
        struct ring_shape shape;
    } rings[] = {
        {&af_xdp->fill,
         XDP_UMEM_FILL_RING,
         {receive, sizeof(uint64_t), &offsets.fr, XDP_UMEM_PGOFF_FILL_RING}},
        {&af_xdp->completion,
         XDP_UMEM_COMPLETION_RING,
         {send, sizeof(uint64_t), &offsets.cr, XDP_UMEM_PGOFF_COMPLETION_RING}},
        {&af_xdp->rx,
         XDP_RX_RING,
         {receive, sizeof(struct xdp_desc), &offsets.rx, XDP_PGOFF_RX_RING}},
        {&af_xdp->tx, XDP_TX_RING, {send, sizeof(struct xdp_desc), &offsets.tx, XDP_PGOFF_TX_RING}},
    };
    const size_t count = sizeof rings / sizeof rings[0];

    for (size_t i = 0; i < count; i++) {
        if (setsockopt(af_xdp->socket, SOL_XDP, rings[i].option, &rings[i].shape.count,
                       sizeof rings[i].shape.count) != 0)
            return -errno;
    }
    if (getsockopt(af_xdp->socket, SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &offsets_size) != 0)
        return -errno;
    if (offsets_size != sizeof offsets)
        return -EPROTO; /* a kernel before 5.4: no need-wakeup flags */
    for (size_t i = 0; i < count; i++) {
        const int error = ring_map(rings[i].ring, af_xdp->socket, &rings[i].shape);
        if (error != 0)
            return error;
    }
    return 0;
}

static void ring_unmap(struct xdp_ring *ring)
{
    if (ring->map != NULL)
        munmap(ring->map, ring->map_size);
    *ring = (struct xdp_ring){0};
}

static int umem_register(const struct tp_af_xdp *af_xdp)
{
    const struct xdp_umem_reg umem = {.addr = (uint64_t)(uintptr_t)af_xdp->umem,
                                      .len = af_xdp->umem_size,
                                      .chunk_size = TP_AF_XDP_FRAME_SIZE};

    return setsockopt(af_xdp->socket, SOL_XDP, XDP_UMEM_REG, &umem, sizeof umem) == 0 ? 0 : -errno;
}

static int bind_once(const struct tp_af_xdp *af_xdp, const struct opening *opening, int flags)
{
    const struct sockaddr_xdp address = {.sxdp_family = AF_XDP,
                                         .sxdp_flags = (uint16_t)flags,
                                         .sxdp_ifindex = opening->config->interface_index,
                                         .sxdp_queue_id = opening->config->queue};

    for (;;) { /* bounded by opening->busy_until_ns */
        if (bind(af_xdp->socket, (const struct sockaddr *)&address, sizeof address) == 0)
            return 0;
        if (errno != EBUSY || !wait_while_busy(opening))
            return -errno;
    }
}

static int socket_bind(const struct tp_af_xdp *af_xdp, const struct opening *opening,
                       enum tp_af_xdp_mode mode)
{
    const int copy = mode == TP_AF_XDP_NATIVE_ZERO_COPY ? XDP_ZEROCOPY : XDP_COPY;
    const int flags = copy | XDP_USE_NEED_WAKEUP;
    int error = bind_once(af_xdp, opening, flags | XDP_USE_SG);

    if (error == -EINVAL) /* before 6.6: no multi-buffer frames */
        error = bind_once(af_xdp, opening, flags);
    return error;
}

static int program_attach(const struct tp_af_xdp *af_xdp, const struct opening *opening,
                          enum tp_af_xdp_mode mode)
{
    const uint32_t flags = mode == TP_AF_XDP_GENERIC ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE;

    for (;;) { /* bounded by opening->busy_until_ns */
        const int error =
            steer_program_attach(af_xdp->program, opening->config->interface_index, flags);
        if ((error != -EBUSY && error != -EEXIST) || !wait_while_busy(opening))
            return error;
    }
}

static void rung_close(struct tp_af_xdp *af_xdp)
{
    steer_program_detach(af_xdp->program);
    ring_unmap(&af_xdp->rx);
    ring_unmap(&af_xdp->tx);
    ring_unmap(&af_xdp->fill);
    ring_unmap(&af_xdp->completion);
    if (af_xdp->socket >= 0)
        close(af_xdp->socket);
    af_xdp->socket = -1;
}

static int rung_open(struct tp_af_xdp *af_xdp, const struct opening *opening,
                     enum tp_af_xdp_mode mode)
{
    const char *step = "socket";
    const int budget = TX_SKB_BUDGET;
    int error = 0;

    af_xdp->socket = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (af_xdp->socket < 0)
        return refuse(opening, mode, step, -errno);
    step = "register the UMEM";
    if ((error = umem_register(af_xdp)) != 0)
        goto close_rung;
    step = "rings";
    if ((error = rings_open(af_xdp)) != 0)
        goto close_rung;
    af_xdp->free_count = 0;
    memset(af_xdp->state_count, 0, sizeof af_xdp->state_count);
    af_xdp_frames_init(af_xdp);
    step = "bind";
    if ((error = socket_bind(af_xdp, opening, mode)) != 0)
        goto close_rung;
    /* Absent before 6.18: then the kernel takes 32 frames a call. */
    (void)setsockopt(af_xdp->socket, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &budget, sizeof budget);
    step = "attach the XDP program";
    if ((error = program_attach(af_xdp, opening, mode)) != 0)
        goto close_rung;
    step = "enter the XSKMAP";
    if ((error = steer_program_insert(af_xdp->program, opening->config->queue, af_xdp->socket)) !=
        0)
        goto close_rung;
    af_xdp->mode = mode;
    return 0;

close_rung:
    rung_close(af_xdp);
    return refuse(opening, mode, step, error);
}

static uint8_t *memory_map(uint64_t size, bool try_huge, bool *is_huge)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
    void *memory = MAP_FAILED;

    if (try_huge && size % HUGE_PAGE_SIZE == 0)
        memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_HUGETLB, -1, 0);
    *is_huge = memory != MAP_FAILED;
    if (memory == MAP_FAILED) /* none reserved: 4 KiB pages do */
        memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    /* A child's copy would part us from the pages that the kernel pinned. */
    (void)madvise(memory, size, MADV_DONTFORK);
    return memory;
}

/* Only veth hands over frames whose checksum was never finished (CHECKSUM_PARTIAL): the sender
 * counts on an offload that a pair of virtual interfaces never runs. */
static bool driver_is_veth(uint32_t interface_index)
{
    struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
    struct ifreq request = {.ifr_data = (char *)&info};
    const int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool veth = false;

    if (descriptor < 0)
        return false;
    if (if_indextoname(interface_index, request.ifr_name) != NULL &&
        ioctl(descriptor, SIOCETHTOOL, &request) == 0)
        veth = strcmp(info.driver, "veth") == 0;
    close(descriptor);
    return veth;
}

static int config_check(const struct tp_af_xdp_config *config, uint32_t frame_count, char *text)
{
    if (frame_count < TP_AF_XDP_FRAME_COUNT_MIN || frame_count > TP_AF_XDP_FRAME_COUNT_MAX ||
        (frame_count & (frame_count - 1)) != 0)
        say(text, "frame_count is %u, expected a power of two from %d to %d", frame_count,
            TP_AF_XDP_FRAME_COUNT_MIN, TP_AF_XDP_FRAME_COUNT_MAX);
    else if (config->port_low == 0 || config->port_low > config->port_high)
        say(text, "ports are %u to %u, expected 1 <= low <= high", config->port_low,
            config->port_high);
    else if (config->mode >= TP_AF_XDP_MODE_COUNT)
        say(text, "mode is %d, expected 0 to %d", (int)config->mode, TP_AF_XDP_MODE_COUNT - 1);
    return text[0] == '\0' ? 0 : -EINVAL;
}

static struct tp_af_xdp *memory_open(const struct tp_af_xdp_config *config, uint32_t frame_count)
{
    struct tp_af_xdp *af_xdp = calloc(1, sizeof *af_xdp);

    if (af_xdp == NULL)
        return NULL;
    af_xdp->socket = -1;
    af_xdp->frame_count = frame_count;
    af_xdp->rx_frame_count = frame_count / 2;
    af_xdp->umem_size = (uint64_t)frame_count * TP_AF_XDP_FRAME_SIZE;
    af_xdp->umem = memory_map(af_xdp->umem_size, !config->no_huge_pages, &af_xdp->has_huge_pages);
    af_xdp->state = calloc(frame_count, sizeof *af_xdp->state);
    af_xdp->free_frames = calloc(frame_count, sizeof *af_xdp->free_frames);
    af_xdp->join.buffer = malloc(TP_LINK_FRAME_SIZE_MAX);
    if (af_xdp->umem == NULL || af_xdp->state == NULL || af_xdp->free_frames == NULL ||
        af_xdp->join.buffer == NULL) {
        tp_af_xdp_close(af_xdp);
        return NULL;
    }
    af_xdp->link = (struct tp_link){.ops = &af_xdp_ops,
                                    .tx_frame_size = TP_AF_XDP_FRAME_SIZE,
                                    .partial_checksums = driver_is_veth(config->interface_index)};
    return af_xdp;
}

struct tp_af_xdp *tp_af_xdp_open(const struct tp_af_xdp_config *config,
                                 char text[TP_AF_XDP_TEXT_SIZE])
{
    const uint32_t frame_count =
        config->frame_count ? config->frame_count : TP_AF_XDP_FRAME_COUNT_DEFAULT;
    const struct opening opening = {
        .config = config, .busy_until_ns = monotonic_ns() + BUSY_RETRY_NS, .text = text};
    int error;

    text[0] = '\0';
    if (config_check(config, frame_count, text) != 0)
        return NULL;
    struct tp_af_xdp *af_xdp = memory_open(config, frame_count);
    if (af_xdp == NULL) {
        say(text, "no memory for %u frames of %d bytes", frame_count, TP_AF_XDP_FRAME_SIZE);
        return NULL;
    }
    if ((error = steer_program_load(config, &af_xdp->program)) != 0) {
        say(text, "load the XDP program: %s%s", strerror(-error), remedy(error));
        tp_af_xdp_close(af_xdp);
        return NULL;
    }
    for (enum tp_af_xdp_mode mode = TP_AF_XDP_NATIVE_ZERO_COPY; mode < TP_AF_XDP_MODE_COUNT;
         mode++) {
        if (config->mode != TP_AF_XDP_AUTO && config->mode != mode)
            continue;
        if (rung_open(af_xdp, &opening, mode) == 0)
            return af_xdp;
    }
    tp_af_xdp_close(af_xdp);
    return NULL;
}

void tp_af_xdp_close(struct tp_af_xdp *af_xdp)
{
    if (af_xdp == NULL)
        return;
    if (af_xdp->program != NULL)
        rung_close(af_xdp);
    steer_program_free(af_xdp->program);
    if (af_xdp->umem != NULL)
        munmap(af_xdp->umem, af_xdp->umem_size);
    free(af_xdp->join.buffer);
    free(af_xdp->free_frames);
    free(af_xdp->state);
    free(af_xdp);
}

void tp_af_xdp_disown(struct tp_af_xdp *af_xdp)
{
    if (af_xdp == NULL)
        return;
    steer_program_forget(af_xdp->program);
    tp_af_xdp_close(af_xdp);
}

const char *tp_af_xdp_mode_name(enum tp_af_xdp_mode mode)
{
    return mode < TP_AF_XDP_MODE_COUNT ? mode_names[mode] : "unknown";
}

bool tp_af_xdp_has_huge_pages(const struct tp_af_xdp *af_xdp)
{
    return af_xdp->has_huge_pages;
}

uint32_t tp_af_xdp_napi_id(const struct tp_af_xdp *af_xdp)
{
    uint32_t napi_id = 0;
    socklen_t size = sizeof napi_id;

    if (getsockopt(af_xdp->socket, SOL_SOCKET, SO_INCOMING_NAPI_ID, &napi_id, &size) != 0)
        return 0;
    return napi_id;
}
