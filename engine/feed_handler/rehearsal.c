#include "engine/feed_handler/rehearsal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/feed_handler/hot_path.h"

static const uint64_t NOTE_EVERY_NS_DEFAULT = 1000000;
enum { RESTS_DEFAULT = 20 };

/* ---- the steps ------------------------------------------------------------------------------- */

/* The next sample whose book is LIVE now; none: after one round of them. */
static bool choose(struct tp_rehearsal *rehearsal, const struct tp_hot_path *hot)
{
    for (uint32_t i = 0; i < TP_REHEARSAL_SAMPLE_COUNT; i++) {
        rehearsal->playing = (rehearsal->playing + 1) % TP_REHEARSAL_SAMPLE_COUNT;
        const struct tp_rehearsal_sample *sample = &rehearsal->sample[rehearsal->playing];
        if (sample->size != 0 &&
            tp_feed_understudy_dress(rehearsal->feed, hot->feed, &sample->part))
            return true;
    }
    return false;
}

/* Puts the understudy's session where the real one is in its loop, and has a frame come. */
static bool play(struct tp_rehearsal *rehearsal, const struct tp_hot_path *hot)
{
    if (!choose(rehearsal, hot))
        return false;
    const struct tp_rehearsal_sample *sample = &rehearsal->sample[rehearsal->playing];
    const enum tp_understudy_kind kind = (enum tp_understudy_kind)sample->kind;
    const uint32_t number = sample->part.connection;
    struct tp_loop_connection *connection = &rehearsal->understudy->loop->connection[number];
    *connection = (struct tp_loop_connection){
        .session = tp_understudy_session(rehearsal->connections, kind, connection),
        .number = number,
        .is_open = true,
        .is_websocket = true,
    };
    tp_understudy_play(rehearsal->connections, kind, (enum tp_ws_opcode)sample->opcode,
                       (struct tp_span){sample->text, sample->size});
    return true;
}

static bool receive(struct tp_rehearsal *rehearsal, uint64_t now_ns)
{
    struct tp_loop *loop = rehearsal->understudy->loop;
    return tp_loop_begin(loop, now_ns) && tp_loop_next(loop, &rehearsal->event) &&
           rehearsal->event.kind == TP_LOOP_MESSAGE;
}

static bool handle(struct tp_rehearsal *rehearsal)
{
    const uint64_t before = tp_feed_understudy_published(rehearsal->feed);
    tp_hot_path_handle(rehearsal->understudy, &rehearsal->event);
    rehearsal->counters.published += tp_feed_understudy_published(rehearsal->feed) != before;
    return true;
}

/* The rest of the turn: nothing is left to read, and no tick is due, ever. */
static bool end(struct tp_rehearsal *rehearsal)
{
    struct tp_loop_event event;
    while (tp_loop_next(rehearsal->understudy->loop, &event))
        if (event.kind != TP_LOOP_TURN)
            return false;
    return true;
}

static void touch(struct tp_rehearsal *rehearsal, const struct tp_hot_path *hot)
{
    const struct tp_feed_part *part = &rehearsal->sample[rehearsal->playing].part;
    const struct tp_loop_connection *connection = &hot->loop->connection[part->connection];
    __builtin_prefetch(connection);
    if (connection->session != NULL)
        tp_session_touch(connection->session);
    tp_feed_touch(hot->feed, part);
    rehearsal->counters.rounds++;
}

/* False: there is nothing to rehearse, or the understudy is broken. */
static bool do_step(struct tp_rehearsal *rehearsal, const struct tp_hot_path *hot, uint64_t now_ns)
{
    switch (rehearsal->step) {
    case TP_REHEARSAL_PLAY:
        return play(rehearsal, hot);
    case TP_REHEARSAL_RECEIVE:
        rehearsal->is_broken = !receive(rehearsal, now_ns);
        break;
    case TP_REHEARSAL_HANDLE:
        rehearsal->is_broken = !handle(rehearsal);
        break;
    case TP_REHEARSAL_END:
        rehearsal->is_broken = !end(rehearsal);
        break;
    case TP_REHEARSAL_TOUCH:
        touch(rehearsal, hot);
        break;
    case TP_REHEARSAL_STEP_COUNT:
        break;
    }
    return !rehearsal->is_broken;
}

/* ---- when ------------------------------------------------------------------------------------ */

/* A step lasted until the turn behind it began, at most: known where that is this one. */
static void measure(struct tp_rehearsal *rehearsal, uint64_t turn, uint64_t now_ns)
{
    const uint64_t took_ns = now_ns - rehearsal->began_ns;
    rehearsal->next_step_ns = now_ns + rehearsal->rests * took_ns;
    if (rehearsal->began_turn + 1 != turn) {
        rehearsal->counters.abandoned += rehearsal->step != TP_REHEARSAL_PLAY;
        rehearsal->next_step_ns = now_ns; /* what came in between is no rehearsal's */
    } else {
        rehearsal->counters.spent_ns += took_ns;
        if (took_ns > rehearsal->counters.step_ns_max)
            rehearsal->counters.step_ns_max = took_ns;
    }
    rehearsal->began_turn = 0;
}

void tp_rehearsal_idle(struct tp_rehearsal *rehearsal, const struct tp_hot_path *hot,
                       uint64_t now_ns)
{
    if (!atomic_load_explicit(&rehearsal->is_on, memory_order_relaxed) || rehearsal->is_broken)
        return;
    const uint64_t turn = hot->loop->counters.loops;
    if (rehearsal->began_turn != 0)
        measure(rehearsal, turn, now_ns);
    if (now_ns < rehearsal->next_step_ns)
        return;
    rehearsal->began_ns = now_ns;
    rehearsal->began_turn = turn;
    if (do_step(rehearsal, hot, now_ns))
        rehearsal->step = (rehearsal->step + 1) % TP_REHEARSAL_STEP_COUNT;
}

void tp_rehearsal_note(struct tp_rehearsal *rehearsal, const struct tp_hot_path *hot,
                       const struct tp_loop_event *event, struct tp_span text)
{
    if (!atomic_load_explicit(&rehearsal->is_on, memory_order_relaxed) ||
        text.size > TP_UNDERSTUDY_TEXT_MAX)
        return;
    struct tp_feed_part part;
    const enum tp_understudy_kind kind =
        tp_understudy_kind_of(hot->loop->connection[event->connection].session);
    const uint8_t opcode = (uint8_t)event->message.opcode;
    if (kind == TP_UNDERSTUDY_KIND_COUNT ||
        !tp_feed_understudy_note(hot->feed, event->connection, opcode, text, &part))
        return;
    /* The one that is being played keeps its place until it was. */
    rehearsal->next_sample = (rehearsal->next_sample + 1) % TP_REHEARSAL_SAMPLE_COUNT;
    if (rehearsal->next_sample == rehearsal->playing)
        rehearsal->next_sample = (rehearsal->next_sample + 1) % TP_REHEARSAL_SAMPLE_COUNT;
    struct tp_rehearsal_sample *sample = &rehearsal->sample[rehearsal->next_sample];
    sample->part = part;
    sample->kind = (uint32_t)kind;
    sample->opcode = opcode;
    sample->size = (uint32_t)text.size;
    memcpy(sample->text, text.data, text.size);
    rehearsal->counters.notes++;
    rehearsal->next_note_ns = event->now_ns + rehearsal->note_every_ns;
}

/* ---- the cold side --------------------------------------------------------------------------- */

struct tp_rehearsal *tp_rehearsal_new(const struct tp_hot_path *hot, char *error, size_t error_size)
{
    struct tp_rehearsal *rehearsal = calloc(1, sizeof *rehearsal);
    snprintf(error, error_size, "out of memory");
    if (rehearsal == NULL)
        return NULL;
    rehearsal->rests = RESTS_DEFAULT;
    rehearsal->note_every_ns = NOTE_EVERY_NS_DEFAULT;
    rehearsal->feed = tp_feed_understudy_new(hot->feed);
    rehearsal->understudy = tp_hot_path_new();
    struct tp_loop *loop = tp_loop_new(hot->loop->connection_max);
    if (rehearsal->understudy != NULL)
        rehearsal->understudy->loop = loop;
    else
        tp_loop_free(loop);
    const struct tp_netif *netif = hot->loop->netif;
    if (rehearsal->feed != NULL && loop != NULL && rehearsal->understudy != NULL)
        rehearsal->connections =
            tp_understudy_new(netif != NULL && netif->link->partial_checksums, error, error_size);
    if (rehearsal->connections == NULL) {
        tp_rehearsal_free(rehearsal);
        return NULL;
    }
    rehearsal->understudy->feed = tp_feed_understudy_feed(rehearsal->feed);
    loop->netif = tp_understudy_netif(rehearsal->connections);
    loop->connection_count = hot->loop->connection_max;
    loop->next_tick_ns = UINT64_MAX; /* time passes for the real one only */
    return rehearsal;
}

void tp_rehearsal_free(struct tp_rehearsal *rehearsal)
{
    if (rehearsal == NULL)
        return;
    if (rehearsal->understudy != NULL)
        tp_loop_free(rehearsal->understudy->loop);
    tp_hot_path_free(rehearsal->understudy);
    tp_understudy_free(rehearsal->connections);
    tp_feed_understudy_free(rehearsal->feed);
    free(rehearsal);
}

size_t tp_rehearsal_size(const struct tp_feed_config *feed)
{
    return sizeof(struct tp_rehearsal) + sizeof(struct tp_hot_path) +
           tp_loop_size(feed->connection_count) + tp_feed_understudy_size(feed);
}

void tp_rehearsal_switch(struct tp_rehearsal *rehearsal, bool is_on)
{
    atomic_store_explicit(&rehearsal->is_on, is_on, memory_order_relaxed);
}
