#include "engine/feed_handler/hot_path.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/feed/checkpoint.h"

static const uint64_t TICK_NS = 200000; /* heartbeat, timers, hand-overs */
enum { CLOSE_GOING_AWAY = 1001 };       /* RFC 6455 7.4.1 */
static const uint64_t END_TIMEOUT_NS =
    1000000000; /* an ended session may still deliver its last segments */

/* ---- one connection
 * ------------------------------------------------------------------------------ */

static void note_text(struct tp_hot_path *hot, uint32_t number, struct tp_span text,
                      uint64_t now_ns)
{
    const uint64_t head = atomic_load_explicit(&hot->inbox_head, memory_order_relaxed);
    hot->counters.text_messages++;
    /* Pairs with the release in tp_hot_path_take_note: the note's bytes are free for reuse. */
    if (head - atomic_load_explicit(&hot->inbox_tail, memory_order_acquire) ==
        TP_HOT_PATH_INBOX_COUNT) {
        hot->counters.inbox_full++;
        return;
    }
    struct tp_hot_path_note *note = &hot->inbox[head & (TP_HOT_PATH_INBOX_COUNT - 1)];
    note->connection = number;
    note->size = (uint32_t)text.size;
    note->received_ns = now_ns;
    memcpy(note->text, text.data,
           text.size < TP_HOT_PATH_INBOX_TEXT_MAX ? text.size : TP_HOT_PATH_INBOX_TEXT_MAX);
    /* Pairs with the acquire in tp_hot_path_take_note. */
    atomic_store_explicit(&hot->inbox_head, head + 1, memory_order_release);
}

static void send_text(struct tp_hot_path *hot, uint32_t number, struct tp_span text,
                      uint64_t now_ns)
{
    size_t taken =
        0; /* a fresh send buffer holds all subscriptions; a peer that reads nothing fills it */
    if (tp_session_send(hot->connection[number].session, TP_WS_TEXT, text, &taken) != TP_OK)
        hot->counters.texts_unsent++;
    else
        tp_tap_message(hot->tap, tp_tap_tag(TP_RECORD_OUT, TP_WS_TEXT, number), text, now_ns);
}

static void connection_opened(struct tp_hot_path *hot, uint32_t number, uint64_t now_ns)
{
    struct tp_hot_path_connection *connection = &hot->connection[number];
    connection->open = true;
    connection->heard_ns = now_ns;
    hot->counters.connects++;
    for (uint32_t i = 0; i < connection->open_message_count; i++)
        send_text(hot, number, connection->open_message[i], now_ns);
    connection->next_ping_ns = now_ns + connection->ping_interval_ns;
    tp_tap_mark(hot->tap, TP_RECORD_UP, number, now_ns);
    tp_feed_connection_up(hot->feed, number, now_ns);
}

static void connection_down(struct tp_hot_path *hot, uint32_t number, uint64_t now_ns)
{
    tp_tap_mark(hot->tap, TP_RECORD_DOWN, number, now_ns);
    tp_feed_connection_down(hot->feed, number, now_ns);
}

static void connection_ended(struct tp_hot_path *hot, uint32_t number, uint64_t now_ns)
{
    struct tp_hot_path_connection *connection = &hot->connection[number];
    if (connection->ending)
        return;
    if (connection->open)
        connection_down(hot, number, now_ns);
    connection->open = false;
    connection->ending = true;
    connection->end_by_ns = now_ns + END_TIMEOUT_NS;
    hot->counters.disconnects++;
}

/* Everything that the session can read now goes to the feed: publish first, acknowledge later. */
static void deliver(struct tp_hot_path *hot, uint32_t number, uint64_t now_ns)
{
    struct tp_hot_path_connection *connection = &hot->connection[number];
    if (connection->ending)
        return;
    if (!connection->open && tp_session_phase(connection->session) == TP_SESSION_OPEN)
        connection_opened(hot, number, now_ns);
    struct tp_ws_message message;
    enum tp_status status;
    while ((status = tp_session_next(connection->session, &message)) == TP_OK) {
        hot->counters.messages++;
        connection->heard_ns = now_ns;
        if (message.opcode == TP_WS_BINARY)
            (void)tp_feed_message(hot->feed, number, message.payload,
                                  now_ns); /* the feed counts refusals */
        else
            tp_feed_connection_alive(hot->feed, number, now_ns);
        if (message.opcode == TP_WS_TEXT)
            note_text(hot, number, message.payload, now_ns);
        /* Last: recording must not delay the book. */
        tp_tap_message(hot->tap, tp_tap_tag(TP_RECORD_IN, (uint8_t)message.opcode, number),
                       message.payload, now_ns);
    }
    if (status != TP_NEED_MORE || tp_session_phase(connection->session) >= TP_SESSION_CLOSING)
        connection_ended(hot, number, now_ns);
}

/* ---- input and output
 * ---------------------------------------------------------------------------- */

static bool take_frames(struct tp_hot_path *hot, uint64_t now_ns)
{
    struct tp_link *link = hot->netif->link;
    struct tp_frame frames[TP_LINK_BURST_MAX];
    const uint32_t count = tp_link_rx_burst(link, frames, TP_LINK_BURST_MAX);
    if (count == 0)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        struct tp_tcp_segment segment;
        const struct tp_hot_path_connection *connection =
            tp_netif_input(hot->netif, &frames[i], &segment);
        if (connection == NULL)
            continue;
        const uint32_t number = (uint32_t)(connection - hot->connection);
        tp_session_segment(connection->session, &segment, now_ns);
        deliver(hot, number, now_ns);
        hot->dirty |= UINT64_C(1) << number;
    }
    tp_link_rx_release(link, frames, count);
    hot->counters.bursts++;
    hot->counters.frames += count;
    return true;
}

static bool take_sockets(struct tp_hot_path *hot, uint64_t now_ns)
{
    bool any = false;
    for (uint32_t number = 0; number < hot->connection_count; number++) {
        struct tp_hot_path_connection *connection = &hot->connection[number];
        if (connection->session == NULL)
            continue;
        if (tp_session_receive(connection->session, now_ns)) {
            deliver(hot, number, now_ns);
            any = true;
        }
        if (tp_stream_pending(tp_session_stream(connection->session)))
            hot->dirty |= UINT64_C(1) << number;
    }
    return any;
}

/* One kick for all segments that became due: acknowledgements, pongs, subscriptions,
 * retransmissions. */
static void send_due(struct tp_hot_path *hot, uint64_t now_ns)
{
    uint32_t frames = 0;
    for (; hot->dirty != 0; hot->dirty &= hot->dirty - 1) {
        const struct tp_hot_path_connection *connection =
            &hot->connection[__builtin_ctzll(hot->dirty)];
        if (connection->session != NULL)
            frames += tp_session_output(connection->session, hot->netif, now_ns);
    }
    if (frames > 0 && hot->netif != NULL)
        (void)tp_link_tx_kick(
            hot->netif->link); /* an error stays in link->error: the tick sees it */
}

/* ---- every TICK_NS
 * ------------------------------------------------------------------------------- */

static void adopt_offered(struct tp_hot_path *hot, uint32_t number, uint64_t now_ns)
{
    struct tp_hot_path_connection *connection = &hot->connection[number];
    /* Pairs with the release in tp_hot_path_offer. */
    struct tp_session *session =
        atomic_exchange_explicit(&connection->offered, NULL, memory_order_acquire);
    if (session == NULL)
        return;
    connection->session = session;
    connection->open = connection->ending = false;
    if (connection->tcp != NULL) {
        connection->flow =
            tp_netif_bind(hot->netif, &connection->tcp_config, connection->tcp, connection);
        assert(connection->flow !=
               NULL); /* the cold thread owns the ports and never offers one twice */
        tp_netif_next_hop(connection->flow, connection->next_hop_mac);
        tp_session_set_flow(session, connection->flow);
    }
    atomic_store_explicit(&connection->drop, 0, memory_order_relaxed);
    tp_session_connect(session, now_ns);
}

static void retire(struct tp_hot_path *hot, uint32_t number, uint64_t now_ns)
{
    struct tp_hot_path_connection *connection = &hot->connection[number];
    if (!tp_session_finished(connection->session)) { /* RST: the peer must not keep half of it */
        tp_session_abort(connection->session);
        hot->dirty |= UINT64_C(1) << number;
        send_due(hot, now_ns);
    }
    if (connection->flow != NULL)
        tp_netif_unbind(connection->flow);
    connection->flow = NULL;
    /* Pairs with the acquire in tp_hot_path_take_retired. */
    atomic_store_explicit(&connection->retired, connection->session, memory_order_release);
    connection->session = NULL;
}

/* What a connection owes at its time: our ping to the venue, its end when nothing answers. */
static void keep_alive(struct tp_hot_path *hot, uint32_t number, uint64_t now_ns)
{
    struct tp_hot_path_connection *connection = &hot->connection[number];
    if (!connection->open)
        return;
    /* A half-open connection never tells: only its silence does. */
    if (hot->silent_drop_ns != 0 && now_ns - connection->heard_ns > hot->silent_drop_ns)
        tp_session_give_up(connection->session, "silent for too long");
    if (connection->ping_message.data != NULL && now_ns >= connection->next_ping_ns) {
        send_text(hot, number, connection->ping_message, now_ns);
        connection->next_ping_ns = now_ns + connection->ping_interval_ns;
        hot->dirty |= UINT64_C(1) << number;
    }
}

static void tick_connection(struct tp_hot_path *hot, uint32_t number, uint64_t now_ns)
{
    struct tp_hot_path_connection *connection = &hot->connection[number];
    if (connection->session == NULL)
        adopt_offered(hot, number, now_ns);
    if (connection->session == NULL)
        return;
    if (atomic_exchange_explicit(&connection->drop, 0, memory_order_relaxed) != 0)
        tp_session_abort(connection->session);
    keep_alive(hot, number, now_ns);
    if (now_ns >= tp_session_deadline(connection->session)) {
        tp_session_tick(connection->session, now_ns);
        hot->dirty |= UINT64_C(1) << number;
    }
    const enum tp_session_phase phase = tp_session_phase(connection->session);
    if (phase == TP_SESSION_CLOSED || (connection->open && phase == TP_SESSION_CLOSING))
        connection_ended(hot, number, now_ns);
    atomic_store_explicit(&connection->phase, phase, memory_order_relaxed);
    /* Beyond its time not even output that is still due may hold it: a peer may never take that. */
    const bool finished =
        (hot->dirty >> number & 1) == 0 && tp_session_finished(connection->session);
    if (connection->ending && (finished || now_ns >= connection->end_by_ns))
        retire(hot, number, now_ns);
}

static void take_refusal(struct tp_hot_path *hot, uint64_t now_ns)
{
    /* Pairs with the release in tp_hot_path_refuse; the value itself is all that is handed over. */
    const uint64_t refused = atomic_exchange_explicit(&hot->refused, 0, memory_order_acquire);
    if (refused == 0)
        return;
    tp_tap_refused(hot->tap, (uint32_t)(refused - 1), now_ns);
    tp_feed_refused(hot->feed, (uint32_t)(refused - 1), now_ns);
}

static void tick_tap(struct tp_hot_path *hot, bool changed, uint64_t now_ns)
{
    uint32_t instrument;
    /* After what the tick did: to replay a tick twice does no harm, and its snapshot comes first.
     */
    if (changed)
        tp_tap_mark(hot->tap, TP_RECORD_TICK, 0, now_ns);
    if (tp_tap_checkpoint_due(hot->tap, tp_feed_instrument_count(hot->feed), now_ns, &instrument))
        tp_feed_checkpoint(hot->feed, instrument, now_ns);
    tp_segment_heartbeat(hot->tap->segment, now_ns);
}

static void tick(struct tp_hot_path *hot, uint64_t now_ns)
{
    hot->next_tick_ns = now_ns + TICK_NS;
    take_refusal(hot, now_ns);
    for (uint32_t number = 0; number < hot->connection_count; number++)
        tick_connection(hot, number, now_ns);
    const bool changed = tp_feed_tick(hot->feed, now_ns);
    if (hot->tap != NULL)
        tick_tap(hot, changed, now_ns);
    tp_segment_heartbeat(hot->segment, now_ns);
    if (hot->gate != NULL)
        tp_ring_gate_tick(hot->gate, now_ns);
    if (hot->netif != NULL && hot->netif->link->error != 0)
        atomic_store_explicit(&hot->link_error, hot->netif->link->error, memory_order_relaxed);
}

static void rest(struct tp_hot_path *hot, uint64_t now_ns)
{
    if (now_ns - hot->last_input_ns >= hot->idle_spin_ns)
        (void)tp_clock_sleep(hot->idle_sleep_ns);
    if (hot->yield_every_ns == 0 || now_ns < hot->next_yield_ns)
        return;
    (void)tp_clock_sleep(hot->yield_for_ns);
    hot->next_yield_ns = now_ns + hot->yield_for_ns + hot->yield_every_ns;
    hot->counters.yields++;
}

/* The books go STALE; every server that still can be reached gets a close frame. Its answer is not
 * waited for. */
static void say_goodbye(struct tp_hot_path *hot, uint64_t now_ns)
{
    for (uint32_t number = 0; number < hot->connection_count; number++) {
        struct tp_hot_path_connection *connection = &hot->connection[number];
        if (!connection->open)
            continue;
        connection_down(hot, number, now_ns);
        tp_session_close(connection->session, CLOSE_GOING_AWAY, now_ns);
        hot->dirty |= UINT64_C(1) << number;
    }
    if (atomic_load_explicit(&hot->link_error, memory_order_relaxed) == 0)
        send_due(hot, now_ns);
}

/* ---- the loop
 * ------------------------------------------------------------------------------------ */

static bool turn(struct tp_hot_path *hot, uint64_t now_ns)
{
    const bool input = hot->netif != NULL ? take_frames(hot, now_ns) : take_sockets(hot, now_ns);
    if (now_ns >= hot->next_tick_ns)
        tick(hot, now_ns);
    if (hot->dirty != 0)
        send_due(hot, now_ns);
    return input;
}

bool tp_hot_path_turn(struct tp_hot_path *hot, uint64_t now_ns)
{
    return turn(hot, now_ns);
}

int tp_hot_path_run(struct tp_hot_path *hot)
{
    hot->last_input_ns = tp_clock_now_ns(hot->clock);
    while (atomic_load_explicit(&hot->stop, memory_order_relaxed) == 0) {
        const uint64_t now_ns = tp_clock_now_ns(hot->clock);
        if (turn(hot, now_ns))
            hot->last_input_ns = now_ns;
        else
            rest(hot, now_ns);
        hot->counters.loops++;
        if (atomic_load_explicit(&hot->link_error, memory_order_relaxed) != 0)
            break;
    }
    say_goodbye(hot, tp_clock_now_ns(hot->clock));
    return atomic_load_explicit(&hot->link_error, memory_order_relaxed);
}

/* ---- the cold thread's side
 * ---------------------------------------------------------------------- */

struct tp_hot_path *tp_hot_path_new(void)
{
    struct tp_hot_path *hot = calloc(1, sizeof *hot);
    if (hot != NULL)
        hot->idle_spin_ns = UINT64_MAX;
    return hot;
}

void tp_hot_path_free(struct tp_hot_path *hot)
{
    free(hot);
}

void tp_hot_path_stop(struct tp_hot_path *hot)
{
    atomic_store_explicit(&hot->stop, 1, memory_order_relaxed);
}

bool tp_hot_path_offer(struct tp_hot_path *hot, uint32_t number, struct tp_session *take_session,
                       struct tp_tcp *tcp, const struct tp_tcp_config *tcp_config)
{
    assert(number < hot->connection_count);
    struct tp_hot_path_connection *connection = &hot->connection[number];
    if (atomic_load_explicit(&connection->offered, memory_order_relaxed) != NULL ||
        atomic_load_explicit(&connection->retired, memory_order_relaxed) != NULL)
        return false;
    connection->tcp = tcp;
    if (tcp != NULL)
        connection->tcp_config = *tcp_config;
    atomic_store_explicit(&connection->phase, TP_SESSION_CONNECTING, memory_order_relaxed);
    /* Pairs with the acquire in adopt_offered. */
    atomic_store_explicit(&connection->offered, take_session, memory_order_release);
    return true;
}

/* Only says that a look is worth it: the takers below order what they read. */
static bool has_something_to_take(const struct tp_hot_path *hot)
{
    for (uint32_t i = 0; i < hot->connection_count; i++)
        if (atomic_load_explicit(&hot->connection[i].retired, memory_order_relaxed) != NULL)
            return true;
    return atomic_load_explicit(&hot->link_error, memory_order_relaxed) != 0 ||
           atomic_load_explicit(&hot->inbox_tail, memory_order_relaxed) !=
               atomic_load_explicit(&hot->inbox_head, memory_order_relaxed);
}

void tp_hot_path_await(const struct tp_hot_path *hot, uint64_t max_ns)
{
    while (!has_something_to_take(hot) && tp_clock_nap(&max_ns)) {
    }
}

struct tp_session *tp_hot_path_take_retired(struct tp_hot_path *hot, uint32_t number)
{
    /* Pairs with the release in retire. */
    return atomic_exchange_explicit(&hot->connection[number].retired, NULL, memory_order_acquire);
}

bool tp_hot_path_refuse(struct tp_hot_path *hot, uint32_t instrument)
{
    uint64_t none = 0;
    return atomic_compare_exchange_strong_explicit(&hot->refused, &none, (uint64_t)instrument + 1,
                                                   memory_order_release, memory_order_relaxed);
}

void tp_hot_path_drop(struct tp_hot_path *hot, uint32_t number)
{
    atomic_store_explicit(&hot->connection[number].drop, 1, memory_order_relaxed);
}

enum tp_session_phase tp_hot_path_phase(const struct tp_hot_path *hot, uint32_t number)
{
    return (enum tp_session_phase)atomic_load_explicit(&hot->connection[number].phase,
                                                       memory_order_relaxed);
}

bool tp_hot_path_take_note(struct tp_hot_path *hot, struct tp_hot_path_note *out)
{
    const uint64_t tail = atomic_load_explicit(&hot->inbox_tail, memory_order_relaxed);
    /* Pairs with the release in note_text. */
    if (tail == atomic_load_explicit(&hot->inbox_head, memory_order_acquire))
        return false;
    *out = hot->inbox[tail & (TP_HOT_PATH_INBOX_COUNT - 1)];
    /* Pairs with the acquire in note_text. */
    atomic_store_explicit(&hot->inbox_tail, tail + 1, memory_order_release);
    return true;
}
