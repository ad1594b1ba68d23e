/* Both ends of `tickpath bench wire` in one pinned process: the exchange that sends a depth message
 * and the strategy that spins on the ring until it holds the book, so that one clock times both.
 *
 *   peer_exchange ADDRESS PORT CERT KEY INSTANCE COUNT DIRECTORY PAUSE_NS
 *
 * DIRECTORY holds exchange_info.json, depth.json (the REST answers) and messages.bin: for each
 * message u64 version, u64 size, bytes. Writes DIRECTORY/took.bin, u64 nanoseconds from just before
 * SSL_write to the consistent copy of the book. The contender, alone on the other core, connects,
 * subscribes, fetches the base and publishes to the segment INSTANCE. Between two messages pass
 * PAUSE_NS and up to as much again: most of a long pause is slept, so that a spinning contender and
 * this stay below the kernel's limit for real-time tasks.
 * Started by engine/bench/wire.py and sparse.py. Exits on any surprise. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "engine/bench/peer_stream.h"
#include "proto/records.h"
#include "shm/segment_reader.h"

enum { PATH_SIZE = 512, PRIORITY = 10 };
static const uint64_t LIVE_TIMEOUT_NS = 20000000000u, LOST_AFTER_NS = 1000000000u, SPIN_NS = 200000;

struct exchange {
    struct file exchange_info, depth, messages;
    SSL_CTX *context;
    int listener;
    struct stream feed; /* the WebSocket connection; fd -1: none yet */
    bool subscribed, base_served;
};

static void send_text(struct stream *s, const char *text)
{
    uint8_t frame[1024];
    const size_t size = strlen(text), header = write_header(frame, 0x81, size, false);
    memcpy(frame + header, text, size);
    if (!transmit(s, frame, header + size))
        die("send text");
}

static void answer_rest(struct exchange *e, struct stream *s, const char *target)
{
    const bool depth = strncmp(target, "/api/v3/depth", 13) == 0;
    const struct file *body = depth ? &e->depth : &e->exchange_info;
    char head[256];
    const int size = snprintf(head, sizeof head,
                              "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                              "Content-Length: %zu\r\nConnection: close\r\n\r\n",
                              body->size);
    (void)(transmit(s, (uint8_t *)head, (size_t)size) && transmit(s, body->data, body->size));
    if (s->ssl != NULL)
        SSL_shutdown(s->ssl);
    e->base_served |= depth;
}

/* One new connection: REST is answered and closed, an upgrade becomes the feed. */
static void accept_one(struct exchange *e)
{
    struct stream s = {.fd = accept4(e->listener, NULL, NULL, 0)};
    if (s.fd < 0)
        return;
    no_delay(s.fd);
    s.ssl = SSL_new(e->context);
    SSL_set_fd(s.ssl, s.fd);
    shake_hands(s.ssl, SSL_accept);
    const size_t head_size = read_head(&s);
    if (head_size > 8 && memmem(s.data, head_size, "pgrade: websocket", 17) != NULL) {
        if (!answer_upgrade(&s, head_size))
            die("upgrade");
        e->feed = s;
        return;
    }
    if (head_size > 8)
        answer_rest(e, &s, (const char *)s.data + 4);
    SSL_free(s.ssl);
    close(s.fd);
}

static void serve_feed(struct exchange *e)
{
    if (receive_once(&e->feed) < 0)
        die("the contender closed the feed");
    size_t header, payload, size;
    while ((size = frame_at_start(&e->feed, &header, &payload)) != 0) {
        const bool is_text = (e->feed.data[0] & 0xf) == 1;
        consume(&e->feed, size);
        if (is_text && !e->subscribed)
            send_text(
                &e->feed,
                "{\"id\":0,\"code\":0,\"msg\":\"spot@public.aggre.depth.v3.api.pb@10ms@BTCUSDT\"}");
        e->subscribed |= is_text;
    }
}

/* The book of instrument 0 as the snapshot table has it now; NULL: never written. */
static const struct tp_book_record *read_book(struct tp_reader *reader)
{
    if (tp_reader_snapshot(reader, 0) == 0)
        return NULL;
    return (const struct tp_book_record *)(void *)(reader->snapshot +
                                                   TP_READER_SNAPSHOT_HEAD_WORDS);
}

static void wait_until_live(struct exchange *e, const char *instance, struct tp_reader *reader)
{
    bool mapped = false;
    struct tp_segment_error error;
    e->feed.fd = -1;
    for (const uint64_t end_ns = now_ns() + LIVE_TIMEOUT_NS; now_ns() < end_ns;) {
        accept_one(e);
        if (e->feed.fd >= 0)
            serve_feed(e);
        if (!mapped)
            mapped = tp_reader_init(reader, NULL, instance, 0, &error) == TP_SEGMENT_OK;
        if (!mapped || !e->base_served)
            continue;
        const struct tp_book_record *book = read_book(reader);
        if (book != NULL && book->state == TP_BOOK_LIVE)
            return;
    }
    errno = ETIMEDOUT;
    die("the contender's book is not LIVE");
}

/* Spins until the snapshot of the message's version is there, woken by its TOP event. */
static uint64_t wait_for_book(struct tp_reader *reader, uint64_t version)
{
    const uint64_t start_ns = now_ns();
    for (;;) {
        const enum tp_reader_result result = tp_reader_poll(reader);
        const struct tp_event *event = (const struct tp_event *)(void *)(reader->event + 1);
        if (result != TP_READER_EVENT || event->type != TP_EVENT_TOP) {
            if (result == TP_READER_EMPTY && now_ns() - start_ns > LOST_AFTER_NS)
                die("a book did not arrive within a second");
            continue;
        }
        const struct tp_book_record *book = read_book(reader);
        if (book != NULL && book->book_sequence == version)
            return now_ns();
    }
}

static void pause_ns(uint64_t duration_ns)
{
    const uint64_t end_ns = now_ns() + duration_ns;
    if (duration_ns > SPIN_NS) {
        const uint64_t sleep_ns = duration_ns - SPIN_NS;
        (void)nanosleep(&(struct timespec){.tv_sec = (time_t)(sleep_ns / 1000000000u),
                                           .tv_nsec = (long)(sleep_ns % 1000000000u)},
                        NULL);
    }
    while (now_ns() < end_ns)
        continue;
}

static void measure(struct exchange *e, struct tp_reader *reader, uint64_t least_ns, size_t count,
                    uint64_t *took_ns)
{
    static uint8_t frame[BUFFER_SIZE];
    size_t offset = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t head[2];
        if (offset + sizeof head > e->messages.size)
            die("messages.bin is too short");
        memcpy(head, e->messages.data + offset, sizeof head);
        const size_t header = write_header(frame, 0x82, head[1], false);
        memcpy(frame + header, e->messages.data + offset + sizeof head, head[1]);
        offset += sizeof head + head[1];
        const uint64_t start_ns = now_ns();
        if (!transmit(&e->feed, frame, header + head[1]))
            die("send");
        took_ns[i] = wait_for_book(reader, head[0]) - start_ns;
        /* Acknowledgements settle; no lockstep. */
        pause_ns(least_ns + (uint64_t)random() % least_ns);
        if (receive_once(&e->feed) < 0) /* pings of the contender */
            die("the contender closed the feed");
        e->feed.size = 0;
    }
}

int main(int argc, char **argv)
{
    if (argc != 9 || atol(argv[8]) <= 0) {
        fputs("usage: peer_exchange ADDRESS PORT CERT KEY INSTANCE COUNT DIRECTORY PAUSE_NS\n",
              stderr);
        return 2;
    }
    static struct exchange e;
    const size_t count = (size_t)atol(argv[6]);
    e.exchange_info = map_file(argv[7], "exchange_info.json");
    e.depth = map_file(argv[7], "depth.json");
    e.messages = map_file(argv[7], "messages.bin");
    e.context = server_context(argv[3], argv[4]);
    e.listener = listen_on(argv[1], argv[2]);
    no_delay(e.listener);
    puts("ready");
    fflush(stdout);
    static struct tp_reader reader;
    wait_until_live(&e, argv[5], &reader);
    uint64_t *took_ns = calloc(count, sizeof *took_ns);
    if (took_ns == NULL)
        die("memory");
    /* Not before: the contender's start-up needs this core too. Without the right to, as it is. */
    (void)sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = PRIORITY});
    measure(&e, &reader, (uint64_t)atol(argv[8]), count, took_ns);
    tp_reader_deinit(&reader);
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/took.bin", argv[7]);
    FILE *output = fopen(path, "wb");
    if (output == NULL || fwrite(took_ns, sizeof *took_ns, count, output) != count ||
        fclose(output) != 0)
        die(path);
    return 0;
}
