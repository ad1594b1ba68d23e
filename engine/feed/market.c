/* What else the venue streams of an instrument: trades, and its own best prices. Each is an event;
 * no book is made of either, and a book's state says nothing of them. Hot path. */
#include <string.h>

#include "engine/feed/publish.h"
#include "shm/ring_gate.h"

/* What all events of a message have. */
static union feed_event event_of(const struct tp_feed *feed, const struct tp_route *route,
                                 uint32_t connection, uint64_t received_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[route->instrument];
    const struct feed_arrived arrived = feed_arrived(feed, received_ns);
    return (union feed_event){.event = {.instrument = (uint16_t)route->instrument,
                                        .price_exponent = instrument->price_exponent,
                                        .quantity_exponent = instrument->quantity_exponent,
                                        .flags = arrived.flags,
                                        .connection = (uint16_t)connection,
                                        .received_ns = arrived.received_ns,
                                        .published_ns = tp_clock_now_ns(feed->config.clock)}};
}

static void publish_best(struct tp_feed *feed, union feed_event *out)
{
    const struct tp_depth_update *update = feed->update;
    const struct tp_level none = {0, 0};
    const struct tp_level bid = update->bid_count > 0 ? update->bids[0] : none;
    const struct tp_level ask = update->ask_count > 0 ? update->asks[0] : none;
    out->event.type = TP_EVENT_BEST;
    out->event.u.top.bid = bid.price;
    out->event.u.top.bid_quantity = bid.quantity;
    out->event.u.top.ask = ask.price;
    out->event.u.top.ask_quantity = ask.quantity;
    (void)tp_ring_publish(feed->config.ring, out->words);
    feed->counters.bests++;
}

static uint8_t trade_flags(uint32_t flags)
{
    return (uint8_t)((flags & TP_TRADE_SELL ? TP_EVENT_SELL : 0) |
                     (flags & TP_TRADE_SIDELESS ? TP_EVENT_SIDELESS : 0) |
                     (flags & TP_TRADE_HASHED ? TP_EVENT_HASHED : 0));
}

static void publish_trades(struct tp_feed *feed, union feed_event *out)
{
    const struct tp_trade_update *update = feed->trades;
    const uint8_t flags = out->event.flags;
    out->event.type = TP_EVENT_TRADE;
    for (uint32_t i = 0; i < update->count; i++) {
        const struct tp_trade *trade = &update->trades[i];
        out->event.flags = flags | trade_flags(trade->flags);
        out->event.u.trade.price = trade->price;
        out->event.u.trade.quantity = trade->quantity;
        out->event.u.trade.exchange_ns = trade->exchange_ns;
        out->event.u.trade.trade_id = trade->id;
        (void)tp_ring_publish(feed->config.ring, out->words);
    }
    feed->counters.trades += update->count;
}

static enum tp_decode_status decode(struct tp_feed *feed, const struct tp_venue *venue,
                                    const struct tp_body *body)
{
    if (body->meaning == TP_MEANING_TRADES)
        return venue->decode_trades(body, feed->trades);
    const enum tp_decode_status status = venue->decode_depth(body, feed->update);
    return status == TP_DECODE_OK && (feed->update->flags & TP_DEPTH_TOP) == 0 ? TP_DECODE_UNKNOWN
                                                                               : status;
}

/* The book's own messages are whole: it stays as it is. A number that its scale does not hold has
 * the scale moved all the same: else no such trade would ever be shown. */
static enum tp_feed_result refuse(struct tp_feed *feed, uint32_t index,
                                  enum tp_decode_status status)
{
    if (feed_is_misfit(feed, status) && feed->misfit.text.at != NULL)
        feed_tell_misfit(feed, index, status);
    else
        feed->counters.broken++;
    return TP_FEED_BROKEN;
}

enum tp_feed_result feed_take_market(struct tp_feed *feed, const struct tp_venue_message *message,
                                     const struct tp_route *route, uint64_t received_ns)
{
    const struct feed_instrument *instrument = &feed->instruments[route->instrument];
    const bool is_trades = route->meaning == TP_MEANING_TRADES;
    const struct tp_venue *venue = feed->connections[message->connection].venue;
    if (is_trades && venue->decode_trades == NULL) {
        feed->counters.unpublished++;
        return TP_FEED_IGNORED;
    }
    if ((instrument->flags & FEED_ACTIVE) == 0) {
        feed->counters.inactive++;
        return TP_FEED_IGNORED;
    }
    const struct tp_body body = {.data = message->data + route->body_offset,
                                 .size = route->body_size,
                                 .meaning = route->meaning,
                                 .scale = {.price_exponent = instrument->price_exponent,
                                           .quantity_exponent = instrument->quantity_exponent},
                                 .misfit = &feed->misfit};
    feed->misfit.text.at = NULL; /* what it was of is gone */
    const enum tp_decode_status status = decode(feed, venue, &body);
    if (status != TP_DECODE_OK)
        return refuse(feed, route->instrument, status);
    tp_ring_gate_pass(feed->config.gate, is_trades ? feed->trades->count : 1);
    union feed_event out = event_of(feed, route, message->connection, received_ns);
    if (is_trades)
        publish_trades(feed, &out);
    else
        publish_best(feed, &out);
    return TP_FEED_APPLIED;
}
