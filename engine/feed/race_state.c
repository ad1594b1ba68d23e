/* What happens to a book in a race besides messages: members that open, end, fall silent, are
 * acknowledged or refused. race.h says what a race is. Hot path's thread. */
#include <assert.h>

#include "engine/feed/feed_parts.h"
#include "engine/feed/verify.h"

bool tp_feed_race(struct tp_feed *feed, uint32_t first, uint32_t count)
{
    if (feed->races == NULL || count < 2 || count > TP_RACE_COUNT_MAX ||
        first >= feed->config.connection_count || count > feed->config.connection_count - first)
        return false;
    for (uint32_t i = first; i < first + count; i++) {
        struct feed_connection *of = &feed->connections[i];
        of->race_first = (uint16_t)first;
        of->race_count = (uint8_t)count;
        of->unusual |= FEED_RACES;
    }
    return true;
}

/* For the cold thread, to which each is a number by itself: so relaxed. */
static void tell(struct feed_member *member)
{
    atomic_store_explicit(&member->told, (uint8_t)(member->flags & (MEMBER_HEARD | MEMBER_REFUSED)),
                          memory_order_relaxed);
}

void feed_race_carry(struct tp_feed *feed, uint32_t index, uint32_t connection)
{
    feed->instruments[index].connection = (uint16_t)connection;
    atomic_store_explicit(&feed->races[index].carrier, (uint16_t)connection, memory_order_relaxed);
}

static void drop_held(struct tp_feed *feed, uint32_t index)
{
    struct feed_race *race = &feed->races[index];
    if (race->held.message_count != 0)
        tp_backlog_clear(&feed->pool, &race->held);
    race->held_newest = race->owed = race->due = 0;
}

void feed_race_drop_held(struct tp_feed *feed, uint32_t index)
{
    drop_held(feed, index);
}

void feed_race_scatter(struct tp_feed *feed, uint32_t index)
{
    const struct feed_race *race = &feed->races[index];
    const uint64_t newest = race->held_newest > race->owed ? race->held_newest : race->owed;
    drop_held(feed, index);
    if (newest == 0)
        return;
    feed_lose_version(feed, index, newest);
    if (newest > feed->histories[index].skipped) /* a base of the stream must show it too */
        feed->histories[index].skipped = newest;
}

/* ---- who may carry a book */

uint32_t feed_race_find(const struct feed_race *race, uint64_t number)
{
    for (uint32_t i = 1; i <= FEED_RECENT_COUNT; i++) {
        const uint32_t place = (race->next_recent - i) & (FEED_RECENT_COUNT - 1);
        if (race->recent[place].number == number && number != 0)
            return place;
    }
    return FEED_RECENT_COUNT;
}

/* A member whose stream counts. */
static bool is_usable(struct tp_feed *feed, uint32_t index, uint32_t connection)
{
    const struct feed_connection *of = &feed->connections[connection];
    const uint8_t flags = feed_member(feed, index, connection)->flags;
    return of->up && !of->silent && (flags & (MEMBER_ESTRANGED | MEMBER_REFUSED)) == 0;
}

bool feed_race_counts(struct tp_feed *feed, uint32_t index, uint32_t connection)
{
    const uint8_t flags = feed_member(feed, index, connection)->flags;
    const bool must_meet = feed->instruments[index].rule->base == TP_BASE_IN_BAND;
    const uint8_t must_be = must_meet ? MEMBER_BASED | MEMBER_MET : 0;
    return (flags & (must_be | MEMBER_ESTRANGED)) == must_be;
}

bool feed_race_is_current(struct tp_feed *feed, uint32_t index, uint32_t connection,
                          uint64_t now_ns)
{
    const struct feed_member *member = feed_member(feed, index, connection);
    if ((member->flags & MEMBER_PROVED) != 0)
        return true;
    return (member->flags & MEMBER_MET) != 0 &&
           (feed_race_find(&feed->races[index], member->last) != FEED_RECENT_COUNT ||
            now_ns <= member->last_ns + TP_RACE_HOLD_NS);
}

/* The number of a member that can go on where the book is, the furthest of them; `none`: there is
 * no such. */
static uint32_t find_heir(struct tp_feed *feed, uint32_t index, uint32_t none, uint64_t now_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    const struct feed_connection *own = &feed->connections[instrument->connection];
    uint32_t heir = none;
    uint64_t furthest = 0;
    for (uint32_t i = own->race_first; i < (uint32_t)own->race_first + own->race_count; i++) {
        const struct feed_member *member = feed_member(feed, index, i);
        const bool is_baseless =
            instrument->rule->base == TP_BASE_IN_BAND && (member->flags & MEMBER_BASED) == 0;
        if (i == instrument->connection || is_baseless || !is_usable(feed, index, i) ||
            !feed_race_is_current(feed, index, i, now_ns) ||
            (heir != none && member->last <= furthest))
            continue;
        heir = i;
        furthest = member->last;
    }
    return heir;
}

/* A member that a sync can begin on; best one whose channel brought something. */
static uint32_t find_open(struct tp_feed *feed, uint32_t index, uint32_t none)
{
    const uint32_t carrier = feed->instruments[index].connection;
    const struct feed_connection *own = &feed->connections[carrier];
    uint32_t found = none;
    for (uint32_t i = own->race_first; i < (uint32_t)own->race_first + own->race_count; i++) {
        const struct feed_connection *of = &feed->connections[i];
        const uint8_t flags = feed_member(feed, index, i)->flags;
        if (i == carrier || !of->up || of->silent || (flags & MEMBER_REFUSED) != 0)
            continue;
        if ((flags & MEMBER_HEARD) != 0)
            return i;
        found = found == none ? i : found;
    }
    return found;
}

/* The book begins anew on a member that is open. */
static void restart_on(struct tp_feed *feed, uint32_t index, uint32_t connection, uint64_t now_ns)
{
    struct feed_member *member = feed_member(feed, index, connection);
    member->flags &= (uint8_t)~MEMBER_ESTRANGED; /* its numbers are the book's from here on */
    feed_retire(feed, index, TP_FEED_EVENT_DOWN, TP_SYNC_REASON_DISCONNECTED, now_ns);
    feed_race_carry(feed, index, connection);
    feed_restart(feed, index, now_ns);
    if ((member->flags & MEMBER_DEAF) != 0) { /* still: only a message of it shows otherwise */
        feed->histories[index].deaf = true;
        feed->instruments[index].flags |= FEED_UNCONFIRMED;
        tp_mailbox_want(feed_mailbox(feed, index), index, TP_REQUEST_ANEW);
        return;
    }
    if ((member->flags & MEMBER_HEARD) == 0)
        return;
    tp_feed_confirmed(feed, index, now_ns);
    if ((feed->instruments[index].flags & (FEED_ACTIVE | FEED_WANTED)) == FEED_ACTIVE)
        feed_want(feed, index); /* its stream stands; one in-band came before */
}

static bool is_followed(const struct feed_instrument *instrument)
{
    return (instrument->flags & FEED_ACTIVE) != 0 && instrument->phase != TP_SYNC_BUFFERING;
}

/* Somebody who brought what the carrier did not is gone: the carrier's channel may have ended long
 * ago. It must bring the same within TP_RACE_HOLD_NS. */
static void demand_newest(struct tp_feed *feed, uint32_t index, uint64_t now_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    const struct feed_member *member = feed_member(feed, index, instrument->connection);
    struct feed_race *race = &feed->races[index];
    if (!is_followed(instrument) || (member->flags & MEMBER_PROVED) != 0 ||
        member->last >= instrument->version)
        return;
    if (race->due == 0) {
        race->due_since_ns = now_ns;
        feed->races_waiting++;
    }
    race->due = instrument->version;
}

/* Whether there is a member that the book can begin anew on. */
static bool begin_elsewhere(struct tp_feed *feed, uint32_t index, uint64_t now_ns)
{
    const uint32_t carrier = feed->instruments[index].connection;
    const uint32_t other = find_open(feed, index, carrier);
    if (other != carrier)
        restart_on(feed, index, other, now_ns);
    return other != carrier;
}

bool feed_race_adopt(struct tp_feed *feed, uint32_t index, uint32_t connection, uint64_t now_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    const struct feed_connection *own = &feed->connections[instrument->connection];
    const struct feed_connection *of = &feed->connections[connection];
    const bool may = of->up && !of->silent &&
                     (feed_member(feed, index, connection)->flags & MEMBER_REFUSED) == 0;
    if ((own->up && !own->silent) || !may || is_followed(instrument))
        return false;
    restart_on(feed, index, connection, now_ns);
    return true;
}

/* The book goes on by a member that met it. */
static void pass_on(struct tp_feed *feed, uint32_t index, uint32_t heir, uint64_t now_ns)
{
    feed->counters.relieved++;
    feed_race_carry(feed, index, heir);
    demand_newest(feed, index, now_ns);
    feed_race_review(feed, index, now_ns);
}

/* ---- what happens to members */

static void forget(struct feed_member *member)
{
    member->last = member->lowest = member->repeated = member->last_ns = member->heard_ns = 0;
    member->claimed = member->claimed_exchange_ns = 0;
    member->flags = member->said = 0;
    tell(member);
}

uint8_t feed_race_said(const struct tp_feed *feed, uint32_t index)
{
    uint8_t gravest = 0;
    for (uint32_t i = 0; i < TP_RACE_COUNT_MAX; i++) {
        const uint8_t said = feed->races[index].member[i].said;
        gravest = said > gravest ? said : gravest;
    }
    return gravest;
}

bool feed_race_join(struct tp_feed *feed, uint32_t index, uint32_t connection)
{
    const uint32_t carrier = feed->instruments[index].connection;
    if (!feed_race_has(feed, index, connection))
        return false;
    forget(feed_member(feed, index, connection));
    if (carrier != connection && feed->connections[carrier].up)
        return false;
    feed_race_carry(feed, index, connection);
    return true;
}

bool feed_race_leave(struct tp_feed *feed, uint32_t index, uint32_t connection, uint64_t now_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    if (!feed_race_has(feed, index, connection))
        return false;
    forget(feed_member(feed, index, connection));
    feed_forget_member(feed, index, now_ns);
    if (instrument->connection != connection) {
        feed_race_silence(feed, index, true, now_ns);
        return false;
    }
    const uint32_t heir =
        is_followed(instrument) ? find_heir(feed, index, connection, now_ns) : connection;
    if (heir != connection) {
        const bool was_silent = feed->connections[connection].silent;
        pass_on(feed, index, heir, now_ns);
        if (was_silent)
            feed_move(feed, index, TP_FEED_EVENT_SPEECH, TP_SYNC_REASON_SILENT, now_ns);
        return false;
    }
    return !begin_elsewhere(feed, index, now_ns);
}

bool feed_race_relieve(struct tp_feed *feed, uint32_t index, uint64_t now_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    const uint32_t carrier = instrument->connection;
    if (feed->connections[carrier].race_count < 2 || (instrument->flags & FEED_ACTIVE) == 0)
        return false;
    const bool follows = is_followed(instrument);
    const uint32_t next =
        follows ? find_heir(feed, index, carrier, now_ns) : find_open(feed, index, carrier);
    if (next == carrier)
        return false;
    if (follows)
        pass_on(feed, index, next, now_ns);
    else
        restart_on(feed, index, next, now_ns);
    return true;
}

/* Another connection than the book's own may carry it, which may be silent. */
static void speak(struct tp_feed *feed, uint32_t index, uint64_t now_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    if (!feed->connections[instrument->connection].silent ||
        !feed_race_relieve(feed, index, now_ns))
        return;
    if (feed_is_unproved(feed, index, now_ns)) /* what it missed is not made up for */
        tp_feed_conclude(feed, index, TP_VERDICT_UNANSWERED, 0, now_ns);
    feed_move(feed, index, TP_FEED_EVENT_SPEECH, TP_SYNC_REASON_SILENT, now_ns);
}

void feed_race_silence(struct tp_feed *feed, uint32_t index, bool silent, uint64_t now_ns)
{
    if (!silent) {
        speak(feed, index, now_ns);
        return;
    }
    demand_newest(feed, index, now_ns);
    feed_race_review(feed, index, now_ns);
}

void feed_race_hear(struct tp_feed *feed, uint32_t index, uint32_t connection, uint64_t now_ns)
{
    struct feed_member *member = feed_member(feed, index, connection);
    if ((member->flags & (MEMBER_HEARD | MEMBER_REFUSED)) == MEMBER_HEARD)
        return;
    member->flags = (uint8_t)((member->flags & ~MEMBER_REFUSED) | MEMBER_HEARD);
    member->heard_ns = now_ns;
    tell(member);
}

/* A member may carry the book now: where the carrier is silent it does. */
static void offer(struct tp_feed *feed, uint32_t index, uint32_t connection, uint64_t now_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    if (instrument->connection != connection && feed->connections[instrument->connection].silent &&
        !feed->connections[connection].silent)
        speak(feed, index, now_ns);
}

void feed_race_meet(struct tp_feed *feed, uint32_t index, uint32_t connection, uint64_t now_ns)
{
    struct feed_member *member = feed_member(feed, index, connection);
    member->flags |= MEMBER_MET;
    member->claimed = 0;
    offer(feed, index, connection, now_ns);
}

void feed_race_compare(struct tp_feed *feed, uint32_t index, uint64_t now_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    const struct feed_connection *own = &feed->connections[instrument->connection];
    for (uint32_t i = 0; i < own->race_count; i++) {
        struct feed_member *member = &feed->races[index].member[i];
        member->flags &= (uint8_t)~MEMBER_PROVED;
        if (member->claimed == 0 || member->claimed > instrument->version)
            continue;
        const bool is_same = member->claimed == instrument->version &&
                             member->claimed_exchange_ns == instrument->exchange_ns &&
                             (member->flags & MEMBER_ESTRANGED) == 0;
        member->claimed = 0;
        if (is_same)
            feed_race_meet(feed, index, own->race_first + i, now_ns);
    }
}

void feed_race_deafen(struct tp_feed *feed, uint32_t index)
{
    const uint32_t carrier = feed->instruments[index].connection;
    if (feed->connections[carrier].race_count < 2)
        return;
    struct feed_member *member = feed_member(feed, index, carrier);
    const uint8_t said = member->said; /* of trading: another channel */
    forget(member);
    member->flags = MEMBER_DEAF;
    member->said = said;
}

void feed_race_owe(struct tp_feed *feed, uint32_t index, uint32_t connection, uint64_t number,
                   uint64_t now_ns)
{
    struct feed_race *race = &feed->races[index];
    if (number <= race->held_newest)
        return;
    feed->races_waiting += race->held_newest == 0 && race->owed == 0;
    if (race->held_newest == 0)
        race->held_since_ns = now_ns;
    race->held_newest = number;
    race->ahead_by = (uint16_t)connection;
}

/* What another member brought while the book waited is newer than its base: it must come again. */
static void owe_newest(struct tp_feed *feed, uint32_t index, uint64_t now_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    const struct feed_connection *own = &feed->connections[instrument->connection];
    for (uint32_t i = own->race_first; i < (uint32_t)own->race_first + own->race_count; i++) {
        const uint64_t last = feed_member(feed, index, i)->last;
        if (last > instrument->version && is_usable(feed, index, i))
            feed_race_owe(feed, index, i, last, now_ns);
    }
}

/* The book's numbers begin at a base: a member met it if it is at the same number. */
static void meet_base(struct tp_feed *feed, uint32_t index)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    const struct feed_connection *own = &feed->connections[instrument->connection];
    const bool is_in_band = instrument->rule->base == TP_BASE_IN_BAND;
    for (uint32_t i = 0; i < own->race_count; i++) {
        struct feed_member *member = &feed->races[index].member[i];
        const bool has_met = (member->flags & MEMBER_MET) != 0 ||
                             (member->claimed == instrument->version &&
                              member->claimed_exchange_ns == instrument->exchange_ns);
        const bool is_there = member->last == instrument->version && member->last != 0 &&
                              (member->flags & MEMBER_ESTRANGED) == 0 && (!is_in_band || has_met);
        member->claimed = 0;
        member->flags &= (uint8_t) ~(MEMBER_MET | MEMBER_LAGS | MEMBER_PROVED);
        member->flags |= is_there ? MEMBER_MET : 0;
    }
}

/* The member that a base is the book's on. A base by REST may be newer than all that it brought;
 * what is kept may have led further. */
static void stand_at_base(const struct feed_instrument *instrument, struct feed_member *member,
                          uint64_t now_ns)
{
    member->flags =
        (uint8_t)((member->flags & ~MEMBER_ESTRANGED) | MEMBER_BASED | MEMBER_MET | MEMBER_PROVED);
    member->claimed = 0;
    if (instrument->rule->base == TP_BASE_IN_BAND || instrument->phase == TP_SYNC_FOLLOWING) {
        member->last = instrument->version;
        member->last_ns = now_ns;
        if (member->lowest == 0 || member->lowest > member->last)
            member->lowest = member->last;
    } else if (member->last > instrument->version) { /* of the numbering before */
        member->last = member->lowest = member->repeated = 0;
    }
}

void feed_race_begin(struct tp_feed *feed, uint32_t index, uint64_t now_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[index];
    struct feed_race *race = &feed->races[index];
    const struct feed_connection *own = &feed->connections[instrument->connection];
    if (own->race_count < 2)
        return;
    feed_race_hear(feed, index, instrument->connection, now_ns);
    meet_base(feed, index);
    stand_at_base(instrument, feed_member(feed, index, instrument->connection), now_ns);
    race->due = 0;
    for (uint32_t i = 0; i < FEED_RECENT_COUNT; i++) /* they may be of another numbering */
        race->recent[i].number = 0;
    race->recent[0].number = instrument->version;
    race->recent[0].exchange_ns = instrument->exchange_ns;
    race->recent[0].received_ns = now_ns;
    race->next_recent = 1;
    owe_newest(feed, index, now_ns);
}

void feed_race_proved(struct tp_feed *feed, uint32_t index, uint64_t asked_ns, uint64_t now_ns)
{
    const struct feed_connection *own = &feed->connections[feed->instruments[index].connection];
    for (uint32_t i = 0; own->race_count > 1 && i < own->race_count; i++) {
        struct feed_member *member = &feed->races[index].member[i];
        /* What changed since came on it too, for its channel stood by then. */
        if ((member->flags & MEMBER_HEARD) == 0 || member->last != 0 ||
            member->heard_ns >= asked_ns)
            continue;
        member->flags |= MEMBER_PROVED;
        offer(feed, index, own->race_first + i, now_ns);
    }
}

bool feed_race_enter(struct tp_feed *feed, uint32_t index)
{
    const struct feed_connection *own = &feed->connections[feed->instruments[index].connection];
    const uint32_t first = own->race_first, count = own->race_count;
    if (count < 2)
        return own->up;
    drop_held(feed, index);
    for (uint32_t i = 0; i < count; i++)
        forget(&feed->races[index].member[i]);
    for (uint32_t i = first;
         i < first + count && !feed->connections[feed->instruments[index].connection].up; i++)
        feed_race_carry(feed, index, i);
    return feed->connections[feed->instruments[index].connection].up;
}

/* ---- what the venue says of one member's channel */

void tp_feed_confirmed_on(struct tp_feed *feed, uint32_t connection, uint32_t instrument,
                          uint64_t now_ns)
{
    assert(instrument < feed->config.instrument_count &&
           connection < feed->config.connection_count);
    const struct feed_instrument *of = &feed->instruments[instrument];
    if (feed->connections[connection].race_count < 2 || (of->flags & FEED_ADDED) == 0) {
        tp_feed_confirmed(feed, instrument, now_ns);
        return;
    }
    if (!feed_race_has(feed, instrument, connection) || !feed->connections[connection].up)
        return;
    if ((feed_member(feed, instrument, connection)->flags & MEMBER_DEAF) == 0)
        feed_race_hear(feed, instrument, connection, now_ns);
    if (of->connection != connection && feed_race_adopt(feed, instrument, connection, now_ns))
        return;
    const bool waits = (of->flags & FEED_UNCONFIRMED) != 0 || feed_is_refused(feed, of);
    if (of->connection != connection && waits && !feed->histories[instrument].deaf &&
        of->rule->base != TP_BASE_IN_BAND && is_usable(feed, instrument, connection))
        feed_race_carry(feed, instrument, connection); /* nothing came of the other */
    if (of->connection == connection)
        tp_feed_confirmed(feed, instrument, now_ns);
}

void tp_feed_refused_on(struct tp_feed *feed, uint32_t connection, uint32_t instrument,
                        uint64_t now_ns)
{
    assert(instrument < feed->config.instrument_count &&
           connection < feed->config.connection_count);
    const struct feed_instrument *of = &feed->instruments[instrument];
    if (feed->connections[connection].race_count < 2 || (of->flags & FEED_ADDED) == 0) {
        tp_feed_refused(feed, instrument, now_ns);
        return;
    }
    if (!feed_race_has(feed, instrument, connection) || !feed->connections[connection].up)
        return;
    struct feed_member *member = feed_member(feed, instrument, connection);
    member->flags = MEMBER_REFUSED;
    tell(member);
    if (of->connection != connection)
        feed_race_silence(feed, instrument, true, now_ns);
    else if (of->reason == TP_SYNC_REASON_HALTED || !(feed_race_relieve(feed, instrument, now_ns) ||
                                                      begin_elsewhere(feed, instrument, now_ns)))
        tp_feed_refused(feed, instrument, now_ns);
}

/* Something is held, or owed by somebody, that a member which goes may be the one to bring. */
static bool waits_for_others(const struct feed_race *race)
{
    return race->held_newest != 0 || race->owed != 0 || race->due != 0;
}

bool tp_feed_may_leave(struct tp_feed *feed, uint32_t connection, uint64_t now_ns)
{
    assert(connection < feed->config.connection_count);
    if (feed->connections[connection].race_count < 2)
        return false;
    for (uint32_t i = 0; i < feed->config.instrument_count; i++) {
        const struct feed_instrument *instrument = &feed->instruments[i];
        if (!feed_race_has(feed, i, connection) || !is_followed(instrument))
            continue;
        /* Of the carrier, the heir; of another one, the carrier: it must lack nothing either. */
        const bool carries = instrument->connection == connection;
        const uint32_t next =
            carries ? find_heir(feed, i, connection, now_ns) : instrument->connection;
        const struct feed_member *member = feed_member(feed, i, next);
        const bool has_all =
            member->last >= instrument->version || (member->flags & MEMBER_PROVED) != 0;
        if (next == connection || !has_all || waits_for_others(&feed->races[i]))
            return false;
    }
    return true;
}

bool tp_feed_is_unconfirmed_on(const struct tp_feed *feed, uint32_t connection, uint32_t instrument)
{
    assert(instrument < feed->config.instrument_count);
    return feed->connections[connection].race_count < 2
               ? tp_feed_is_unconfirmed(feed, instrument)
               : !tp_feed_hears(feed, connection, instrument);
}

void tp_feed_race_score(const struct tp_feed *feed, uint32_t connection, uint64_t *won,
                        uint64_t *copied)
{
    assert(connection < feed->config.connection_count);
    *won = feed->connections[connection].won;
    *copied = feed->connections[connection].copied;
}

void tp_feed_race_measure(struct tp_feed *feed, uint32_t connection, struct tp_histogram *behind)
{
    assert(connection < feed->config.connection_count);
    feed->connections[connection].behind = behind;
}

bool tp_feed_hears(const struct tp_feed *feed, uint32_t connection, uint32_t instrument)
{
    assert(instrument < feed->config.instrument_count &&
           connection < feed->config.connection_count);
    const struct feed_connection *of = &feed->connections[connection];
    if (of->race_count < 2) /* of no race: as who asks tp_feed_is_unconfirmed sees it */
        return !tp_feed_is_unconfirmed(feed, instrument);
    const struct feed_race *race = &feed->races[instrument];
    return (atomic_load_explicit(&race->member[connection - of->race_first].told,
                                 memory_order_relaxed) &
            MEMBER_HEARD) != 0;
}

uint32_t tp_feed_carrier(const struct tp_feed *feed, uint32_t instrument)
{
    assert(instrument < feed->config.instrument_count);
    if (feed->races == NULL) /* it never moves */
        return feed->instruments[instrument].connection;
    return atomic_load_explicit(&feed->races[instrument].carrier, memory_order_relaxed);
}
