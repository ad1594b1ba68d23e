#include "engine/loop/connection_loop.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t TICK_NS = 200000; /* timers and commands */
enum {
    CLOSE_GOING_AWAY = 1001, /* RFC 6455 7.4.1 */
    /* Of each session OPENED and ENDED may wait; the next one is offered after ENDED was read. */
    LIFE_NOTES = 2,
    OTHER_NOTES = 2, /* as many notes again of each, at least: what is said while it opens */
};
static const uint64_t END_TIMEOUT_NS =
    1000000000; /* an ended session may still deliver its last segments */

static uint32_t life_notes_max(const struct tp_loop *loop)
{
    return LIFE_NOTES * loop->connection_max;
}

static void mark_dirty(struct tp_loop *loop, uint32_t number)
{
    loop->dirty[number / 64] |= UINT64_C(1) << number % 64;
    loop->dirty_words |= UINT64_C(1) << number / 64;
}

static bool is_dirty(const struct tp_loop *loop, uint32_t number)
{
    return (loop->dirty[number / 64] >> number % 64 & 1) != 0;
}

/* ---- a connection's events -------------------------------------------------------------------
 */

static bool give(const struct tp_loop *loop, uint32_t number, enum tp_loop_event_kind kind,
                 struct tp_loop_event *out)
{
    out->kind = kind;
    out->connection = number;
    out->now_ns = loop->now_ns;
    out->arrived_ns = loop->arrived_ns;
    return true;
}

static void note_life(struct tp_loop *loop, const struct tp_loop_connection *connection,
                      enum tp_note_kind kind)
{
    struct tp_note *note = tp_handover_note_claim(&loop->handover, 0);
    assert(note != NULL); /* life_notes_max are kept free of anything else */
    note->kind = kind;
    note->connection = connection->number;
    note->size = 0;
    note->now_ns = loop->now_ns;
    note->session = connection->session;
    tp_handover_note_commit(&loop->handover);
}

static bool opened(struct tp_loop *loop, struct tp_loop_connection *connection,
                   struct tp_loop_event *out)
{
    connection->is_open = true;
    connection->heard_ns = loop->now_ns;
    loop->counters.connects++;
    note_life(loop, connection, TP_NOTE_OPENED);
    return give(loop, connection->number, TP_LOOP_OPENED, out);
}

/* Returns whether the caller has to hear of it: who never heard OPENED does not. */
static bool ended(struct tp_loop *loop, struct tp_loop_connection *connection,
                  struct tp_loop_event *out)
{
    const bool was_open = connection->is_open;
    if (connection->is_ending)
        return false;
    connection->is_open = false;
    connection->is_ending = true;
    connection->end_by_ns = loop->now_ns + END_TIMEOUT_NS;
    if (was_open)
        loop->counters.disconnects++;
    else
        loop->counters.connect_failures++;
    return was_open && give(loop, connection->number, TP_LOOP_DOWN, out);
}

static bool next_before_open(struct tp_loop *loop, struct tp_loop_connection *connection,
                             struct tp_loop_event *out)
{
    const enum tp_session_phase phase = tp_session_phase(connection->session);
    if (connection->is_ending || phase < TP_SESSION_OPEN)
        return false;
    if (phase == TP_SESSION_OPEN)
        return opened(loop, connection, out);
    return ended(loop, connection, out);
}

/* The next event of a connection that was given something to read. */
static inline bool next_of(struct tp_loop *loop, struct tp_loop_connection *connection,
                           struct tp_loop_event *out)
{
    if (!connection->is_open)
        return next_before_open(loop, connection, out);
    const enum tp_status status = connection->is_websocket
                                      ? tp_session_next(connection->session, &out->message)
                                      : tp_session_read(connection->session, &out->message.payload);
    if (status == TP_OK) {
        loop->counters.messages++;
        connection->heard_ns = loop->now_ns;
        return give(loop, connection->number,
                    connection->is_websocket ? TP_LOOP_MESSAGE : TP_LOOP_BYTES, out);
    }
    if (status != TP_NEED_MORE || tp_session_phase(connection->session) >= TP_SESSION_CLOSING)
        return ended(loop, connection, out);
    return false;
}

/* ---- input -----------------------------------------------------------------------------------
 */

/* The owner of the next frame that is somebody's, its session fed with it; NULL: none is left. */
static struct tp_loop_connection *take_frame(struct tp_loop *loop)
{
    while (loop->position < loop->frame_count) {
        struct tp_tcp_segment segment;
        const uint64_t stamp_ns = loop->frame[loop->position].stamp_ns;
        struct tp_loop_connection *connection =
            tp_netif_input(loop->netif, &loop->frame[loop->position++], &segment);
        if (connection == NULL)
            continue;
        tp_session_segment(connection->session, &segment, loop->now_ns);
        /* Of a message of several frames this is the last one's: what made it whole. */
        loop->arrived_ns = tp_hop_zero_of(&loop->hop_zero, stamp_ns, loop->now_ns);
        loop->counters.stamped += loop->arrived_ns != 0;
        mark_dirty(loop, connection->number);
        return connection;
    }
    return NULL;
}

static struct tp_loop_connection *take_socket(struct tp_loop *loop)
{
    while (loop->position < loop->connection_count) {
        struct tp_loop_connection *connection = &loop->connection[loop->position++];
        if (connection->session == NULL || !tp_session_receive(connection->session, loop->now_ns))
            continue;
        loop->has_input = true;
        return connection;
    }
    return NULL;
}

static void end_input(struct tp_loop *loop)
{
    if (loop->has_input && loop->netif != NULL)
        tp_link_rx_release(loop->netif->link, loop->frame, loop->frame_count);
    for (uint32_t number = 0; loop->netif == NULL && number < loop->connection_count; number++) {
        struct tp_session *session = loop->connection[number].session;
        if (session != NULL && tp_stream_pending(tp_session_stream(session)))
            mark_dirty(loop, number);
    }
}

static bool next_input(struct tp_loop *loop, struct tp_loop_event *out)
{
    for (;;) { /* at most TP_LINK_BURST_MAX frames, or every connection's socket once */
        loop->current = loop->netif != NULL ? take_frame(loop) : take_socket(loop);
        if (loop->current == NULL)
            break;
        if (next_of(loop, loop->current, out))
            return true;
    }
    end_input(loop);
    loop->position = 0;
    loop->arrived_ns = 0;
    loop->stage = loop->now_ns >= loop->next_tick_ns ? TP_LOOP_STAGE_COMMANDS : TP_LOOP_STAGE_TURN;
    return false;
}

/* ---- output ----------------------------------------------------------------------------------
 */

/* One kick for all segments that became due: acknowledgements, pongs, messages, retransmissions. */
static void send_due(struct tp_loop *loop)
{
    for (; loop->dirty_words != 0; loop->dirty_words &= loop->dirty_words - 1) {
        const uint32_t word = (uint32_t)__builtin_ctzll(loop->dirty_words);
        for (uint64_t *dirty = &loop->dirty[word]; *dirty != 0; *dirty &= *dirty - 1) {
            const uint32_t number = word * 64 + (uint32_t)__builtin_ctzll(*dirty);
            struct tp_session *session = loop->connection[number].session;
            if (session != NULL && tp_session_output(session, loop->netif, loop->now_ns) > 0)
                loop->needs_kick = true;
        }
    }
    if (loop->needs_kick && loop->netif != NULL)
        (void)tp_link_tx_kick(loop->netif->link); /* an error stays in link->error for the tick */
    loop->needs_kick = false;
}

enum tp_status tp_loop_send(struct tp_loop *loop, uint32_t number, enum tp_ws_opcode opcode,
                            struct tp_span payload, size_t *taken)
{
    if (!loop->connection[number].is_open)
        return TP_CLOSED;
    mark_dirty(loop, number);
    return tp_session_send(loop->connection[number].session, opcode, payload, taken);
}

enum tp_status tp_loop_send_bytes(struct tp_loop *loop, uint32_t number, struct tp_span data,
                                  size_t *taken)
{
    if (!loop->connection[number].is_open)
        return TP_CLOSED;
    mark_dirty(loop, number);
    return tp_session_send_bytes(loop->connection[number].session, data, taken);
}

static void fill_note(struct tp_loop *loop, struct tp_note *note, enum tp_note_kind kind,
                      uint32_t number, struct tp_span text)
{
    note->kind = kind;
    note->connection = number;
    note->size = (uint32_t)text.size;
    note->now_ns = loop->now_ns;
    note->session = NULL;
    memcpy(note->text, text.data,
           text.size < TP_HANDOVER_TEXT_MAX ? text.size : TP_HANDOVER_TEXT_MAX);
    tp_handover_note_commit(&loop->handover);
}

void tp_loop_note_text(struct tp_loop *loop, uint32_t number, struct tp_span text)
{
    loop->counters.text_messages++;
    struct tp_note *note = tp_handover_note_claim(&loop->handover, life_notes_max(loop));
    if (note == NULL)
        loop->counters.inbox_full++;
    else
        fill_note(loop, note, TP_NOTE_TEXT, number, text);
}

void tp_loop_show(struct tp_loop *loop, enum tp_note_kind kind, uint32_t number,
                  struct tp_span message)
{
    const uint32_t life = life_notes_max(loop);
    struct tp_note *note =
        tp_handover_note_claim(&loop->handover, life + (loop->handover.note_count - life) / 2);
    if (note != NULL)
        fill_note(loop, note, kind, number, message);
}

/* ---- every TICK_NS ---------------------------------------------------------------------------
 */

static void connect_session(struct tp_loop *loop, const struct tp_command *command)
{
    struct tp_loop_connection *connection = &loop->connection[command->connection];
    assert(connection->session == NULL); /* the next one is offered after ENDED was read */
    *connection = (struct tp_loop_connection){
        .session = command->session,
        .number = command->connection,
        .is_websocket = tp_session_is_websocket(command->session),
        .silent_drop_ns = command->silent_drop_ns,
    };
    if (command->tcp != NULL) {
        connection->flow =
            tp_netif_bind(loop->netif, &command->tcp_config, command->tcp, connection);
        assert(connection->flow != NULL); /* the cold thread owns the ports and never offers one
                                             twice */
        tp_netif_next_hop(connection->flow, command->next_hop_mac);
        tp_session_set_flow(connection->session, connection->flow);
    }
    tp_session_connect(connection->session, loop->now_ns);
}

static void drop_session(struct tp_loop *loop, uint32_t number)
{
    struct tp_session *session = loop->connection[number].session;
    if (session != NULL)
        tp_session_abort(session);
}

/* Takes up to TP_LOOP_COMMANDS_PER_TICK commands; position counts them. */
static bool next_command(struct tp_loop *loop, struct tp_loop_event *out)
{
    const struct tp_command *command;
    while (loop->position < TP_LOOP_COMMANDS_PER_TICK && !loop->is_stopping &&
           (command = tp_handover_command_peek(&loop->handover)) != NULL) {
        const enum tp_command_kind kind = command->kind;
        assert(kind == TP_COMMAND_STOP || command->connection < loop->connection_count);
        switch (kind) {
        case TP_COMMAND_CONNECT:
            connect_session(loop, command);
            break;
        case TP_COMMAND_DROP:
            drop_session(loop, command->connection);
            break;
        case TP_COMMAND_STOP:
            loop->is_stopping = true;
            break;
        case TP_COMMAND_CALLER:
            give(loop, command->connection, TP_LOOP_COMMAND, out);
            out->verb = command->verb;
            out->argument = command->argument;
            out->text = command->text;
            break;
        }
        tp_handover_command_release(&loop->handover);
        loop->position++;
        if (kind == TP_COMMAND_CALLER)
            return true;
    }
    loop->position = 0;
    loop->stage = loop->is_stopping ? TP_LOOP_STAGE_GOODBYE : TP_LOOP_STAGE_CONNECTIONS;
    return false;
}

/* Gives an ended session back to the cold thread. */
static void retire(struct tp_loop *loop, struct tp_loop_connection *connection)
{
    if (!tp_session_finished(connection->session)) { /* RST: the peer must not keep half of it */
        tp_session_abort(connection->session);
        if (tp_session_output(connection->session, loop->netif, loop->now_ns) > 0)
            loop->needs_kick = true;
    }
    if (connection->flow != NULL)
        tp_netif_unbind(connection->flow);
    note_life(loop, connection, TP_NOTE_ENDED);
    connection->flow = NULL;
    connection->session = NULL;
}

/* What time alone does to a connection. Asked again until it has no event left. */
static bool tick_connection(struct tp_loop *loop, struct tp_loop_connection *connection,
                            struct tp_loop_event *out)
{
    const uint64_t now_ns = loop->now_ns;
    struct tp_session *session = connection->session;
    if (session == NULL)
        return false;
    /* A half-open connection never tells: only its silence does. */
    if (connection->is_open && connection->silent_drop_ns != 0 &&
        now_ns - connection->heard_ns > connection->silent_drop_ns)
        tp_session_give_up(session, "silent for too long");
    if (now_ns >= tp_session_deadline(session)) {
        tp_session_tick(session, now_ns);
        mark_dirty(loop, connection->number);
    }
    /* It may have ended, or a handshake that a worker did: then it is open, and bytes may be there.
     */
    if (next_of(loop, connection, out))
        return true;
    /* Beyond its time not even output that is still due may hold it: a peer may never take that. */
    const bool finished = !is_dirty(loop, connection->number) && tp_session_finished(session);
    if (connection->is_ending && (finished || now_ns >= connection->end_by_ns))
        retire(loop, connection);
    return false;
}

static bool next_timer(struct tp_loop *loop, struct tp_loop_event *out)
{
    for (; loop->position < loop->connection_count; loop->position++)
        if (tick_connection(loop, &loop->connection[loop->position], out))
            return true;
    loop->next_tick_ns = loop->now_ns + TICK_NS;
    if (loop->netif != NULL)
        loop->error = loop->netif->link->error;
    loop->position = 0;
    loop->is_stopping = loop->error != 0;
    loop->stage = loop->is_stopping ? TP_LOOP_STAGE_GOODBYE : TP_LOOP_STAGE_TICK;
    return false;
}

/* The last turn: every open connection is down, and its server, if it still can be reached, gets a
 * close frame, whose answer is not waited for. */
static bool next_goodbye(struct tp_loop *loop, struct tp_loop_event *out)
{
    while (loop->position < loop->connection_count) {
        struct tp_loop_connection *connection = &loop->connection[loop->position++];
        if (!connection->is_open)
            continue;
        tp_session_close(connection->session, CLOSE_GOING_AWAY, loop->now_ns);
        mark_dirty(loop, connection->number);
        return ended(loop, connection, out);
    }
    loop->stage = TP_LOOP_STAGE_TICK;
    return false;
}

/* ---- the turn --------------------------------------------------------------------------------
 */

static void end_turn(struct tp_loop *loop)
{
    if (loop->dirty_words != 0 || loop->needs_kick)
        send_due(loop); /* a link that is gone takes no frame and makes no call */
    loop->stage = TP_LOOP_STAGE_OVER;
    loop->is_stopped = loop->is_stopping;
    if (loop->is_stopped)
        tp_handover_leave(&loop->handover);
}

/* The stages that a turn reaches once or less. */
static bool next_of_stage(struct tp_loop *loop, struct tp_loop_event *out)
{
    for (;;) { /* stages only follow each other: at most seven rounds */
        switch (loop->stage) {
        case TP_LOOP_STAGE_INPUT:
            if (next_input(loop, out))
                return true;
            break;
        case TP_LOOP_STAGE_COMMANDS:
            if (next_command(loop, out))
                return true;
            break;
        case TP_LOOP_STAGE_CONNECTIONS:
            if (next_timer(loop, out))
                return true;
            break;
        case TP_LOOP_STAGE_GOODBYE:
            if (next_goodbye(loop, out))
                return true;
            break;
        case TP_LOOP_STAGE_TICK:
            tp_handover_wake(&loop->handover);
            if (loop->handshake_worker != NULL)
                tp_tls_handshake_worker_wake(loop->handshake_worker);
            loop->stage = TP_LOOP_STAGE_TURN;
            return give(loop, 0, TP_LOOP_TICK, out);
        case TP_LOOP_STAGE_TURN:
            loop->stage = TP_LOOP_STAGE_OUTPUT;
            return give(loop, 0, TP_LOOP_TURN, out);
        case TP_LOOP_STAGE_OUTPUT:
            end_turn(loop);
            return false;
        case TP_LOOP_STAGE_OVER:
            return false;
        }
    }
}

bool tp_loop_next(struct tp_loop *loop, struct tp_loop_event *out)
{
    if (loop->current != NULL) { /* most events by far */
        if (next_of(loop, loop->current, out))
            return true;
        loop->current = NULL;
    }
    return next_of_stage(loop, out);
}

bool tp_loop_begin(struct tp_loop *loop, uint64_t now_ns)
{
    assert(loop->stage == TP_LOOP_STAGE_OVER);
    if (loop->is_stopped)
        return false;
    loop->now_ns = now_ns;
    loop->stage = TP_LOOP_STAGE_INPUT;
    loop->position = 0;
    loop->has_input = false;
    loop->counters.loops++;
    if (loop->netif == NULL)
        return true;
    loop->frame_count = tp_link_rx_burst(loop->netif->link, loop->frame, TP_LINK_BURST_MAX);
    loop->has_input = loop->frame_count > 0;
    loop->counters.bursts += loop->has_input;
    loop->counters.frames += loop->frame_count;
    return true;
}

static void measure_turn(struct tp_loop *loop, uint64_t took_ns)
{
    loop->counters.long_turns += took_ns > TICK_NS;
    if (took_ns > loop->counters.turn_ns_max)
        loop->counters.turn_ns_max = took_ns;
    /* Who asks exchanges it for 0: either this turn is in his answer or in the next. */
    if (took_ns > atomic_load_explicit(&loop->longest_turn_ns, memory_order_relaxed))
        atomic_store_explicit(&loop->longest_turn_ns, took_ns, memory_order_relaxed);
}

/* Returns whether it slept. */
static bool rest(struct tp_loop *loop, uint64_t now_ns)
{
    bool slept = false;
    if (now_ns - loop->last_input_ns >= loop->idle_spin_ns) {
        (void)tp_clock_sleep(loop->idle_sleep_ns);
        slept = true;
    }
    if (loop->yield_every_ns == 0 || now_ns < loop->next_yield_ns)
        return slept;
    (void)tp_clock_sleep(loop->yield_for_ns);
    loop->next_yield_ns = now_ns + loop->yield_for_ns + loop->yield_every_ns;
    loop->counters.yields++;
    return true;
}

bool tp_loop_again(struct tp_loop *loop)
{
    uint64_t now_ns = tp_clock_now_ns(loop->clock);
    if (loop->counters.loops == 0)
        loop->last_input_ns = now_ns;
    else
        measure_turn(loop, now_ns - loop->now_ns);
    if (loop->has_input)
        loop->last_input_ns = loop->now_ns;
    else if (!loop->is_stopped && rest(loop, now_ns))
        now_ns = tp_clock_now_ns(loop->clock);
    return tp_loop_begin(loop, now_ns);
}

/* ---- the cold side ---------------------------------------------------------------------------
 */

struct tp_loop *tp_loop_new(uint32_t connection_max)
{
    assert(connection_max >= 1 && connection_max <= TP_LOOP_CONNECTION_MAX);
    struct tp_loop *loop = aligned_alloc(_Alignof(struct tp_loop), sizeof *loop);
    if (loop == NULL)
        return NULL;
    memset(loop, 0, sizeof *loop);
    loop->idle_spin_ns = UINT64_MAX;
    loop->stage = TP_LOOP_STAGE_OVER;
    loop->connection_max = connection_max;
    if (tp_handover_init(&loop->handover, (LIFE_NOTES + OTHER_NOTES) * connection_max) == 0)
        return loop;
    free(loop);
    return NULL;
}

size_t tp_loop_size(uint32_t connection_max)
{
    size_t notes = TP_HANDOVER_NOTE_COUNT;
    while (notes < (size_t)(LIFE_NOTES + OTHER_NOTES) * connection_max)
        notes *= 2;
    return sizeof(struct tp_loop) + notes * sizeof(struct tp_note);
}

void tp_loop_free(struct tp_loop *loop)
{
    if (loop == NULL)
        return;
    tp_handover_deinit(&loop->handover);
    free(loop);
}

void tp_loop_stop(struct tp_loop *loop)
{
    /* False only where STOP is already there: the last slot is kept for it. */
    (void)tp_handover_command(&loop->handover, &(struct tp_command){.kind = TP_COMMAND_STOP});
}

uint64_t tp_loop_longest_turn_ns(struct tp_loop *loop)
{
    return atomic_exchange_explicit(&loop->longest_turn_ns, 0, memory_order_relaxed);
}
