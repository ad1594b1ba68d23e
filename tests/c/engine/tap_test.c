/* When a checkpoint is due, and of which book; what becomes of a message that the ring cannot take.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/recording/tap.h"
#include "shm/message_ring.h"

enum { BOOKS = 5, CAPACITY = 64 };
static const uint64_t SECOND = 1000000000;

static void test_checkpoint_every_book_has_its_turn(void **state)
{
    (void)state;
    struct tp_tap *tap = calloc(1, sizeof *tap);
    uint32_t instrument = 99;
    tap->checkpoint_every_ns = 10 * SECOND; /* five books: one every two seconds */
    for (uint32_t turn = 0; turn < 3 * BOOKS; turn++) {
        const uint64_t now_ns = (2 * turn + 100) * SECOND;
        assert_true(tp_tap_checkpoint_due(tap, BOOKS, now_ns, &instrument));
        assert_int_equal(instrument, turn % BOOKS);
        assert_false(tp_tap_checkpoint_due(tap, BOOKS, now_ns, &instrument));
        assert_false(tp_tap_checkpoint_due(tap, BOOKS, now_ns + 2 * SECOND - 1, &instrument));
    }
    free(tap);
}

static void test_checkpoint_is_never_due_without_a_tap_or_an_interval(void **state)
{
    (void)state;
    struct tp_tap *tap = calloc(1, sizeof *tap);
    uint32_t instrument;
    assert_false(tp_tap_checkpoint_due(NULL, BOOKS, SECOND, &instrument));
    assert_false(tp_tap_checkpoint_due(tap, BOOKS, SECOND, &instrument));
    free(tap);
}

static void test_message_that_the_ring_cannot_take_leaves_its_size(void **state)
{
    (void)state;
    char directory[] = "/tmp/tickpath-tap-XXXXXX";
    assert_non_null(mkdtemp(directory));
    const struct tp_segment_config config = {
        .directory = directory, .instance = "unit", .schema = "x", .ring_capacity = CAPACITY};
    struct tp_segment_error error;
    struct tp_tap *tap = calloc(1, sizeof *tap);
    assert_int_equal(tp_segment_create(&tap->segment, &config, &error), TP_SEGMENT_OK);
    const size_t size = tp_message_size_max(CAPACITY) + 1;
    uint8_t *message = calloc(1, size);
    tp_tap_message(tap, tp_tap_tag(TP_RECORD_IN, 2, 7), (struct tp_span){message, size}, SECOND);
    assert_int_equal(tap->oversized, 1);
    const struct tp_ring_writer *ring = tp_segment_ring_writer(tap->segment);
    assert_int_equal(ring->next, 1);
    uint64_t words[3]; /* header, size */
    for (size_t i = 0; i < 3; i++)
        words[i] = atomic_load(&ring->slots[0].word[i]);
    struct tp_message_header header;
    memcpy(&header, words, sizeof header);
    assert_int_equal(header.tag, tp_tap_tag(TP_RECORD_OVERSIZE, 2, 7));
    assert_int_equal(header.time_ns, SECOND);
    assert_int_equal(header.size, sizeof(uint64_t));
    assert_int_equal(words[sizeof header / sizeof words[0]], size);
    tp_segment_close(tap->segment);
    assert_int_equal(rmdir(directory), 0);
    free(message);
    free(tap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checkpoint_every_book_has_its_turn),
        cmocka_unit_test(test_checkpoint_is_never_due_without_a_tap_or_an_interval),
        cmocka_unit_test(test_message_that_the_ring_cannot_take_leaves_its_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
