#include "engine/bench/echo.h"

#include <string.h>
#include <time.h>

static const uint64_t LOST_AFTER_NS = 1000000000;

static uint64_t clock_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void take_input(struct tp_session *session, struct tp_netif *netif, uint64_t now_ns)
{
    if (netif == NULL) {
        (void)tp_session_receive(session, now_ns);
        return;
    }
    struct tp_frame frames[TP_LINK_BURST_MAX];
    const uint32_t count = tp_link_rx_burst(netif->link, frames, TP_LINK_BURST_MAX);
    for (uint32_t i = 0; i < count; i++) {
        struct tp_tcp_segment segment;
        if (tp_netif_input(netif, &frames[i], &segment) == session)
            tp_session_segment(session, &segment, now_ns);
    }
    if (count > 0)
        tp_link_rx_release(netif->link, frames, count);
}

static void give_output(struct tp_session *session, struct tp_netif *netif, uint64_t now_ns)
{
    if (tp_session_output(session, netif, now_ns) > 0 && netif != NULL)
        (void)tp_link_tx_kick(netif->link);
}

static bool round_trip(struct tp_session *session, struct tp_netif *netif, struct tp_span payload)
{
    const uint64_t start_ns = clock_now();
    size_t taken = 0;
    if (tp_session_send(session, TP_WS_BINARY, payload, &taken) != TP_OK)
        return false;
    give_output(session, netif, start_ns);
    for (uint64_t now_ns = start_ns; now_ns - start_ns < LOST_AFTER_NS; now_ns = clock_now()) {
        take_input(session, netif, now_ns);
        struct tp_ws_message message;
        const enum tp_status status = tp_session_next(session, &message);
        if (status == TP_OK && message.opcode == TP_WS_BINARY)
            return message.payload.size == payload.size &&
                   memcmp(message.payload.data, payload.data, payload.size) == 0;
        if (status != TP_OK && status != TP_NEED_MORE)
            return false;
        if (now_ns >= tp_session_deadline(session)) /* a lost frame: let TCP retransmit */
            give_output(session, netif, now_ns);
    }
    return false;
}

uint32_t tp_bench_echo(struct tp_session *session, struct tp_netif *netif, struct tp_span payload,
                       uint64_t *took_ns, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t start_ns = clock_now();
        if (!round_trip(session, netif, payload))
            return i;
        took_ns[i] = clock_now() - start_ns;
    }
    return count;
}

static bool raw_round_trip(struct tp_link *link, struct tp_span template, uint64_t number)
{
    const uint64_t start_ns = clock_now();
    uint8_t *out = tp_link_tx_claim(link);
    if (out == NULL)
        return false;
    memcpy(out, template.data, template.size);
    memcpy(out + template.size - sizeof number, &number, sizeof number);
    tp_link_tx_commit(link, (uint32_t) template.size);
    (void)tp_link_tx_kick(link);
    while (clock_now() - start_ns < LOST_AFTER_NS) {
        struct tp_frame frames[TP_LINK_BURST_MAX];
        const uint32_t count = tp_link_rx_burst(link, frames, TP_LINK_BURST_MAX);
        bool found = false;
        for (uint32_t i = 0; i < count; i++)
            found |=
                frames[i].size == template.size &&
                memcmp(frames[i].data + template.size - sizeof number, &number, sizeof number) == 0;
        if (count > 0)
            tp_link_rx_release(link, frames, count);
        if (found)
            return true;
    }
    return false;
}

uint32_t tp_bench_raw_frames(struct tp_link *link, struct tp_span template, uint64_t *took_ns,
                             uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t start_ns = clock_now();
        if (!raw_round_trip(link, template, i))
            return i;
        took_ns[i] = clock_now() - start_ns;
    }
    return count;
}
