/* The loop of a program with a single session (tickpath get, tickpath ws). Reads the clock, which
 * no stage does. Called by netstack/session.py with the GIL released. */
#include <poll.h>
#include <time.h>

#include "netstack/link/fault_injector.h"
#include "netstack/session.h"

enum { SLEEP_MAX_MS = 10 };

static uint64_t clock_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Takes one burst. Returns whether anything came. */
static bool poll_input(struct tp_session *session, struct tp_netif *netif, uint64_t now_ns)
{
    if (netif == NULL)
        return tp_session_receive(session, now_ns);
    struct tp_frame frames[TP_LINK_BURST_MAX];
    const uint32_t count = tp_link_rx_burst(netif->link, frames, TP_LINK_BURST_MAX);
    for (uint32_t i = 0; i < count; i++) {
        struct tp_tcp_segment segment;
        /* Every flow of such a program's netif is a session's: the one that is waited for, or,
         * while it connects to several addresses, another attempt. */
        struct tp_session *owner = tp_netif_input(netif, &frames[i], &segment);
        if (owner != NULL)
            tp_session_segment(owner, &segment, now_ns);
    }
    tp_link_rx_release(netif->link, frames, count);
    return count > 0;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void sleep_until_input(struct tp_session *session, struct tp_netif *netif, uint64_t now_ns,
                              uint64_t end_ns)
{
    struct tp_stream *stream = tp_session_stream(session);
    const uint64_t until_ns = earlier(tp_session_deadline(session), end_ns);
    if (until_ns <= now_ns + 1000000)
        return; /* poll() cannot sleep for less than a millisecond: keep spinning */
    const uint64_t sleep_ms = (until_ns - now_ns) / 1000000;
    struct pollfd input = {.fd = netif != NULL ? netif->link->fd : stream->fd, .events = POLLIN};
    if (netif == NULL &&
        (tp_session_phase(session) == TP_SESSION_CONNECTING || tp_stream_pending(stream)))
        input.events |= POLLOUT;
    (void)poll(&input, 1, sleep_ms < SLEEP_MAX_MS ? (int)sleep_ms : SLEEP_MAX_MS);
}

void tp_session_wait(struct tp_session *session, struct tp_netif *netif,
                     const struct tp_session_wait *wait)
{
    const enum tp_session_phase phase = tp_session_phase(session);
    const uint64_t start_ns = clock_now(), end_ns = start_ns + wait->timeout_ns;
    uint64_t now_ns = start_ns, busy_ns = start_ns;
    do {
        if (wait->faults != NULL)
            tp_fault_injector_advance(wait->faults, now_ns);
        const bool input = poll_input(session, netif, now_ns);
        if (wait->want_space > 0)
            tp_session_answer_pings(session);
        tp_session_tick(session, now_ns);
        const uint32_t sent = tp_session_output(session, netif, now_ns);
        if (netif != NULL && sent > 0)
            (void)tp_link_tx_kick(netif->link);
        if (netif != NULL && netif->link->error != 0)
            return;
        if (input || tp_session_phase(session) != phase)
            return;
        if (wait->want_space > 0 && tp_session_send_space(session) >= wait->want_space)
            return;
        if (sent > 0)
            busy_ns = now_ns;
        if (now_ns - busy_ns > wait->spin_ns) {
            const uint64_t held_ns =
                wait->faults != NULL ? tp_fault_injector_deadline(wait->faults) : UINT64_MAX;
            sleep_until_input(session, netif, now_ns, earlier(end_ns, held_ns));
        }
        now_ns = clock_now();
    } while (now_ns < end_ns);
}
