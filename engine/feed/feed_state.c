/* All that happens to a book besides messages: connections, silence, bases, resyncs. Which state
 * follows which is the table of states.h. Hot path's thread. */
#include <assert.h>

#include "engine/feed/publish.h"
#include "engine/feed/states.h"
#include "engine/feed/verify.h"
#include "engine/recording/tap.h"

static const uint64_t CROSSED_SCAN_NS = 100000000; /* how often crossed books are looked for */

enum tp_book_state feed_book_state(const struct feed_instrument *instrument)
{
    return tp_book_crossed(instrument->book) ? TP_BOOK_CROSSED : TP_BOOK_LIVE;
}

enum tp_sync_reason feed_book_reason(enum tp_book_state state)
{
    return state == TP_BOOK_CROSSED ? TP_SYNC_REASON_CROSSED : TP_SYNC_REASON_NONE;
}

bool feed_enter(struct tp_feed *feed, uint32_t index, enum tp_book_state state,
                enum tp_sync_reason reason, uint64_t now_ns)
{
    struct feed_instrument *instrument = &feed->instruments[index];
    if (instrument->state == state && instrument->reason == reason)
        return false;
    if (state == TP_BOOK_CROSSED && instrument->state != TP_BOOK_CROSSED) {
        feed->counters.crossed++;
        feed->crossed_count++;
        feed->histories[index].crossed_since_ns = now_ns;
        instrument->crossed_messages = 0;
    }
    if (state != TP_BOOK_CROSSED && instrument->state == TP_BOOK_CROSSED)
        feed->crossed_count--;
    instrument->state = (uint8_t)state;
    instrument->reason = (uint8_t)reason;
    return true;
}

static void enter_and_publish(struct tp_feed *feed, uint32_t index, enum tp_book_state state,
                              enum tp_sync_reason reason, uint64_t now_ns)
{
    if (feed_enter(feed, index, state, reason, now_ns))
        feed_publish(feed, &(struct feed_change){.instrument = index,
                                                 .state_changed = true,
                                                 .received_ns = now_ns,
                                                 .decoded_ns = now_ns});
}

static enum tp_feed_place place_of(const struct feed_instrument *instrument)
{
    switch ((enum tp_book_state)instrument->state) {
    case TP_BOOK_SYNCING:
        return TP_PLACE_SYNCING;
    case TP_BOOK_LIVE:
        return TP_PLACE_LIVE;
    case TP_BOOK_CROSSED:
        return TP_PLACE_CROSSED;
    case TP_BOOK_STALE:
        break;
    }
    if (instrument->reason == TP_SYNC_REASON_REFUSED)
        return TP_PLACE_REFUSED;
    if (instrument->reason == TP_SYNC_REASON_HALTED)
        return TP_PLACE_HALTED;
    if (instrument->reason == TP_SYNC_REASON_UNVERIFIED)
        return TP_PLACE_QUIET;
    return instrument->reason == TP_SYNC_REASON_SILENT ? TP_PLACE_SILENT : TP_PLACE_RETIRED;
}

/* Goes where the table says, and publishes it. reason: the event's own. */
static void move(struct tp_feed *feed, uint32_t index, enum tp_feed_event event,
                 enum tp_sync_reason reason, uint64_t now_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    switch (tp_feed_next(place_of(instrument), event)) {
    case TP_MOVE_STAY:
        return;
    case TP_MOVE_SYNCING:
        enter_and_publish(feed, index, TP_BOOK_SYNCING, reason, now_ns);
        return;
    case TP_MOVE_STALE:
        enter_and_publish(feed, index, TP_BOOK_STALE, reason, now_ns);
        return;
    case TP_MOVE_BY_LEVELS: {
        const enum tp_book_state state = feed_book_state(instrument);
        enter_and_publish(feed, index, state, feed_book_reason(state), now_ns);
        return;
    }
    }
}

void feed_move(struct tp_feed *feed, uint32_t index, enum tp_feed_event event,
               enum tp_sync_reason reason, uint64_t now_ns)
{
    move(feed, index, event, reason, now_ns);
}

/* A base in-band is a message of the channel: it confirms it, and is asked for by subscribing. */
static bool must_be_confirmed(const struct feed_instrument *instrument)
{
    return (instrument->flags & FEED_UNCONFIRMED) != 0 && instrument->rule->base != TP_BASE_IN_BAND;
}

void feed_want(struct tp_feed *feed, uint32_t index)
{
    if (must_be_confirmed(&feed->instruments[index]))
        return; /* it could miss what changes before the stream begins; wanted when it is */
    if (feed->histories[index].is_misscaled)
        return; /* its numbers would not fit either; wanted once the scale was moved */
    if (feed_must_hear(feed, index))
        return; /* it could miss what was lost; wanted once a message is kept */
    feed->instruments[index].flags |= FEED_WANTED;
    feed_verify_forget(feed, index);
    tp_mailbox_want(feed_mailbox(feed, index), index, TP_REQUEST_BASE);
}

void feed_want_nothing(struct tp_feed *feed, uint32_t index)
{
    feed->instruments[index].flags &= (uint8_t)~FEED_WANTED;
    tp_mailbox_cancel(feed_mailbox(feed, index), index);
}

/* What a book waits for that begins anew. */
static enum tp_sync_reason first_reason(const struct feed_history *history)
{
    if (history->is_misscaled)
        return TP_SYNC_REASON_SCALE;
    return history->deaf ? TP_SYNC_REASON_SILENT : TP_SYNC_REASON_STARTING;
}

/* Messages are kept from now on. */
static void buffer(struct tp_feed *feed, uint32_t index)
{
    const bool was_followed = feed->instruments[index].phase != TP_SYNC_BUFFERING;
    feed->instruments[index].phase = TP_SYNC_BUFFERING;
    feed->instruments[index].flags &= (uint8_t) ~(FEED_KEEPING | FEED_DOUBTED);
    feed->histories[index].skipped = 0;
    feed_verify_forget(feed, index);
    if (feed->races != NULL && was_followed)
        feed_race_scatter(feed, index);
}

/* The same, and empties the backlog. */
static void start_buffering(struct tp_feed *feed, uint32_t index)
{
    buffer(feed, index);
    tp_backlog_clear(&feed->pool, &feed->backlogs[index]);
}

void feed_hold(struct tp_feed *feed, uint32_t index, enum tp_sync_reason reason, uint64_t now_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    /* Whoever fetches a base already must not be sent off anew by each broken message. */
    const bool asked =
        instrument->phase == TP_SYNC_BUFFERING && (instrument->flags & FEED_WANTED) != 0;
    feed->counters.resyncs++;
    buffer(feed, index);
    if (!asked)
        feed_want(feed, index);
    move(feed, index, TP_FEED_EVENT_LOST, reason, now_ns);
}

void feed_resync(struct tp_feed *feed, uint32_t index, enum tp_sync_reason reason, uint64_t now_ns)
{
    tp_backlog_clear(&feed->pool, &feed->backlogs[index]);
    feed_hold(feed, index, reason, now_ns);
}

/* Old messages that follow each other are a numbering that goes on a little further back, or a
 * venue that says a part again: nothing tells which, and soon one of them would be the next. */
static bool goes_on_behind(const struct feed_instrument *instrument, struct feed_history *history,
                           uint64_t number)
{
    const bool goes_on = instrument->phase == TP_SYNC_FOLLOWING &&
                         history->repeated_at == instrument->version && number > history->repeated;
    history->repeated = number;
    history->repeated_at = instrument->version;
    return goes_on;
}

/* Within what was received: its number is not below all of them, and it is not long ago that the
 * book had a newer one. A stream that is behind its base sends older ones, for as long at most. */
bool feed_is_duplicate(struct tp_feed *feed, uint32_t index, uint64_t received_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    struct feed_history *history = &feed->histories[index];
    const uint64_t number = feed->update->last_version;
    if (instrument->version < history->lowest) /* a chain that may go down did */
        history->lowest = instrument->version;
    if (received_ns > instrument->received_ns &&
        received_ns - instrument->received_ns > FEED_OLD_NS_MAX)
        return false;
    if (number >= history->lowest)
        return !goes_on_behind(instrument, history, number);
    if (instrument->phase != TP_SYNC_FIRST || history->lowest != instrument->version)
        return false;
    history->lowest = number; /* the first that came, and those that follow it are higher */
    return true;
}

void feed_reset(struct tp_feed *feed, uint32_t index, uint64_t now_ns)
{
    struct feed_instrument *instrument = &feed->instruments[index];
    feed->counters.resets++;
    instrument->flags &=
        (uint8_t)~FEED_WANTED; /* what is fetched now may be of the old numbering */
    instrument->version = 0;
    feed->histories[index].lowest = UINT64_MAX;
    feed_resync(feed, index, TP_SYNC_REASON_RESET, now_ns);
}

bool feed_is_reset(struct tp_feed *feed, uint32_t index, struct tp_span body)
{
    return feed_decode(feed, &feed->instruments[index], body, TP_MEANING_DELTA) == TP_DECODE_OK &&
           feed->update->last_version < feed->histories[index].doubted;
}

/* A base was older than what must follow it, which begins at `number`. */
static void doubt(struct tp_feed *feed, uint32_t index, uint64_t number)
{
    feed->instruments[index].flags |= FEED_DOUBTED;
    feed->histories[index].doubted = number;
}

/* A stream of messages begins, which a base must meet. One that is deaf stays so on the same
 * connection: only a message shows that it brings something. */
static void begin(struct tp_feed *feed, uint32_t index, uint8_t flags)
{
    struct feed_instrument *instrument = &feed->instruments[index];
    const bool is_deaf = feed->histories[index].deaf;
    instrument->flags = flags | (is_deaf ? FEED_UNCONFIRMED : 0);
    feed->histories[index].lowest = UINT64_MAX;
    start_buffering(feed, index);
    /* The version stays: a base below what was shown before is an old one, until a message of
     * this connection shows that the venue numbers anew. */
    if (instrument->version != 0)
        doubt(feed, index, instrument->version);
    tp_mailbox_cancel(feed_mailbox(feed, index), index);
    if (is_deaf)
        tp_mailbox_want(feed_mailbox(feed, index), index, TP_REQUEST_ANEW);
}

void feed_start(struct tp_feed *feed, uint32_t index, uint64_t now_ns)
{
    feed_forget_stream(feed, index, now_ns);
    feed_restart(feed, index, now_ns);
}

void feed_restart(struct tp_feed *feed, uint32_t index, uint64_t now_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    struct feed_connection *connection = &feed->connections[instrument->connection];
    /* An in-band base comes by itself. Never sooner than who came before is asked for. */
    const uint64_t settle_ns =
        now_ns + (instrument->rule->base == TP_BASE_IN_BAND ? feed->config.base_timeout_ns
                                                            : feed->config.settle_ns);
    if (connection->settle_ns < settle_ns)
        connection->settle_ns = settle_ns;
    const uint8_t asked = feed->config.needs_confirmation ? FEED_UNCONFIRMED : 0;
    feed->histories[index].deaf = false;
    feed->histories[index].suspicions = 0;
    begin(feed, index, FEED_ADDED | FEED_ACTIVE | asked);
    feed->histories[index].is_lost = false; /* as much may have been missed since */
    if (feed_is_halted(&feed->histories[index]))
        feed_halt(feed, index, now_ns);
    else
        move(feed, index, TP_FEED_EVENT_UP, first_reason(&feed->histories[index]), now_ns);
}

void tp_feed_connection_up(struct tp_feed *feed, uint32_t connection, uint64_t now_ns)
{
    assert(connection < feed->config.connection_count);
    struct feed_connection *of = &feed->connections[connection];
    of->last_ns = now_ns;
    of->settle_ns = now_ns + feed->config.settle_ns;
    of->up = true;
    of->silent = of->is_counted = false;
    if (of->venue->router_reset != NULL)
        of->venue->router_reset(of->router, connection);
    for (uint32_t i = 0; i < feed->config.instrument_count; i++) {
        const struct feed_instrument *instrument = &feed->instruments[i];
        if ((instrument->flags & FEED_ADDED) == 0)
            continue;
        if (of->race_count > 1 ? feed_race_join(feed, i, connection)
                               : instrument->connection == connection)
            feed_start(feed, i, now_ns);
    }
}

void feed_retire(struct tp_feed *feed, uint32_t index, enum tp_feed_event event,
                 enum tp_sync_reason reason, uint64_t now_ns)
{
    feed->instruments[index].flags = FEED_ADDED;
    feed_lose_kept(feed, index);
    start_buffering(feed, index);
    tp_mailbox_cancel(feed_mailbox(feed, index), index);
    move(feed, index, event, reason, now_ns);
}

void tp_feed_connection_down(struct tp_feed *feed, uint32_t connection, uint64_t now_ns)
{
    assert(connection < feed->config.connection_count);
    struct feed_connection *of = &feed->connections[connection];
    of->up = false;
    for (uint32_t i = 0; i < feed->config.instrument_count; i++) {
        const struct feed_instrument *instrument = &feed->instruments[i];
        if ((instrument->flags & FEED_ADDED) != 0 &&
            (of->race_count > 1 ? feed_race_leave(feed, i, connection, now_ns)
                                : instrument->connection == connection))
            feed_retire(feed, i, TP_FEED_EVENT_DOWN, TP_SYNC_REASON_DISCONNECTED, now_ns);
    }
}

/* Its messages do not count; whether its channel is confirmed is remembered. */
void feed_halt(struct tp_feed *feed, uint32_t index, uint64_t now_ns)
{
    struct feed_instrument *instrument = &feed->instruments[index];
    if (feed_is_refused(feed, instrument))
        instrument->flags |= FEED_UNCONFIRMED;
    const uint8_t kept = instrument->flags & FEED_UNCONFIRMED;
    feed_retire(feed, index, TP_FEED_EVENT_HALTED, TP_SYNC_REASON_HALTED, now_ns);
    instrument->flags |= kept;
}

void feed_reopen(struct tp_feed *feed, uint32_t index, uint64_t now_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    begin(feed, index, FEED_ADDED | FEED_ACTIVE | (instrument->flags & FEED_UNCONFIRMED));
    move(feed, index, TP_FEED_EVENT_UP, first_reason(&feed->histories[index]), now_ns);
    /* Else `settle` wants one; an in-band base came while it was halted, or never will by itself.
     */
    if (feed->connections[instrument->connection].settle_ns == 0 ||
        instrument->rule->base == TP_BASE_IN_BAND)
        feed_want(feed, index);
}

void tp_feed_refused(struct tp_feed *feed, uint32_t instrument, uint64_t now_ns)
{
    assert(instrument < feed->config.instrument_count);
    struct feed_instrument *of = &feed->instruments[instrument];
    if (of->reason == TP_SYNC_REASON_HALTED) {
        of->flags |= FEED_UNCONFIRMED;
        return;
    }
    /* An answer that comes after its connection went is of a subscription that went with it. */
    if ((of->flags & FEED_ADDED) != 0 && feed->connections[of->connection].up)
        feed_retire(feed, instrument, TP_FEED_EVENT_REFUSED, TP_SYNC_REASON_REFUSED, now_ns);
}

bool tp_feed_is_unconfirmed(const struct tp_feed *feed, uint32_t instrument)
{
    assert(instrument < feed->config.instrument_count);
    return (feed->instruments[instrument].flags & FEED_UNCONFIRMED) != 0;
}

/* Refused before, on a connection that is still the same. */
static void accepted_after_all(struct tp_feed *feed, uint32_t index, uint64_t now_ns)
{
    const struct feed_instrument *of = &feed->instruments[index];
    begin(feed, index, FEED_ADDED | FEED_ACTIVE);
    move(feed, index, TP_FEED_EVENT_WAITING, first_reason(&feed->histories[index]), now_ns);
    if (of->rule->base == TP_BASE_IN_BAND)
        feed->connections[of->connection].settle_ns = now_ns + feed->config.base_timeout_ns;
    else
        feed_want(feed, index); /* unless it is deaf */
}

void tp_feed_confirmed(struct tp_feed *feed, uint32_t instrument, uint64_t now_ns)
{
    assert(instrument < feed->config.instrument_count);
    struct feed_instrument *of = &feed->instruments[instrument];
    if (feed_is_refused(feed, of)) {
        accepted_after_all(feed, instrument, now_ns);
        return;
    }
    if ((of->flags & FEED_UNCONFIRMED) == 0 || feed->histories[instrument].deaf)
        return;
    of->flags &= (uint8_t)~FEED_UNCONFIRMED;
    if ((of->flags & FEED_ACTIVE) == 0)
        return; /* halted */
    if (of->reason == TP_SYNC_REASON_UNCONFIRMED)
        move(feed, instrument, TP_FEED_EVENT_WAITING, first_reason(&feed->histories[instrument]),
             now_ns);
    /* Else `settle` wants a base, or the first message. */
    const bool settled = feed->connections[of->connection].settle_ns == 0;
    if (settled && (of->flags & FEED_WANTED) == 0)
        feed_want(feed, instrument);
}

void tp_feed_need_confirmation(struct tp_feed *feed, bool needs)
{
    feed->config.needs_confirmation = needs;
}

/* What is kept cannot be used up to here: a newer base is needed for the rest. */
static void want_newer(struct tp_feed *feed, uint32_t index, enum tp_sync_reason reason,
                       uint64_t now_ns)
{
    feed->instruments[index].phase = TP_SYNC_BUFFERING;
    feed->instruments[index].flags &= (uint8_t)~FEED_KEEPING;
    if (feed->races != NULL && reason == TP_SYNC_REASON_RESET)
        feed_race_drop_held(feed, index); /* of the numbering before */
    else if (feed->races != NULL)
        feed_race_scatter(feed, index);
    feed_want(feed, index);
    move(feed, index, TP_FEED_EVENT_LOST, reason, now_ns);
}

void feed_go_live(struct tp_feed *feed, uint32_t index, uint64_t received_ns, uint64_t now_ns)
{
    struct feed_instrument *instrument = &feed->instruments[index];
    instrument->received_ns = received_ns;
    if ((instrument->flags & FEED_KEEPING) == 0)
        instrument->flags &= (uint8_t)~FEED_WANTED;
    else /* what was kept was replayed */
        feed->histories[index].kept_from = instrument->version;
    feed->histories[index].is_lost = false;
    feed->histories[index].overtaken = 0;
    feed->counters.bases_applied++;
    if (feed->races != NULL)
        feed_race_begin(feed, index, now_ns);
    /* A base says nothing of a connection that fell silent meanwhile: its next sign of life
     * makes the book LIVE. */
    const bool silent = feed->connections[instrument->connection].silent;
    const enum tp_feed_event event = silent ? TP_FEED_EVENT_BASE_UNSEEN : TP_FEED_EVENT_BASE;
    enum tp_book_state state = feed_book_state(instrument);
    enum tp_sync_reason reason = feed_book_reason(state);
    if (tp_feed_next(place_of(instrument), event) == TP_MOVE_STALE) {
        state = TP_BOOK_STALE;
        reason = TP_SYNC_REASON_SILENT;
    }
    const bool changed = feed_enter(feed, index, state, reason, now_ns);
    feed_publish(feed, &(struct feed_change){.instrument = index,
                                             .state_changed = changed,
                                             .cleared = true,
                                             .top = true,
                                             .received_ns = received_ns,
                                             .decoded_ns = now_ns});
}

static void tap_base(struct tp_feed *feed, const struct tp_mailbox_cell *cell, uint64_t now_ns)
{
    const struct tp_record_book book = {.instrument = cell->instrument,
                                        .flags = cell->truncated |
                                                 feed_scale_flags(feed, cell->instrument),
                                        .version = cell->version,
                                        .bid_count = cell->bid_count,
                                        .ask_count = cell->ask_count};
    const uint32_t connection = feed->instruments[cell->instrument].connection;
    tp_tap_book(feed->config.tap, tp_tap_tag(TP_RECORD_BASE, 0, connection), &book,
                (const struct tp_level *const[2]){cell->bids, cell->asks}, now_ns);
}

/* The book stands at a base. Applies what was kept since, then publishes it, or wants a newer base.
 * least: the number that it must reach. False: it did not. */
static bool use_base(struct tp_feed *feed, uint32_t index, uint64_t least, uint64_t received_ns,
                     uint64_t now_ns)
{
    struct feed_instrument *instrument = &feed->instruments[index];
    const bool followed = instrument->reason == TP_SYNC_REASON_NONE;
    const enum tp_sync_reason reason =
        followed ? TP_SYNC_REASON_GAP : (enum tp_sync_reason)instrument->reason;
    instrument->phase = TP_SYNC_FIRST;
    instrument->flags &= (uint8_t) ~(FEED_KEEPING | FEED_DOUBTED);
    uint64_t *const lowest = &feed->histories[index].lowest;
    if (*lowest == 0 || instrument->version < *lowest) /* 0: since a checkpoint of a recording */
        *lowest = instrument->version;
    enum feed_apply replayed = feed_replay_kept(feed, index, &received_ns);
    const bool first = instrument->phase == TP_SYNC_FIRST;
    if (replayed == FEED_APPLY_GAP && first)
        doubt(feed, index, feed->update->first_version);
    if (instrument->version < least && replayed != FEED_APPLY_RESET) {
        instrument->version = least;
        if (replayed == FEED_APPLY_DONE) {
            replayed = FEED_APPLY_GAP;
            doubt(feed, index, least);
        }
    }
    switch (replayed) {
    case FEED_APPLY_OLD:
    case FEED_APPLY_SAME:
    case FEED_APPLY_DONE:
        feed_go_live(feed, index, received_ns, now_ns);
        return true;
    case FEED_APPLY_GAP:
        if (first) {
            feed->counters.bases_too_old++;
            feed->counters.outlived_keep_s += feed->backlogs[index].cut == TP_BACKLOG_CUT_BY_TIME;
            feed->counters.outlived_keep_bytes +=
                feed->backlogs[index].cut == TP_BACKLOG_CUT_BY_BYTES;
            want_newer(feed, index, reason, now_ns);
            return false;
        }
        feed->counters.gaps++;
        want_newer(feed, index, TP_SYNC_REASON_GAP, now_ns);
        return false;
    case FEED_APPLY_RESET: /* the rest of what is kept is of the new numbering */
        feed->counters.resets++;
        instrument->version = 0;
        want_newer(feed, index, TP_SYNC_REASON_RESET, now_ns);
        return false;
    case FEED_APPLY_CHECKSUM:
        feed->counters.checksums++;
        want_newer(feed, index, TP_SYNC_REASON_GAP, now_ns);
        return false;
    case FEED_APPLY_BROKEN:
        feed->counters.broken++;
        want_newer(feed, index, TP_SYNC_REASON_BROKEN_MESSAGE, now_ns);
        return false;
    case FEED_APPLY_OVERFLOW:
        feed->counters.overflows++;
        want_newer(feed, index, TP_SYNC_REASON_OVERFLOW, now_ns);
        return false;
    case FEED_APPLY_SHALLOW:
        feed->counters.shallow++;
        want_newer(feed, index, TP_SYNC_REASON_SHALLOW, now_ns);
        return false;
    case FEED_APPLY_MISFIT: /* said already */
        return false;
    }
    return false;
}

/* Replaces the book by the base and what was kept since. */
static void take_base(struct tp_feed *feed, const struct tp_mailbox_cell *cell, uint64_t now_ns)
{
    struct feed_instrument *instrument = &feed->instruments[cell->instrument];
    const uint64_t seen_version = instrument->version;
    if ((instrument->flags & FEED_KEEPING) != 0 &&
        cell->version < feed->histories[cell->instrument].kept_from) {
        feed->counters.bases_too_old++; /* and the book that we have is whole */
        feed_want(feed, cell->instrument);
        return;
    }
    const bool bids = tp_book_load(instrument->book, TP_SIDE_BID, cell->bids, cell->bid_count);
    const bool asks = tp_book_load(instrument->book, TP_SIDE_ASK, cell->asks, cell->ask_count);
    assert(bids && asks); /* the mailbox checked and sorted them */
    feed_limit(instrument, cell->truncated,
               (const struct tp_level *const[2]){cell->bids, cell->asks},
               (const uint32_t[2]){cell->bid_count, cell->ask_count});
    instrument->version = cell->version;
    instrument->exchange_ns = 0;
    feed->update->bid_count = feed->update->ask_count = 0; /* takes what falls out */
    if (instrument->rule->must_truncate)
        (void)feed_truncate(instrument, feed->update); /* a cell has no more than an update takes */
    (void)use_base(feed, cell->instrument, seen_version, now_ns, now_ns);
}

/* The next offered base and the mailbox that it is in, the venues in turn. */
static const struct tp_mailbox_cell *next_offered(struct tp_feed *feed, struct tp_mailbox **in,
                                                  bool *fresh)
{
    for (uint32_t i = 0; i < feed->venue_count; i++) {
        *in = &feed->venues[feed->next_mailbox].mailbox;
        feed->next_mailbox =
            feed->next_mailbox + 1 < feed->venue_count ? feed->next_mailbox + 1 : 0;
        const struct tp_mailbox_cell *cell = tp_mailbox_peek(*in, fresh);
        if (cell != NULL)
            return cell;
    }
    return NULL;
}

/* At most one a tick: a base of thousands of levels takes tens of microseconds. */
static void take_offered(struct tp_feed *feed, uint64_t now_ns)
{
    bool fresh;
    struct tp_mailbox *in;
    const struct tp_mailbox_cell *cell = next_offered(feed, &in, &fresh);
    if (cell == NULL)
        return;
    const struct feed_instrument *instrument = &feed->instruments[cell->instrument];
    if (fresh && cell->scale != 0 && cell->scale != feed_scale_flags(feed, cell->instrument)) {
        feed->counters.bases_unasked++; /* the scale moved meanwhile, or has yet to */
        feed_want(feed, cell->instrument);
    } else if (fresh && tp_mailbox_request(cell) == TP_REQUEST_CHECK) {
        const struct tp_feed_base base = {
            .instrument = cell->instrument,
            .version = cell->version,
            .bids = cell->bids,
            .bid_count = cell->bid_count,
            .asks = cell->asks,
            .ask_count = cell->ask_count,
            .truncated = cell->truncated,
        };
        feed_verify_answer(feed, &base, now_ns);
    } else if (fresh && feed_takes_base(instrument)) {
        if (feed->config.tap != NULL)
            tap_base(feed, cell, now_ns);
        feed->tick_changes++;
        take_base(feed, cell, now_ns);
    } else {
        feed->counters.bases_unasked++;
    }
    tp_mailbox_release(in);
}

/* A silent connection that speaks again has lost nothing: the bytes below are a stream, and every
 * instrument's own chain is checked with its next message. */
static void mark_silence(struct tp_feed *feed, uint32_t connection, bool silent, uint64_t now_ns)
{
    feed->connections[connection].silent = silent;
    feed->tick_changes++;
    feed->counters.silences += silent;
    for (uint32_t i = 0; i < feed->config.instrument_count; i++) {
        const struct feed_instrument *instrument = &feed->instruments[i];
        if ((instrument->flags & FEED_ADDED) == 0)
            continue;
        if (instrument->connection != connection) {
            if (feed_race_has(feed, i, connection))
                feed_race_silence(feed, i, silent, now_ns);
            continue;
        }
        if (silent && feed_race_relieve(feed, i, now_ns))
            continue;
        if (!silent && feed_is_unproved(feed, i, now_ns)) /* what it missed is not made up for */
            tp_feed_conclude(feed, i, TP_VERDICT_UNANSWERED, 0, now_ns);
        move(feed, i, silent ? TP_FEED_EVENT_SILENCE : TP_FEED_EVENT_SPEECH, TP_SYNC_REASON_SILENT,
             now_ns);
    }
}

/* Loads a side in any order; of a price that comes twice the last one counts. False: a level out of
 * range. *doubled: prices that came again. */
static bool load_in_order(struct tp_book *book, enum tp_side side, const struct tp_level *levels,
                          uint32_t count, uint32_t *doubled)
{
    const struct tp_book_counters *counters = tp_book_counters(book);
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t dropped = counters->dropped;
        const uint32_t before = tp_book_level_count(book, side);
        const enum tp_book_set set =
            tp_book_set_level(book, side, levels[i].price, levels[i].quantity);
        if (set == TP_BOOK_SET_REFUSED)
            return false;
        /* It was there: it is gone now, or they are no more than before although none fell out. */
        *doubled += set == TP_BOOK_SET_DONE && counters->dropped == dropped &&
                    tp_book_level_count(book, side) <= before;
    }
    return true;
}

uint32_t feed_cut_sides(uint32_t flags)
{
    const uint32_t both = TP_DEPTH_TRUNCATED;
    return (uint32_t)((flags & (both | TP_DEPTH_BIDS_CUT)) != 0) << TP_SIDE_BID |
           (uint32_t)((flags & (both | TP_DEPTH_ASKS_CUT)) != 0) << TP_SIDE_ASK;
}

/* An in-band base: most venues sort it and name each price once, which is loaded in one pass. */
static bool load_update(struct feed_instrument *instrument, const struct tp_depth_update *update,
                        uint32_t *doubled)
{
    struct tp_book *book = instrument->book;
    tp_book_clear(book);
    const bool loaded =
        (tp_book_load(book, TP_SIDE_BID, update->bids, update->bid_count) ||
         load_in_order(book, TP_SIDE_BID, update->bids, update->bid_count, doubled)) &&
        (tp_book_load(book, TP_SIDE_ASK, update->asks, update->ask_count) ||
         load_in_order(book, TP_SIDE_ASK, update->asks, update->ask_count, doubled));
    if (loaded)
        feed_limit(instrument, instrument->rule->must_truncate ? 0 : feed_cut_sides(update->flags),
                   (const struct tp_level *const[2]){update->bids, update->asks},
                   (const uint32_t[2]){update->bid_count, update->ask_count});
    return loaded;
}

enum tp_feed_result feed_take_base(struct tp_feed *feed, uint32_t index, uint64_t received_ns,
                                   uint64_t decoded_ns)
{
    struct feed_instrument *instrument = &feed->instruments[index];
    struct tp_depth_update *update = feed->update;
    const bool is_answer = instrument->rule->base == TP_BASE_REQUEST;
    if (is_answer && !feed_takes_answer(feed, index, received_ns))
        return TP_FEED_IGNORED;
    const bool is_followed = instrument->phase != TP_SYNC_BUFFERING;
    const uint64_t least = is_answer ? instrument->version : 0; /* the stream's own is newer */
    feed_verify_forget(feed, index);
    feed_want_nothing(feed,
                      index); /* whoever is asked for one may stop; a bad one is wanted anew */
    if (feed_is_overtaken(feed, index, received_ns)) {
        feed->counters.bases_too_old++;
        if (feed->histories[index].overtaken < FEED_OVERTAKEN_MAX)
            feed->histories[index].overtaken++;
        feed_resync(feed, index, TP_SYNC_REASON_GAP, received_ns);
        return TP_FEED_BUFFERED;
    }
    if (is_followed) /* it proves what it replaces */
        instrument->verified_ns = received_ns;
    if (feed->connections[instrument->connection].silent) /* it speaks: this is a message of its */
        mark_silence(feed, instrument->connection, false, received_ns);
    instrument->version = update->last_version;
    instrument->exchange_ns = update->exchange_ns;
    uint32_t doubled = 0;
    const bool loaded = load_update(instrument, update, &doubled) &&
                        (!instrument->rule->must_truncate || feed_truncate(instrument, update));
    tp_mailbox_note_doubled(feed_mailbox(feed, index), index, doubled);
    if (!loaded && feed_finds_misfit(feed, instrument)) {
        feed_misfit(feed, index, TP_DECODE_TOO_LARGE, received_ns);
        return TP_FEED_BROKEN;
    }
    if (!loaded || !feed_checksum_holds(instrument, update)) {
        if (loaded)
            feed_tell_doubt(feed, index);
        feed->counters.broken += !loaded;
        feed->counters.checksums += loaded;
        feed_resync(feed, index, TP_SYNC_REASON_BROKEN_MESSAGE, received_ns);
        return TP_FEED_BROKEN;
    }
    if (!use_base(feed, index, least, received_ns, decoded_ns))
        return TP_FEED_BUFFERED;
    return TP_FEED_APPLIED;
}

/* Instruments that have had no message since `up`: the subscription stands by now, so that a
 * base taken from here on misses nothing; where the venue is to say so, that is waited for. */
static void settle(struct tp_feed *feed, uint32_t connection, uint64_t now_ns)
{
    feed->connections[connection].settle_ns = 0;
    for (uint32_t i = 0; i < feed->config.instrument_count; i++) {
        const struct feed_instrument *instrument = &feed->instruments[i];
        if (instrument->connection == connection && (instrument->flags & FEED_ACTIVE) != 0 &&
            instrument->phase == TP_SYNC_BUFFERING && (instrument->flags & FEED_WANTED) == 0) {
            feed_want(feed, i);
            if (must_be_confirmed(instrument)) {
                feed->tick_changes++;
                move(feed, i, TP_FEED_EVENT_WAITING, TP_SYNC_REASON_UNCONFIRMED, now_ns);
            }
        }
    }
}

static void watch_connection(struct tp_feed *feed, uint32_t connection, uint64_t now_ns)
{
    const struct feed_connection *of = &feed->connections[connection];
    if (!of->up)
        return;
    if (of->settle_ns != 0 && now_ns >= of->settle_ns)
        settle(feed, connection, now_ns);
    const bool silent = now_ns > of->last_ns && now_ns - of->last_ns > feed->config.silent_after_ns;
    if (feed->config.silent_after_ns != 0 && silent != of->silent)
        mark_silence(feed, connection, silent, now_ns);
}

/* On a grid of time, and judged by the grid's time: a replay that only knows the ticks that changed
 * something comes to a cell's first look later than this feed did, and must find the same. */
static void give_up_crossed(struct tp_feed *feed, uint64_t now_ns)
{
    const uint64_t cell_ns = now_ns / CROSSED_SCAN_NS * CROSSED_SCAN_NS;
    feed->next_crossed_scan_ns = cell_ns + CROSSED_SCAN_NS;
    for (uint32_t i = 0; i < feed->config.instrument_count; i++) {
        const uint64_t since_ns = feed->histories[i].crossed_since_ns;
        if (feed->instruments[i].state == TP_BOOK_CROSSED && cell_ns > since_ns &&
            cell_ns - since_ns > feed_venue(feed, i)->crossed_ns_max) {
            feed->tick_changes++;
            feed_resync(feed, i, TP_SYNC_REASON_CROSSED, now_ns);
        }
    }
}

bool tp_feed_tick(struct tp_feed *feed, uint64_t now_ns)
{
    const uint64_t changes = feed->tick_changes;
    take_offered(feed, now_ns);
    feed_verify_tick(feed, now_ns);
    if (feed->misfits_waiting > 0)
        feed_tell_waiting(feed);
    if (feed->races_waiting > 0)
        feed_race_tick(feed, now_ns);
    for (uint32_t i = 0; i < feed->config.connection_count; i++)
        watch_connection(feed, i, now_ns);
    if (feed->crossed_count > 0 && now_ns >= feed->next_crossed_scan_ns)
        give_up_crossed(feed, now_ns);
    feed->counters.bases_refused = feed->counters.doubled = 0;
    for (uint32_t i = 0; i < feed->venue_count; i++) {
        const struct tp_mailbox *mailbox = &feed->venues[i].mailbox;
        feed->counters.bases_refused +=
            atomic_load_explicit(&mailbox->refused, memory_order_relaxed);
        feed->counters.doubled += atomic_load_explicit(&mailbox->doubled, memory_order_relaxed);
    }
    return feed->tick_changes != changes;
}
