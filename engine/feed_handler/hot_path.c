#include "engine/feed_handler/hot_path.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/feed/checkpoint.h"
#include "engine/feed/race.h"
#include "engine/feed/rescale.h"
#include "engine/feed/rows.h"
#include "engine/feed/trading.h"

enum { REFUSED_EVERY_NS = 10000000 };

/* ---- what a connection says ------------------------------------------------------------------ */

static void send_text(struct tp_hot_path *hot, uint32_t number, struct tp_span text,
                      uint64_t now_ns)
{
    size_t taken =
        0; /* a fresh send buffer holds all subscriptions; a peer that reads nothing fills it */
    if (tp_loop_send(hot->loop, number, TP_WS_TEXT, text, &taken) == TP_OK) {
        tp_tap_message(hot->tap, tp_tap_tag(TP_RECORD_OUT, TP_WS_TEXT, number), text, now_ns);
        return;
    }
    hot->loop->counters.texts_unsent++;
    /* A message that has begun must be ended before another one (RFC 6455 5.4), and nobody comes
     * back to this one: what is said after it would be read as its rest. */
    if (taken != 0)
        tp_session_give_up(hot->loop->connection[number].session,
                           "no room for the rest of a message of ours");
}

static void send_pings(struct tp_hot_path *hot, uint64_t now_ns)
{
    for (uint32_t number = 0; number < hot->loop->connection_count; number++) {
        struct tp_hot_path_connection *connection = &hot->connection[number];
        if (now_ns < connection->next_ping_ns || connection->next_ping_ns == 0)
            continue;
        send_text(hot, number, connection->ping_message, now_ns);
        connection->next_ping_ns = now_ns + connection->ping_interval_ns;
    }
}

/* ---- what the loop returns ------------------------------------------------------------------- */

static void connection_opened(struct tp_hot_path *hot, uint32_t number, uint64_t now_ns)
{
    struct tp_hot_path_connection *connection = &hot->connection[number];
    for (uint32_t i = 0; i < connection->open_message_count; i++)
        send_text(hot, number, connection->open_message[i], now_ns);
    if (connection->ping_message.data != NULL)
        connection->next_ping_ns = now_ns + connection->ping_interval_ns;
    tp_tap_mark(hot->tap, tp_tap_tag(TP_RECORD_UP, hot->needs_confirmation, number), now_ns);
    tp_feed_connection_up(hot->feed, number, now_ns);
}

static void connection_down(struct tp_hot_path *hot, uint32_t number, uint64_t now_ns)
{
    hot->connection[number].next_ping_ns = 0;
    tp_tap_mark(hot->tap, tp_tap_tag(TP_RECORD_DOWN, 0, number), now_ns);
    tp_feed_connection_down(hot->feed, number, now_ns);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* One that was accepted, now and then: so a change of the venue's format is noticed (canary.py). */
static void show_sample(struct tp_hot_path *hot, const struct tp_loop_event *event,
                        struct tp_span text)
{
    if (event->message.opcode > TP_WS_BINARY || text.size > TP_HANDOVER_TEXT_MAX)
        return; /* no venue's message, or one that would be cut: the next one */
    hot->next_sample_ns = event->now_ns + hot->sample_every_ns;
    tp_loop_show(hot->loop, TP_NOTE_SAMPLE, event->connection, text);
}

/* What the cold side is to see besides its notes: what was refused or is nobody's, 100 a second at
 * most, and a sample; and what is to be rehearsed. Out of line: few messages come here. */
static __attribute__((noinline, cold)) void hand_over(struct tp_hot_path *hot,
                                                      const struct tp_loop_event *event,
                                                      struct tp_span text,
                                                      enum tp_feed_result result)
{
    const uint32_t number = event->connection;
    const uint64_t now_ns = event->now_ns;
    if (result == TP_FEED_NOTE) {
        tp_loop_note_text(hot->loop, number, text);
        return;
    }
    if (result >= TP_FEED_UNKNOWN) {
        if (now_ns < hot->next_refused_ns)
            return;
        hot->next_refused_ns = now_ns + REFUSED_EVERY_NS;
        tp_loop_show(hot->loop, result == TP_FEED_BROKEN ? TP_NOTE_REFUSED : TP_NOTE_SAMPLE, number,
                     text);
        return;
    }
    if (now_ns >= hot->next_sample_ns)
        show_sample(hot, event, text);
    hot->next_look_ns = hot->next_sample_ns;
    if (hot->rehearsal == NULL)
        return;
    if (result == TP_FEED_APPLIED && now_ns >= hot->rehearsal->next_note_ns)
        tp_rehearsal_note(hot->rehearsal, hot, event, text);
    hot->next_look_ns = earlier(hot->next_look_ns, hot->rehearsal->next_note_ns);
}

/* What a message of a venue's says: pings and the like are the connection's, and never packed. */
static inline struct tp_span text_of(struct tp_hot_path *hot, const struct tp_loop_event *event)
{
    struct tp_span text = event->message.payload;
    if (hot->inflate != NULL && hot->connection[event->connection].is_packed &&
        event->message.opcode <= TP_WS_BINARY)
        hot->loop->counters.not_inflated +=
            tp_inflate_message(hot->inflate, &text) == TP_INFLATED_REFUSED;
    return text;
}

/* The tap comes after the feed: recording must not delay book or strategy. It has what the feed
 * had. */
static void message(struct tp_hot_path *hot, const struct tp_loop_event *event)
{
    const uint32_t number = event->connection;
    const uint64_t received_ns = event->now_ns;
    const uint8_t opcode = (uint8_t)event->message.opcode;
    const struct tp_span text = text_of(hot, event);
    if (event->arrived_ns != 0)
        tp_feed_arrived(hot->feed, event->arrived_ns);
    const enum tp_feed_result result =
        tp_feed_message(hot->feed, number, opcode, text, received_ns);
    if (event->arrived_ns != 0)
        tp_feed_arrived(hot->feed, 0);
    tp_native_follow(hot->strategies);
    tp_tap_message(hot->tap, tp_tap_tag(TP_RECORD_IN, opcode, number), text, received_ns);
    if (result >= TP_FEED_UNKNOWN || received_ns >= hot->next_look_ns)
        hand_over(hot, event, text, result);
}

/* What the venue answered, or did not, on a connection, of an instrument. */
static void instrument_refused(struct tp_hot_path *hot, const struct tp_loop_event *event)
{
    const uint32_t instrument = (uint32_t)event->argument, connection = event->connection;
    tp_tap_answer(hot->tap, tp_tap_tag(TP_RECORD_REFUSED, 0, connection), instrument,
                  event->now_ns);
    tp_feed_refused_on(hot->feed, connection, instrument, event->now_ns);
}

static void instrument_confirmed(struct tp_hot_path *hot, const struct tp_loop_event *event)
{
    const uint32_t instrument = (uint32_t)event->argument, connection = event->connection;
    tp_tap_answer(hot->tap, tp_tap_tag(TP_RECORD_CONFIRMED, 0, connection), instrument,
                  event->now_ns);
    tp_feed_confirmed_on(hot->feed, connection, instrument, event->now_ns);
}

/* One that the feed refuses was seen to be sound by the cold thread: it changed nothing. */
static void row_changed(struct tp_hot_path *hot, struct tp_span text, uint64_t now_ns)
{
    struct tp_feed_row row;
    assert(text.size == sizeof row);
    memcpy(&row, text.data, sizeof row);
    tp_tap_message(hot->tap, tp_tap_tag(TP_RECORD_ROW, 0, row.connection), text, now_ns);
    hot->rows_refused += !tp_feed_row_take(hot->feed, &row, now_ns);
}

static void instrument_listed(struct tp_hot_path *hot, struct tp_span text, uint64_t now_ns)
{
    struct tp_feed_listing listing;
    assert(text.size == sizeof listing);
    memcpy(&listing, text.data, sizeof listing);
    tp_tap_message(hot->tap, tp_tap_tag(TP_RECORD_LISTED, 0, 0), text, now_ns);
    (void)tp_feed_list_status(hot->feed, &listing, now_ns);
}

static void instrument_rescaled(struct tp_hot_path *hot, struct tp_span text, uint64_t now_ns)
{
    struct tp_record_scale to;
    assert(text.size == sizeof to);
    memcpy(&to, text.data, sizeof to);
    const struct tp_feed_scale scale = {.tick_size = to.tick_size,
                                        .generation = to.generation,
                                        .price_exponent = to.price_exponent,
                                        .quantity_exponent = to.quantity_exponent};
    tp_tap_scale(hot->tap, &to, now_ns);
    (void)tp_feed_rescale(hot->feed, to.instrument, &scale, now_ns); /* it may have left */
}

/* The books are where they go on in the same turn, before another message may change that. */
static void let_go(struct tp_hot_path *hot, uint32_t number, uint64_t now_ns)
{
    const struct tp_loop_connection *connection = &hot->loop->connection[number];
    if (connection->is_open && tp_feed_may_leave(hot->feed, number, now_ns))
        tp_session_abort(connection->session);
}

static void command(struct tp_hot_path *hot, const struct tp_loop_event *event)
{
    switch ((enum tp_hot_path_verb)event->verb) {
    case TP_HOT_PATH_REFUSED:
        instrument_refused(hot, event);
        break;
    case TP_HOT_PATH_CONFIRMED:
        instrument_confirmed(hot, event);
        break;
    case TP_HOT_PATH_OVERDUE:
        if (tp_feed_is_unconfirmed_on(hot->feed, event->connection, (uint32_t)event->argument))
            instrument_refused(hot, event);
        break;
    case TP_HOT_PATH_LISTED:
        instrument_listed(hot, event->text, event->now_ns);
        break;
    case TP_HOT_PATH_SAY:
        send_text(hot, event->connection, event->text, event->now_ns);
        break;
    case TP_HOT_PATH_ROW:
        row_changed(hot, event->text, event->now_ns);
        break;
    case TP_HOT_PATH_RESCALE:
        instrument_rescaled(hot, event->text, event->now_ns);
        break;
    case TP_HOT_PATH_LET_GO:
        let_go(hot, event->connection, event->now_ns);
        break;
    }
}

static void tick_tap(struct tp_hot_path *hot, bool changed, uint64_t now_ns)
{
    uint32_t instrument;
    /* After what the tick did: to replay a tick twice does no harm, and its snapshot comes first.
     */
    if (changed)
        tp_tap_mark(hot->tap, tp_tap_tag(TP_RECORD_TICK, 0, 0), now_ns);
    if (tp_tap_checkpoint_due(hot->tap, tp_feed_instrument_count(hot->feed), now_ns, &instrument))
        tp_feed_checkpoint(hot->feed, instrument, now_ns);
    tp_segment_heartbeat(hot->tap->segment, now_ns);
}

static void tick(struct tp_hot_path *hot, uint64_t now_ns)
{
    send_pings(hot, now_ns);
    const bool changed = tp_feed_tick(hot->feed, now_ns);
    if (tp_feed_take_wanted(hot->feed)) {
        tp_handover_call(&hot->loop->handover);
        tp_handover_wake(&hot->loop->handover); /* a book waits: not at the next tick */
    }
    if (hot->tap != NULL)
        tick_tap(hot, changed, now_ns);
    tp_segment_heartbeat(hot->segment, now_ns);
    if (hot->gate != NULL)
        tp_ring_gate_tick(hot->gate, now_ns);
}

/* ---- the loop -------------------------------------------------------------------------------- */

/* Out of line, so that a rehearsal runs the very same instructions. */
__attribute__((noinline)) void tp_hot_path_handle(struct tp_hot_path *hot,
                                                  const struct tp_loop_event *event)
{
    switch (event->kind) {
    case TP_LOOP_MESSAGE:
        message(hot, event);
        break;
    case TP_LOOP_OPENED:
        connection_opened(hot, event->connection, event->now_ns);
        break;
    case TP_LOOP_DOWN:
        connection_down(hot, event->connection, event->now_ns);
        break;
    case TP_LOOP_COMMAND:
        command(hot, event);
        break;
    case TP_LOOP_TICK:
        tick(hot, event->now_ns);
        break;
    case TP_LOOP_BYTES: /* no plain session is offered to a feed handler */
    case TP_LOOP_TURN:
        break;
    }
    tp_native_follow(hot->strategies); /* what others than messages published */
}

static void take_turn(struct tp_hot_path *hot)
{
    struct tp_loop_event event;
    while (tp_loop_next(hot->loop, &event)) /* ends with the burst; then its ACKs leave */
        tp_hot_path_handle(hot, &event);
    if (hot->rehearsal != NULL && !hot->loop->has_input)
        tp_rehearsal_idle(hot->rehearsal, hot, hot->loop->now_ns);
}

bool tp_hot_path_turn(struct tp_hot_path *hot, uint64_t now_ns)
{
    if (!tp_loop_begin(hot->loop, now_ns))
        return false;
    take_turn(hot);
    return true;
}

int tp_hot_path_run(struct tp_hot_path *hot)
{
    while (tp_loop_again(hot->loop))
        take_turn(hot);
    return hot->loop->error;
}

struct tp_hot_path *tp_hot_path_new(void)
{
    struct tp_hot_path *hot = calloc(1, sizeof *hot);
    if (hot != NULL)
        hot->next_look_ns = hot->next_sample_ns = UINT64_MAX;
    return hot;
}

void tp_hot_path_free(struct tp_hot_path *hot)
{
    free(hot);
}
