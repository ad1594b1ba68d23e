/* Messages of a book in a race: which copy counts. race.h says what a race is; race_state.c has all
 * that happens to its members besides.
 *
 * Called by feed.c for every depth message of a connection that races. Hot path's thread. */
#include <string.h>

#include "engine/feed/feed_parts.h"
#include "engine/feed/verify.h"
#include "shm/clock.h"

/* As long as in feed_state.c: old numbers later than this are no repetition. */
static const uint64_t OLD_NS_MAX = 500000000;
enum { HELD_COUNT_MAX = 256, HELD_BYTES_MAX = 256 << 10 };
enum { LOOKS_MAX = 2 * HELD_COUNT_MAX }; /* at held messages, each time that the book moves on */

/* ---- what was first, and by how much */

static void remember(struct tp_feed *feed, uint32_t index, uint64_t received_ns)
{
    struct feed_race *race = &feed->races[index];
    const uint32_t place = race->next_recent++ & (FEED_RECENT_COUNT - 1);
    race->recent[place].number = feed->instruments[index].version;
    race->recent[place].exchange_ns = feed->instruments[index].exchange_ns;
    race->recent[place].received_ns = received_ns;
    feed_race_compare(feed, index, received_ns);
}

/* Whether the update in hand is one that the book has: of this number and of the same time. Numbers
 * alone may be equal by chance where a numbering begins anew. */
static bool is_same_change(const struct feed_race *race, const struct tp_depth_update *update)
{
    const uint32_t place = feed_race_find(race, update->last_version);
    return place != FEED_RECENT_COUNT && update->exchange_ns != 0 &&
           race->recent[place].exchange_ns == update->exchange_ns;
}

static void advance(struct feed_member *member, uint64_t number, uint64_t now_ns)
{
    member->last = number;
    member->last_ns = now_ns;
    member->repeated = 0;
    if (member->lowest == 0)
        member->lowest = number;
}

static enum tp_feed_result take_copy(struct tp_feed *feed, uint32_t index,
                                     const struct feed_arrival *arrival)
{
    struct feed_connection *of = &feed->connections[arrival->connection];
    struct feed_member *member = feed_member(feed, index, arrival->connection);
    const uint32_t place = feed_race_find(&feed->races[index], feed->update->last_version);
    feed->counters.copies++;
    of->copied++;
    member->flags |= MEMBER_LAGS;
    advance(member, feed->update->last_version, arrival->received_ns);
    if (place == FEED_RECENT_COUNT)
        return TP_FEED_IGNORED;
    feed_race_meet(feed, index, arrival->connection, arrival->received_ns);
    if (of->behind != NULL)
        tp_histogram_record(of->behind,
                            arrival->received_ns - feed->races[index].recent[place].received_ns);
    return TP_FEED_IGNORED;
}

/* What a member brought whose numbers may be its own: it met the book if that has the same number
 * of the same time, now or once it is there. */
static void claim(struct tp_feed *feed, uint32_t index, const struct feed_arrival *arrival)
{
    const struct feed_race *race = &feed->races[index];
    const struct tp_depth_update *update = feed->update;
    struct feed_member *member = feed_member(feed, index, arrival->connection);
    const uint32_t place = feed_race_find(race, update->last_version);
    if (place != FEED_RECENT_COUNT) {
        if (race->recent[place].exchange_ns == update->exchange_ns)
            feed_race_meet(feed, index, arrival->connection, arrival->received_ns);
    } else if (update->last_version > feed->instruments[index].version && member->claimed == 0) {
        member->claimed = update->last_version;
        member->claimed_exchange_ns = update->exchange_ns;
    }
}

/* ---- ahead of the book */

static bool waits(const struct feed_race *race)
{
    return race->held_newest != 0 || race->owed != 0;
}

/* Whether a member may still bring what comes next: it did not pass the book yet. */
static bool may_be_filled(const struct tp_feed *feed, uint32_t index)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    const struct feed_connection *own = &feed->connections[instrument->connection];
    const bool is_in_band = instrument->rule->base == TP_BASE_IN_BAND;
    for (uint32_t i = 0; i < own->race_count; i++) {
        const struct feed_member *member = &feed->races[index].member[i];
        const struct feed_connection *of = &feed->connections[own->race_first + i];
        const uint8_t must_be = is_in_band ? MEMBER_BASED | MEMBER_MET : MEMBER_HEARD;
        if (of->up && !of->silent && member->last <= instrument->version &&
            (member->flags & (must_be | MEMBER_ESTRANGED | MEMBER_REFUSED)) == must_be)
            return true;
    }
    return false;
}

/* Nobody brought it: what one connection alone would have found. */
static void give_up_held(struct tp_feed *feed, uint32_t index, uint64_t now_ns)
{
    const struct feed_race *race = &feed->races[index];
    const bool is_gap = race->held_newest != 0;
    feed->counters.unfilled += is_gap;
    feed->counters.gaps += is_gap;
    if (is_gap && feed->connections[race->ahead_by].up)
        feed_race_carry(feed, index, race->ahead_by); /* its stream goes on from there */
    feed_resync(feed, index, is_gap ? TP_SYNC_REASON_GAP : TP_SYNC_REASON_BROKEN_MESSAGE, now_ns);
}

void feed_race_review(struct tp_feed *feed, uint32_t index, uint64_t now_ns)
{
    if (waits(&feed->races[index]) && feed->instruments[index].phase != TP_SYNC_BUFFERING &&
        !may_be_filled(feed, index))
        give_up_held(feed, index, now_ns);
}

static enum tp_feed_result hold(struct tp_feed *feed, uint32_t index,
                                const struct feed_arrival *arrival)
{
    struct feed_race *race = &feed->races[index];
    struct feed_member *member = feed_member(feed, index, arrival->connection);
    const uint64_t number = feed->update->last_version;
    feed_race_owe(feed, index, arrival->connection, number, arrival->received_ns);
    advance(member, number, arrival->received_ns);
    const bool is_kept = race->held.message_count < HELD_COUNT_MAX &&
                         arrival->body.size <= feed->staging.capacity &&
                         tp_backlog_append(&feed->pool, &race->held, arrival->body,
                                           arrival->received_ns, HELD_BYTES_MAX);
    if (!is_kept || !may_be_filled(feed, index))
        give_up_held(feed, index, arrival->received_ns);
    return TP_FEED_BUFFERED;
}

/* The held message in feed->staging, taken out of the queue already; false: the book is lost. */
static bool take_held(struct tp_feed *feed, uint32_t index, uint64_t received_ns, bool *applied)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    struct feed_race *race = &feed->races[index];
    const struct tp_span body = tp_buffer_unread(&feed->staging);
    if (feed_decode(feed, instrument, body, TP_MEANING_DELTA) != TP_DECODE_OK)
        return true; /* it was read before, at another scale: the chain will show it */
    switch (tp_sync_judge(instrument->rule, (enum tp_sync_phase)instrument->phase,
                          instrument->version, feed->update)) {
    case TP_SYNC_GAP:
        if (tp_backlog_append(&feed->pool, &race->held, body, received_ns, UINT32_MAX))
            return true;
        give_up_held(feed, index, received_ns);
        return false;
    case TP_SYNC_APPLY:
        break;
    case TP_SYNC_DROP:
    case TP_SYNC_UNCHANGED:
    case TP_SYNC_RESTART:
    case TP_SYNC_BUFFER:
        return true;
    }
    const enum feed_apply result = feed_apply(feed, index, feed->update);
    if (result != FEED_APPLY_DONE) {
        (void)feed_turn_away(feed, index, result, received_ns);
        return false;
    }
    *applied = true;
    feed->counters.filled++;
    (void)feed_finish(feed, index, received_ns, tp_clock_now_ns(feed->config.clock));
    remember(feed, index, received_ns);
    if ((instrument->flags & FEED_KEEPING) != 0)
        feed_keep_behind(feed, index, body, received_ns);
    return instrument->phase != TP_SYNC_BUFFERING;
}

/* The book moved on: what was held may follow it now. */
static void drain(struct tp_feed *feed, uint32_t index, uint64_t now_ns)
{
    struct feed_race *race = &feed->races[index];
    uint32_t left = race->held.message_count; /* to be looked at since one was applied */
    uint64_t received_ns;
    feed->arrived_ns = 0; /* of the message in hand, not of those that waited for it */
    for (uint32_t looks = 0; looks < LOOKS_MAX && left > 0; looks++) {
        if (!tp_backlog_peek(&feed->pool, &race->held, &feed->staging, &received_ns))
            break;
        bool applied = false;
        tp_backlog_drop_first(&feed->pool, &race->held);
        left--;
        if (!take_held(feed, index, received_ns, &applied))
            return;
        if (applied)
            left = race->held.message_count;
    }
    const uint64_t version = feed->instruments[index].version;
    if (race->held.message_count == 0 && race->held_newest <= version)
        race->held_newest = 0;
    if (race->owed <= version)
        race->owed = 0;
    feed_race_review(feed, index, now_ns);
}

static bool is_over(uint64_t what, uint64_t since_ns, uint64_t now_ns)
{
    return what != 0 && now_ns > since_ns && now_ns - since_ns > TP_RACE_HOLD_NS;
}

void feed_race_tick(struct tp_feed *feed, uint64_t now_ns)
{
    uint32_t waiting = 0;
    for (uint32_t i = 0; i < feed->config.instrument_count; i++) {
        struct feed_race *race = &feed->races[i];
        if (race->due != 0 &&
            feed_member(feed, i, feed->instruments[i].connection)->last >= race->due)
            race->due = 0;
        if (!waits(race) && race->due == 0)
            continue;
        if (feed->instruments[i].phase == TP_SYNC_BUFFERING)
            feed_race_drop_held(feed, i);
        else if (is_over(race->held_newest, race->held_since_ns, now_ns) ||
                 is_over(race->owed, race->owed_since_ns, now_ns)) {
            feed->tick_changes++;
            drain(feed, i, now_ns); /* a base may have brought the book further */
            if (waits(race))
                give_up_held(feed, i, now_ns);
        } else if (is_over(race->due, race->due_since_ns, now_ns)) {
            feed->tick_changes++;
            feed->counters.gaps++;
            feed_resync(feed, i, TP_SYNC_REASON_GAP, now_ns);
        } else {
            waiting++;
        }
    }
    feed->races_waiting = waiting;
}

/* ---- numbers that go back */

/* The venue numbers anew, as this member shows first: the others' messages do not count before
 * theirs go back too. */
static void follow_alone(struct tp_feed *feed, uint32_t index, uint32_t connection)
{
    const struct feed_connection *own = &feed->connections[connection];
    feed_race_drop_held(feed, index);
    for (uint32_t i = 0; i < own->race_count; i++)
        if (own->race_first + i != connection && feed->connections[own->race_first + i].up)
            feed->races[index].member[i].flags =
                (uint8_t)((feed->races[index].member[i].flags & ~(MEMBER_MET | MEMBER_LAGS)) |
                          MEMBER_ESTRANGED);
    feed_race_carry(feed, index, connection);
}

static enum tp_feed_result begin_anew(struct tp_feed *feed, uint32_t index,
                                      const struct feed_arrival *arrival)
{
    struct feed_member *member = feed_member(feed, index, arrival->connection);
    const uint64_t number = feed->update->last_version;
    if ((member->flags & MEMBER_MET) == 0) { /* it never counted as the others do */
        member->flags |= MEMBER_ESTRANGED;
        advance(member, number, arrival->received_ns);
        return TP_FEED_IGNORED;
    }
    follow_alone(feed, index, arrival->connection);
    feed_reset(feed, index, arrival->received_ns);
    member->lowest = 0;
    advance(member, number, arrival->received_ns);
    if (feed->instruments[index].rule->base != TP_BASE_IN_BAND)
        feed_keep(feed, index, arrival->body, arrival->received_ns);
    return TP_FEED_BUFFERED;
}

/* A message that is older than one that came on the same connection: said twice, or a numbering
 * that begins anew. As feed_is_duplicate has it for one connection. */
static enum tp_feed_result take_older(struct tp_feed *feed, uint32_t index,
                                      const struct feed_arrival *arrival)
{
    struct feed_member *member = feed_member(feed, index, arrival->connection);
    const uint64_t number = feed->update->last_version, now_ns = arrival->received_ns;
    const bool is_late = now_ns > member->last_ns && now_ns - member->last_ns > OLD_NS_MAX;
    const bool goes_on = member->repeated != 0 && number > member->repeated;
    if (number != member->last && (number < member->lowest || is_late || goes_on))
        return begin_anew(feed, index, arrival);
    if (number != member->last)
        member->repeated = number;
    feed->counters.duplicates++;
    return TP_FEED_IGNORED;
}

/* ---- one message of a book that is followed */

static enum tp_feed_result apply(struct tp_feed *feed, uint32_t index,
                                 const struct feed_arrival *arrival, uint64_t decoded_ns)
{
    struct feed_instrument *instrument = &feed->instruments[index];
    struct feed_member *member = feed_member(feed, index, arrival->connection);
    const bool goes_back = feed->update->last_version <= instrument->version;
    feed_race_meet(feed, index, arrival->connection, arrival->received_ns);
    const enum feed_apply applied = feed_apply(feed, index, feed->update);
    if (applied != FEED_APPLY_DONE) {
        feed_race_carry(feed, index, arrival->connection);
        return feed_turn_away(feed, index, applied, arrival->received_ns);
    }
    if (goes_back) { /* a message that chains them says so */
        follow_alone(feed, index, arrival->connection);
        member->lowest = 0;
    }
    member->flags &= (uint8_t)~MEMBER_LAGS;
    advance(member, instrument->version, arrival->received_ns);
    feed->connections[arrival->connection].won++;
    const uint16_t carrier = instrument->connection;        /* of trades */
    instrument->connection = (uint16_t)arrival->connection; /* what is published names the first */
    const enum tp_feed_result result = feed_finish(feed, index, arrival->received_ns, decoded_ns);
    instrument->connection = carrier;
    remember(feed, index, arrival->received_ns);
    /* A carrier that others left behind: its channel may have ended. */
    if (instrument->connection != arrival->connection &&
        feed->races[index].next_recent > FEED_RECENT_COUNT &&
        !feed_race_is_current(feed, index, instrument->connection, arrival->received_ns))
        feed_race_carry(feed, index, arrival->connection);
    if ((instrument->flags & FEED_KEEPING) != 0)
        feed_keep_behind(feed, index, arrival->body, arrival->received_ns);
    if (waits(&feed->races[index]) && instrument->phase != TP_SYNC_BUFFERING)
        drain(feed, index, arrival->received_ns);
    return result;
}

/* A message whose levels cannot be read: what it says another member may bring, where its number
 * shows which it was. */
static enum tp_feed_result refuse(struct tp_feed *feed, uint32_t index,
                                  const struct feed_arrival *arrival, enum tp_decode_status status)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    struct feed_race *race = &feed->races[index];
    if (!feed_race_counts(feed, index, arrival->connection)) { /* neither does what it says */
        if (feed_is_misfit(feed, status)) /* a member that counts moves the scale */
            return TP_FEED_IGNORED;
        feed->counters.broken++;
        return TP_FEED_BROKEN;
    }
    if (feed_is_misfit(feed, status) || !feed_read_versions(feed, index, arrival->body)) {
        feed_race_carry(feed, index, arrival->connection);
        return feed_give_up(feed, index, arrival->body, status, arrival->received_ns);
    }
    const uint64_t number = feed->update->last_version;
    feed->counters.broken++;
    if (number <= instrument->version)
        return TP_FEED_BROKEN;
    struct feed_member *member = feed_member(feed, index, arrival->connection);
    feed->races_waiting += !waits(race);
    if (race->owed == 0)
        race->owed_since_ns = arrival->received_ns;
    if (number > race->owed)
        race->owed = number;
    advance(member, number, arrival->received_ns);
    feed_race_review(feed, index, arrival->received_ns);
    return TP_FEED_BROKEN;
}

/* A whole book of the stream: what a member's stream begins with, or one that replaces the book. */
static enum tp_feed_result take_base(struct tp_feed *feed, uint32_t index,
                                     const struct feed_arrival *arrival, uint64_t decoded_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    struct feed_member *member = feed_member(feed, index, arrival->connection);
    const uint64_t number = feed->update->last_version, now_ns = arrival->received_ns;
    const bool is_opening = (member->flags & MEMBER_BASED) == 0;
    const bool goes_back = !is_opening && number < member->last;
    if (goes_back) {
        member->flags &= (uint8_t)~MEMBER_ESTRANGED;
        member->lowest = 0;
    }
    const bool was_met = (member->flags & MEMBER_MET) != 0;
    member->flags |= MEMBER_BASED;
    /* A check is answered where it was asked for, which may be the carrier of before. */
    const bool is_answer = feed->histories[index].asked_ns != 0;
    advance(member, number, now_ns);
    if ((member->flags & MEMBER_ESTRANGED) != 0)
        return TP_FEED_IGNORED;
    if (goes_back && was_met) {
        follow_alone(feed, index, arrival->connection);
    } else if (is_opening || !feed_race_counts(feed, index, arrival->connection) ||
               number < instrument->version ||
               (number == instrument->version && !is_answer &&
                arrival->connection != instrument->connection)) {
        claim(feed, index, arrival);
        if (number > instrument->version)
            feed_race_owe(feed, index, arrival->connection, number, now_ns);
        feed->counters.copies++;
        return TP_FEED_IGNORED;
    }
    feed_race_carry(feed, index, arrival->connection);
    const enum tp_feed_result result = feed_take_base(feed, index, now_ns, decoded_ns);
    if (waits(&feed->races[index]) && instrument->phase != TP_SYNC_BUFFERING)
        drain(feed, index, now_ns);
    return result;
}

static enum tp_feed_result judge(struct tp_feed *feed, uint32_t index,
                                 const struct feed_arrival *arrival, uint64_t decoded_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    struct feed_member *member = feed_member(feed, index, arrival->connection);
    const struct tp_depth_update *update = feed->update;
    const bool is_older = member->last != 0 && update->last_version <= member->last;
    switch (tp_sync_judge(instrument->rule, (enum tp_sync_phase)instrument->phase,
                          instrument->version, update)) {
    case TP_SYNC_APPLY:
        return apply(feed, index, arrival, decoded_ns);
    case TP_SYNC_UNCHANGED:
        feed->counters.unchanged++;
        advance(member, update->last_version, arrival->received_ns);
        feed_race_meet(feed, index, arrival->connection, arrival->received_ns);
        feed_prove(feed, index, arrival->received_ns, arrival->received_ns);
        return TP_FEED_IGNORED;
    case TP_SYNC_RESTART:
        return begin_anew(feed, index, arrival);
    case TP_SYNC_GAP:
        return hold(feed, index, arrival);
    case TP_SYNC_DROP:
    case TP_SYNC_BUFFER:
        break;
    }
    /* A stream may be behind a base by REST, as long as for one connection. */
    const bool is_behind_base = instrument->phase == TP_SYNC_FIRST &&
                                instrument->rule->base != TP_BASE_IN_BAND &&
                                instrument->connection == arrival->connection;
    if (is_behind_base && arrival->received_ns > instrument->received_ns + OLD_NS_MAX)
        return begin_anew(feed, index, arrival);
    const bool says_unchanged =
        instrument->rule->unchanged && update->previous_version == update->last_version;
    if (is_older && !says_unchanged)
        return take_older(feed, index, arrival);
    return take_copy(feed, index, arrival);
}

/* A change of a member whose own base did not come yet, or whose numbers do not count as others'
 * do. */
static bool counts(struct tp_feed *feed, uint32_t index, const struct feed_arrival *arrival)
{
    struct feed_member *member = feed_member(feed, index, arrival->connection);
    const uint64_t number = feed->update->last_version;
    const bool is_baseless = feed->instruments[index].rule->base == TP_BASE_IN_BAND &&
                             (member->flags & MEMBER_BASED) == 0;
    if ((member->flags & MEMBER_ESTRANGED) != 0 &&
        ((member->last != 0 && number < member->last) ||
         is_same_change(&feed->races[index], feed->update))) {
        member->flags &= (uint8_t)~MEMBER_ESTRANGED;
        member->lowest = member->last = 0;
    }
    if (feed_race_counts(feed, index, arrival->connection))
        return true;
    feed->counters.baseless += is_baseless;
    advance(member, number, arrival->received_ns);
    if (!is_baseless && (member->flags & MEMBER_ESTRANGED) == 0)
        claim(feed, index, arrival);
    return false;
}

static enum tp_feed_result follow(struct tp_feed *feed, uint32_t index,
                                  const struct feed_arrival *arrival)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    const struct feed_member *member = feed_member(feed, index, arrival->connection);
    /* Numbers cost a part of what levels do; of a base they say nothing. */
    if ((member->flags & (MEMBER_LAGS | MEMBER_ESTRANGED)) == MEMBER_LAGS &&
        instrument->phase == TP_SYNC_FOLLOWING && arrival->meaning == TP_MEANING_DELTA &&
        feed_read_versions(feed, index, arrival->body) &&
        feed->update->last_version <= instrument->version &&
        feed->update->last_version > member->last)
        return take_copy(feed, index, arrival);
    const enum tp_decode_status status =
        feed_decode(feed, instrument, arrival->body, arrival->meaning);
    if (status != TP_DECODE_OK)
        return refuse(feed, index, arrival, status);
    const uint64_t decoded_ns = tp_clock_now_ns(feed->config.clock);
    if ((feed->update->flags & TP_DEPTH_BASE) != 0)
        return take_base(feed, index, arrival, decoded_ns);
    if (!counts(feed, index, arrival))
        return TP_FEED_IGNORED;
    const enum tp_feed_result result = judge(feed, index, arrival, decoded_ns);
    feed_race_review(feed, index, arrival->received_ns);
    return result;
}

/* ---- one message of a book that waits */

/* Of another connection than the book's own. Whether the book is better off on it. */
static bool is_better(struct tp_feed *feed, uint32_t index, const struct feed_arrival *arrival)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    struct feed_member *member = feed_member(feed, index, arrival->connection);
    const bool may_be_base = instrument->rule->in_band_base;
    const bool has_numbers = !may_be_base && arrival->meaning == TP_MEANING_DELTA &&
                             feed_read_versions(feed, index, arrival->body);
    if (!has_numbers &&
        feed_decode(feed, instrument, arrival->body, arrival->meaning) != TP_DECODE_OK)
        return false;
    const uint64_t number = feed->update->last_version;
    const bool is_base = may_be_base && (feed->update->flags & TP_DEPTH_BASE) != 0;
    if (member->last != 0 && number < member->last) {
        member->flags &= (uint8_t)~MEMBER_ESTRANGED;
        member->lowest = 0;
    }
    if (is_base)
        member->flags |= MEMBER_BASED;
    advance(member, number, arrival->received_ns);
    if ((member->flags & MEMBER_ESTRANGED) != 0)
        return false;
    if (instrument->rule->base == TP_BASE_IN_BAND)
        return is_base;
    return is_base || (instrument->flags & FEED_UNCONFIRMED) != 0 ||
           feed_is_refused(feed, instrument);
}

static enum tp_feed_result wait(struct tp_feed *feed, uint32_t index,
                                const struct feed_arrival *arrival)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    if (instrument->connection == arrival->connection)
        return feed_take_waiting(feed, index, arrival);
    if (feed_race_adopt(feed, index, arrival->connection, arrival->received_ns))
        return feed_take_waiting(feed, index, arrival);
    const bool is_asleep =
        (instrument->flags & FEED_ACTIVE) == 0 && !feed_is_refused(feed, instrument);
    if (is_asleep || !is_better(feed, index, arrival)) {
        feed->counters.copies++;
        return TP_FEED_IGNORED;
    }
    feed_race_carry(feed, index, arrival->connection);
    return feed_take_waiting(feed, index, arrival);
}

enum tp_feed_result feed_race_take(struct tp_feed *feed, uint32_t index,
                                   const struct feed_arrival *arrival)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    if (!feed_race_has(feed, index, arrival->connection)) {
        feed->counters.unknown_channel++;
        return TP_FEED_UNKNOWN;
    }
    if (!feed->connections[arrival->connection].up) {
        feed->counters.inactive++;
        return TP_FEED_IGNORED;
    }
    feed_race_hear(feed, index, arrival->connection, arrival->received_ns);
    feed_member(feed, index, arrival->connection)->flags &= (uint8_t)~MEMBER_DEAF;
    if ((instrument->flags & FEED_ACTIVE) == 0 || instrument->phase == TP_SYNC_BUFFERING)
        return wait(feed, index, arrival);
    return follow(feed, index, arrival);
}
