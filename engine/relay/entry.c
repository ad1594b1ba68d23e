/* Entries of entry.h: written, checked, published. */
#include "engine/relay/entry.h"

#include <string.h>

union relay_event {
    struct tp_event event;
    uint64_t words[TP_RING_EVENT_WORDS];
};

union relay_record {
    struct tp_book_record record;
    uint64_t words[sizeof(struct tp_book_record) / sizeof(uint64_t)];
};

/* The sum of two stays below 2^63. */
static const uint64_t STAMP_MAX = (UINT64_C(1) << 62) - 1;

uint32_t tp_relay_entry_write(uint8_t *out, const struct tp_relay_head *head,
                              const uint64_t *record, uint16_t state, uint16_t reason)
{
    struct tp_book_record book;
    memcpy(&book, record, sizeof book);
    book.state = state;
    book.reason = reason;
    if (book.bid_count > TP_BOOK_DEPTH_MAX)
        book.bid_count = TP_BOOK_DEPTH_MAX;
    if (book.ask_count > TP_BOOK_DEPTH_MAX)
        book.ask_count = TP_BOOK_DEPTH_MAX;
    const size_t bids_size = book.bid_count * sizeof(struct tp_level);
    const size_t asks_size = book.ask_count * sizeof(struct tp_level);
    uint8_t *at = out;
    memcpy(at, head, sizeof *head);
    at += sizeof *head;
    memcpy(at, &book, TP_RELAY_BOOK_HEAD_SIZE);
    at += TP_RELAY_BOOK_HEAD_SIZE;
    memcpy(at, book.bids, bids_size);
    memcpy(at + bids_size, book.asks, asks_size);
    return (uint32_t)(at - out + (ptrdiff_t)(bids_size + asks_size));
}

static enum tp_relay_fault check_head(const struct tp_relay_head *head, uint32_t instrument)
{
    if (head->format != TP_RELAY_FORMAT)
        return TP_RELAY_WRONG_FORMAT;
    if ((head->flags & ~TP_RELAY_FLAG_GAP) != 0)
        return TP_RELAY_UNKNOWN_FLAGS;
    if (head->instrument != instrument)
        return TP_RELAY_OTHER_ONE;
    const int64_t far = (int64_t)STAMP_MAX;
    if (head->realtime_offset_ns > far || head->realtime_offset_ns < -far || head->sent_ns > far ||
        head->sent_ns < 0)
        return TP_RELAY_STAMP_TOO_FAR;
    return TP_RELAY_SOUND;
}

/* sign: -1 for bids, whose prices fall, 1 for asks. */
static enum tp_relay_fault check_side(const struct tp_level *levels, uint32_t count, int sign)
{
    for (uint32_t i = 0; i < count; i++) {
        if (levels[i].quantity <= 0)
            return TP_RELAY_EMPTY_LEVEL;
        if (i > 0 && (sign > 0 ? levels[i].price <= levels[i - 1].price
                               : levels[i].price >= levels[i - 1].price))
            return TP_RELAY_DISORDER;
    }
    return TP_RELAY_SOUND;
}

static bool is_scale(int8_t price_exponent, int8_t quantity_exponent)
{
    return price_exponent <= 0 && price_exponent >= -18 && quantity_exponent <= 0 &&
           quantity_exponent >= -18;
}

static enum tp_relay_fault check_book(const struct tp_book_record *book, uint32_t instrument)
{
    if (book->instrument != instrument)
        return TP_RELAY_OTHER_ONE;
    if (book->state > TP_BOOK_CROSSED || book->reason > TP_SYNC_REASON_MAX)
        return TP_RELAY_UNKNOWN_STATE;
    if ((book->flags & ~TP_EVENT_HOP_ZERO) != 0)
        return TP_RELAY_UNKNOWN_FLAGS;
    if (!is_scale(book->price_exponent, book->quantity_exponent))
        return TP_RELAY_WRONG_SCALE;
    const uint64_t stamps[] = {book->exchange_ns, book->received_ns,  book->taken_ns,
                               book->decoded_ns,  book->published_ns, book->message_ns,
                               book->verified_ns};
    for (size_t i = 0; i < sizeof stamps / sizeof stamps[0]; i++)
        if (stamps[i] > STAMP_MAX)
            return TP_RELAY_STAMP_TOO_FAR;
    enum tp_relay_fault fault = check_side(book->bids, book->bid_count, -1);
    if (fault == TP_RELAY_SOUND)
        fault = check_side(book->asks, book->ask_count, 1);
    if (fault != TP_RELAY_SOUND)
        return fault;
    const bool is_crossed =
        book->bid_count > 0 && book->ask_count > 0 && book->bids[0].price >= book->asks[0].price;
    return is_crossed && book->state == TP_BOOK_LIVE ? TP_RELAY_CROSSED_LIVE : TP_RELAY_SOUND;
}

static enum tp_relay_fault read_book(struct tp_relay_entry *entry, const uint8_t *data, size_t size)
{
    struct tp_book_record *book = &entry->record;
    memset(book, 0, sizeof *book);
    if (size < TP_RELAY_BOOK_HEAD_SIZE)
        return TP_RELAY_TRUNCATED;
    memcpy(book, data, TP_RELAY_BOOK_HEAD_SIZE);
    if (book->bid_count > TP_BOOK_DEPTH_MAX || book->ask_count > TP_BOOK_DEPTH_MAX)
        return TP_RELAY_TOO_DEEP;
    const size_t bids_size = book->bid_count * sizeof(struct tp_level);
    const size_t asks_size = book->ask_count * sizeof(struct tp_level);
    if (size != TP_RELAY_BOOK_HEAD_SIZE + bids_size + asks_size)
        return TP_RELAY_TRUNCATED;
    memcpy(book->bids, data + TP_RELAY_BOOK_HEAD_SIZE, bids_size);
    memcpy(book->asks, data + TP_RELAY_BOOK_HEAD_SIZE + bids_size, asks_size);
    return check_book(book, entry->head.instrument);
}

/* Flags that an event of a type may have besides HOP_ZERO; -1: no type that we know. */
static int flags_of(uint8_t type)
{
    switch (type) {
    case TP_EVENT_LEVEL:
        return TP_EVENT_ASK | TP_EVENT_MORE;
    case TP_EVENT_TRADE:
        return TP_EVENT_SELL | TP_EVENT_SIDELESS | TP_EVENT_HASHED | TP_EVENT_MORE;
    case TP_EVENT_BEST:
        return TP_EVENT_MORE;
    case TP_EVENT_TOP:
    case TP_EVENT_STATE:
    case TP_EVENT_CLEAR:
    case TP_EVENT_MESSAGE:
    case TP_EVENT_INSTRUMENT:
    case TP_EVENT_STATUS:
    case TP_EVENT_VERIFIED:
        return 0;
    default:
        return -1;
    }
}

static enum tp_relay_fault check_values(const struct tp_event *event)
{
    switch (event->type) {
    case TP_EVENT_LEVEL:
        return event->u.level.quantity < 0 ? TP_RELAY_EMPTY_LEVEL : TP_RELAY_SOUND;
    case TP_EVENT_TRADE:
        return event->u.trade.quantity < 0 ? TP_RELAY_EMPTY_LEVEL : TP_RELAY_SOUND;
    case TP_EVENT_TOP:
    case TP_EVENT_BEST:
        return event->u.top.bid_quantity < 0 || event->u.top.ask_quantity < 0 ? TP_RELAY_EMPTY_LEVEL
                                                                              : TP_RELAY_SOUND;
    case TP_EVENT_STATE:
        return event->u.state.state < 0 || event->u.state.state > TP_BOOK_CROSSED ||
                       event->u.state.reason < 0 || event->u.state.reason > TP_SYNC_REASON_MAX
                   ? TP_RELAY_UNKNOWN_STATE
                   : TP_RELAY_SOUND;
    case TP_EVENT_STATUS:
        return event->u.status.status > TP_INSTRUMENT_DELISTED ? TP_RELAY_UNKNOWN_STATE
                                                               : TP_RELAY_SOUND;
    case TP_EVENT_MESSAGE:
        return event->u.message.taken_ns > STAMP_MAX || event->u.message.decoded_ns > STAMP_MAX
                   ? TP_RELAY_STAMP_TOO_FAR
                   : TP_RELAY_SOUND;
    case TP_EVENT_VERIFIED:
        return event->u.verified.verified_ns > STAMP_MAX ? TP_RELAY_STAMP_TOO_FAR : TP_RELAY_SOUND;
    default:
        return TP_RELAY_SOUND;
    }
}

static enum tp_relay_fault check_event(const struct tp_event *event, uint32_t instrument)
{
    if (event->instrument != instrument)
        return TP_RELAY_OTHER_ONE;
    if (event->received_ns > STAMP_MAX || event->published_ns > STAMP_MAX)
        return TP_RELAY_STAMP_TOO_FAR;
    const int known = flags_of(event->type);
    if (known < 0)
        return TP_RELAY_UNKNOWN_EVENT;
    if ((event->flags & ~(known | TP_EVENT_HOP_ZERO)) != 0)
        return TP_RELAY_UNKNOWN_FLAGS;
    if (!is_scale(event->price_exponent, event->quantity_exponent))
        return TP_RELAY_WRONG_SCALE;
    return check_values(event);
}

static enum tp_relay_fault read_events(struct tp_relay_entry *entry, const uint8_t *data,
                                       size_t size)
{
    if (size % sizeof(struct tp_event) != 0 ||
        size / sizeof(struct tp_event) > TP_RELAY_EVENT_COUNT_MAX)
        return TP_RELAY_TOO_MANY_EVENTS;
    entry->events = data;
    entry->event_count = (uint32_t)(size / sizeof(struct tp_event));
    entry->tells_state = false;
    for (uint32_t i = 0; i < entry->event_count; i++) {
        struct tp_event event;
        memcpy(&event, data + i * sizeof event, sizeof event);
        const enum tp_relay_fault fault = check_event(&event, entry->head.instrument);
        if (fault != TP_RELAY_SOUND)
            return fault;
        if (event.type == TP_EVENT_STATE) {
            entry->tells_state = true;
            entry->state = (uint16_t)event.u.state.state;
            entry->reason = (uint16_t)event.u.state.reason;
        }
    }
    return TP_RELAY_SOUND;
}

enum tp_relay_fault tp_relay_entry_read(struct tp_relay_entry *entry, const uint8_t *book,
                                        size_t book_size, const uint8_t *events, size_t events_size,
                                        uint32_t instrument)
{
    entry->event_count = 0;
    if (book_size < sizeof entry->head)
        return TP_RELAY_TRUNCATED;
    memcpy(&entry->head, book, sizeof entry->head);
    enum tp_relay_fault fault = check_head(&entry->head, instrument);
    if (fault == TP_RELAY_SOUND)
        fault = read_book(entry, book + sizeof entry->head, book_size - sizeof entry->head);
    if (fault == TP_RELAY_SOUND)
        fault = read_events(entry, events, events_size);
    return fault;
}

/* A stamp of the source's clock in ours; not in the future, whatever the two hosts' clocks say. */
static uint64_t own_time(const struct tp_relay_segment *segment, const struct tp_relay_entry *entry,
                         uint64_t stamp, uint64_t now_ns)
{
    if (stamp == 0) /* not known */
        return 0;
    /* Both were checked: below 2^62 in size. */
    const int64_t realtime = (int64_t)stamp + entry->head.realtime_offset_ns;
    if (realtime <= segment->realtime_offset_ns)
        return 0;
    const uint64_t own = (uint64_t)realtime - (uint64_t)segment->realtime_offset_ns;
    return own < now_ns ? own : now_ns;
}

static void publish_made(const struct tp_relay_segment *segment, const struct tp_book_record *book,
                         uint8_t type, const int64_t value[4], uint64_t now_ns)
{
    union relay_event out = {.event = {.instrument = book->instrument,
                                       .type = type,
                                       .price_exponent = book->price_exponent,
                                       .quantity_exponent = book->quantity_exponent,
                                       .connection = book->connection,
                                       .received_ns = now_ns,
                                       .published_ns = now_ns}};
    memcpy(out.event.u.value, value, sizeof out.event.u.value);
    (void)tp_ring_publish(segment->ring, out.words);
}

static void publish_state(const struct tp_relay_segment *segment, const struct tp_book_record *book,
                          const struct tp_relay_publication *how, uint64_t now_ns)
{
    const int64_t value[4] = {how->state, how->reason, 0, 0};
    publish_made(segment, book, TP_EVENT_STATE, value, now_ns);
}

static void publish_top(const struct tp_relay_segment *segment, const struct tp_book_record *book,
                        uint64_t now_ns)
{
    int64_t value[4] = {0};
    if (book->bid_count > 0) {
        value[0] = book->bids[0].price;
        value[1] = book->bids[0].quantity;
    }
    if (book->ask_count > 0) {
        value[2] = book->asks[0].price;
        value[3] = book->asks[0].quantity;
    }
    publish_made(segment, book, TP_EVENT_TOP, value, now_ns);
}

/* The stamps among an event's values, and what it tells of a book that is worse than it says. */
static void values_to_ours(const struct tp_relay_segment *segment,
                           const struct tp_relay_entry *entry,
                           const struct tp_relay_publication *how, struct tp_event *event,
                           uint64_t now_ns)
{
    if (event->type == TP_EVENT_MESSAGE) {
        event->u.message.taken_ns = own_time(segment, entry, event->u.message.taken_ns, now_ns);
        event->u.message.decoded_ns = own_time(segment, entry, event->u.message.decoded_ns, now_ns);
    }
    if (event->type == TP_EVENT_VERIFIED)
        event->u.verified.verified_ns =
            own_time(segment, entry, event->u.verified.verified_ns, now_ns);
    if (event->type == TP_EVENT_STATE && how->state != entry->record.state) {
        event->u.state.state = how->state;
        event->u.state.reason = how->reason;
    }
}

static void publish_events(const struct tp_relay_segment *segment,
                           const struct tp_relay_entry *entry,
                           const struct tp_relay_publication *how, uint64_t now_ns)
{
    for (uint32_t i = 0; i < entry->event_count; i++) {
        union relay_event out;
        memcpy(&out.event, entry->events + i * sizeof out.event, sizeof out.event);
        out.event.received_ns = own_time(segment, entry, out.event.received_ns, now_ns);
        out.event.published_ns = now_ns;
        values_to_ours(segment, entry, how, &out.event, now_ns);
        (void)tp_ring_publish(segment->ring, out.words);
    }
}

static void publish_record(const struct tp_relay_segment *segment,
                           const struct tp_relay_entry *entry,
                           const struct tp_relay_publication *how, uint64_t ring_index,
                           uint64_t now_ns)
{
    union relay_record out = {.record = entry->record};
    uint64_t *const stamps[] = {&out.record.received_ns, &out.record.taken_ns,
                                &out.record.decoded_ns, &out.record.message_ns,
                                &out.record.verified_ns};
    for (size_t i = 0; i < sizeof stamps / sizeof stamps[0]; i++)
        *stamps[i] = own_time(segment, entry, *stamps[i], now_ns);
    out.record.generation = 1; /* our rows are written once: other rows are another segment */
    out.record.published_ns = now_ns;
    out.record.state = how->state;
    out.record.reason = how->reason;
    const size_t used =
        offsetof(struct tp_book_record, asks) + out.record.ask_count * sizeof(struct tp_level);
    tp_snapshot_publish(segment->snapshots, out.record.instrument, ring_index, out.words,
                        (uint32_t)(used / sizeof(uint64_t)));
}

static void record_ages(const struct tp_relay_segment *segment, const struct tp_relay_entry *entry,
                        uint64_t now_ns)
{
    const int64_t sent = entry->head.sent_ns - segment->realtime_offset_ns;
    const uint64_t sent_ns = sent > 0 && (uint64_t)sent < now_ns ? (uint64_t)sent : now_ns;
    const uint64_t received_ns = own_time(segment, entry, entry->record.received_ns, now_ns);
    tp_histogram_record(segment->sent_to_published, now_ns - sent_ns);
    tp_histogram_record(segment->received_to_published, now_ns - received_ns);
}

void tp_relay_entry_publish(const struct tp_relay_segment *segment,
                            const struct tp_relay_entry *entry,
                            struct tp_relay_publication *publication)
{
    const struct tp_relay_publication how = *publication;
    const uint64_t now_ns = tp_clock_now_ns(segment->clock);
    const bool is_live = how.state == TP_BOOK_LIVE, clears = how.with_events && how.is_gap;
    const bool tells = how.with_events && entry->tells_state;
    const bool is_own = how.state == entry->record.state;
    /* What a reader believes who saw these events. */
    const uint16_t state = !tells ? how.told_state : is_own ? entry->state : how.state;
    const uint16_t reason = !tells ? how.told_reason : is_own ? entry->reason : how.reason;
    const bool differs = state != how.state || reason != how.reason;
    /* No level is read under a better state than it deserves. */
    const bool first = differs && !is_live && !tells, last = differs && !first;
    const bool top = clears && entry->event_count == 0;
    const uint64_t count =
        (how.with_events ? entry->event_count : 0) + (uint64_t)first + clears + last + top;
    publish_record(segment, entry, &how, segment->ring->next + count, now_ns);
    if (first)
        publish_state(segment, &entry->record, &how, now_ns);
    if (clears) {
        const int64_t nothing[4] = {0};
        publish_made(segment, &entry->record, TP_EVENT_CLEAR, nothing, now_ns);
    }
    if (how.with_events)
        publish_events(segment, entry, &how, now_ns);
    if (last)
        publish_state(segment, &entry->record, &how, now_ns);
    if (top)
        publish_top(segment, &entry->record, now_ns);
    publication->told_state = how.state;
    publication->told_reason = how.reason;
    if (how.with_events && entry->event_count > 0)
        record_ages(segment, entry, now_ns);
}
