/* Prints each instrument's best bid and ask as they change, read from C.
 *
 *     cc -O2 examples/top_of_book.c $(python3 -P -m tickpath.engine.strategy.c_reader) -o top
 *     ./top demo 10
 *     ./top demo 10 block      # sleep until woken, instead of spinning */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tickpath-reader.h"

static struct tp_reader reader; /* some 50 KiB: not for the stack */

static void print_book(uint32_t instrument)
{
    struct tp_book_record book;
    if (tp_feed_book(&reader, instrument, &book, NULL) != TP_BOOK_LIVE)
        return; /* never trade on a book that is not LIVE */
    if (book.bid_count == 0 || book.ask_count == 0)
        return;
    const struct tp_instrument_record row = tp_feed_instrument(&reader, instrument, NULL);
    printf("%s:%s %" PRId64 " %" PRId64 "\n", row.venue, row.symbol, book.bids[0].price,
           book.asks[0].price);
}

int main(int argc, char **argv)
{
    struct tp_segment_error error;
    const char *instance = argc > 1 ? argv[1] : "demo";
    const char *directory = getenv("TICKPATH_SEGMENTS"); /* NULL: /dev/shm */
    const enum tp_segment_status status =
        tp_reader_init(&reader, directory, instance, TP_FEED_SCHEMA_HASH, &error);
    if (status != TP_SEGMENT_OK) {
        fprintf(stderr, "instance %s: %s (%s)\n", instance, tp_segment_status_name(status),
                error.field != NULL ? error.field : "");
        return 1;
    }
    /* Seen in `tickpath stat`, and woken by the feed's waker; it reads well enough without. */
    if (tp_reader_register(&reader, "top_of_book.c", false) != TP_SEGMENT_OK)
        fprintf(stderr, "not registered: %s\n", tp_segment_status_name(reader.registration));
    if (argc > 3 && strcmp(argv[3], "block") == 0) {
        reader.spin_ns = 20 * 1000;         /* spin so long, */
        reader.sleep_ns = 50 * 1000;        /* then sleep: where there is no waker, so long */
        reader.wait_ns = 100 * 1000 * 1000; /* and return at the latest after this */
    }
    for (uint32_t i = 0; i < tp_feed_instrument_count(&reader); i++)
        print_book(i);
    for (long events = argc > 2 ? atol(argv[2]) : 100; events > 0;) {
        switch (tp_reader_spin(&reader)) {
        case TP_READER_EVENT:
            events--;
            if (tp_feed_event(&reader).type == TP_EVENT_TOP)
                print_book(tp_feed_event(&reader).instrument);
            break;
        case TP_READER_EVICTED: /* only told to a lossless reader */
        case TP_READER_LAPPED:  /* stands at the head again: all books may have changed */
            for (uint32_t i = 0; i < tp_feed_instrument_count(&reader); i++)
                print_book(i);
            break;
        case TP_READER_SILENT: /* books are STALE until TP_READER_ALIVE */
        case TP_READER_ALIVE:
        case TP_READER_EMPTY:
            break;
        case TP_READER_MOVED: /* ended or replaced: go on with the next one as soon as it is there
                               */
            if (tp_reader_reopen(&reader, &error) != TP_SEGMENT_OK)
                events = 0;
            break;
        }
    }
    tp_reader_deinit(&reader);
    return 0;
}
