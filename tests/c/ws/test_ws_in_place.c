/* What the bytes cannot show from outside: payloads stay where they arrived, the buffer is moved
 * only when its tail runs short, and out-of-range writes are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "netstack/ws/ws.h"

enum { CAPACITY = 1 << 16 };

struct fixture {
    uint8_t data[CAPACITY];
    struct tp_buffer buffer;
    struct tp_ws ws;
    struct tp_ws_message message;
};

static struct fixture fixture;

static int set_up(void **state)
{
    (void)state;
    fixture.buffer = (struct tp_buffer){fixture.data, CAPACITY, 0, 0};
    tp_ws_init(&fixture.ws, &(struct tp_ws_config){CAPACITY / 2, 100, 0});
    return 0;
}

static void arrive(const void *bytes, size_t size)
{
    assert_true(size <= tp_buffer_space(&fixture.buffer));
    memcpy(fixture.data + fixture.buffer.tail, bytes, size);
    fixture.buffer.tail += size;
}

static void arrive_filler(uint8_t value, size_t size)
{
    assert_true(size <= tp_buffer_space(&fixture.buffer));
    memset(fixture.data + fixture.buffer.tail, value, size);
    fixture.buffer.tail += size;
}

static enum tp_status input(void)
{
    return tp_ws_input(&fixture.ws, &fixture.buffer, &fixture.message);
}

static void test_message_whole_frames_are_returned_where_they_arrived(void **state)
{
    (void)state;
    arrive("\x82\x03"
           "abc"
           "\x81\x02"
           "de",
           9);
    assert_int_equal(input(), TP_OK);
    assert_ptr_equal(fixture.message.payload.data, fixture.data + 2);
    assert_int_equal(fixture.message.payload.size, 3);
    assert_int_equal(input(), TP_OK);
    assert_ptr_equal(fixture.message.payload.data, fixture.data + 7);
    assert_int_equal(input(), TP_NEED_MORE);
    assert_int_equal(fixture.buffer.tail, 0);
}

static void test_message_first_fragment_stays_and_the_next_is_joined_to_it(void **state)
{
    (void)state;
    arrive("\x02\x03"
           "abc"
           "\x89\x01"
           "p"
           "\x80\x02"
           "de",
           12);
    assert_int_equal(input(), TP_OK);
    assert_int_equal(fixture.message.opcode, TP_WS_PING);
    assert_ptr_equal(fixture.message.payload.data, fixture.data + 7);
    assert_int_equal(input(), TP_OK);
    assert_ptr_equal(fixture.message.payload.data, fixture.data + 2);
    assert_memory_equal(fixture.message.payload.data, "abcde", 5);
}

static void test_buffer_with_room_is_not_moved(void **state)
{
    (void)state;
    arrive("\x82\x01"
           "a"
           "\x82\x7e\x10",
           6);
    assert_int_equal(input(), TP_OK);
    assert_int_equal(input(), TP_NEED_MORE);
    assert_int_equal(fixture.buffer.head, 3);
    arrive("\x00", 1);
    arrive_filler('x', 0x1000);
    assert_int_equal(input(), TP_OK);
    assert_ptr_equal(fixture.message.payload.data, fixture.data + 7);
}

static void test_buffer_short_of_room_for_the_announced_frame_is_moved_down(void **state)
{
    (void)state;
    tp_ws_init(&fixture.ws, &(struct tp_ws_config){CAPACITY, 100, 0});
    arrive("\x82\x7e\x50\x00", 4);
    arrive_filler('a', 0x5000);
    arrive("\x02\x7e\x40\x00", 4);
    arrive_filler('b', 0x4000);
    assert_int_equal(input(), TP_OK);
    assert_true(tp_buffer_space(&fixture.buffer) < 0x7004);
    arrive("\x80\x7e\x70\x00", 4);
    assert_int_equal(input(), TP_NEED_MORE);
    assert_int_equal(fixture.buffer.head, 0);
    assert_true(tp_buffer_space(&fixture.buffer) >= 0x7000);
    arrive_filler('c', 0x7000);
    assert_int_equal(input(), TP_OK);
    assert_int_equal(fixture.message.payload.size, 0xb000);
    assert_ptr_equal(fixture.message.payload.data, fixture.data);
    assert_int_equal(fixture.message.payload.data[0x3fff], 'b');
    assert_int_equal(fixture.message.payload.data[0x4000], 'c');
}

static void test_buffer_keeps_room_for_a_tls_record_while_more_is_needed(void **state)
{
    (void)state;
    arrive("\x82\x7e\x7f\xff", 4);
    arrive_filler('a', 0x7fff);
    arrive("\x82\x7e\x60\x00", 4);
    arrive_filler('b', 0x5ff0);
    assert_int_equal(input(), TP_OK);
    assert_true(tp_buffer_space(&fixture.buffer) < 16384 + 256);
    assert_int_equal(input(), TP_NEED_MORE);
    assert_true(tp_buffer_space(&fixture.buffer) >= 16384 + 256);
}

static void ping_inside_the_message(int count)
{
    for (int i = 0; i < count; i++) {
        arrive("\x89\x7d", 2);
        arrive_filler('p', 125);
        assert_int_equal(input(), TP_OK);
        assert_int_equal(fixture.message.opcode, TP_WS_PING);
    }
}

static void test_buffer_without_need_of_room_still_closes_a_large_gap(void **state)
{
    (void)state;
    arrive("\x02\x03"
           "abc",
           5);
    ping_inside_the_message(40);
    assert_int_equal(fixture.buffer.tail, 5 + 40 * 127);
    arrive("\x80\x02", 2);
    assert_int_equal(input(), TP_NEED_MORE);
    assert_int_equal(fixture.buffer.tail, 5 + 2);
    arrive("de", 2);
    assert_int_equal(input(), TP_OK);
    assert_memory_equal(fixture.message.payload.data, "abcde", 5);
}

static void test_buffer_in_need_of_room_closes_a_small_gap_too(void **state)
{
    (void)state;
    const uint16_t rest = CAPACITY - 0x8000 - 4; /* with which the message just fits */
    tp_ws_init(&fixture.ws, &(struct tp_ws_config){CAPACITY, 100, 0});
    arrive("\x02\x7e\x80\x00", 4);
    arrive_filler('a', 0x8000);
    ping_inside_the_message(8);
    arrive((const uint8_t[]){0x80, 0x7e, (uint8_t)(rest >> 8), (uint8_t)rest}, 4);
    assert_int_equal(input(), TP_NEED_MORE);
    arrive_filler('b', rest);
    assert_int_equal(input(), TP_OK);
    assert_int_equal(fixture.message.payload.size, 0x8000 + rest);
    assert_int_equal(fixture.message.payload.data[0x7fff], 'a');
    assert_int_equal(fixture.message.payload.data[0x8000], 'b');
}

static void test_error_stays_and_the_rest_is_thrown_away(void **state)
{
    (void)state;
    arrive("\x83\x00", 2);
    assert_int_equal(input(), TP_ERROR);
    assert_int_equal(fixture.ws.close_code, 1002);
    arrive("\x81\x00", 2);
    assert_int_equal(input(), TP_ERROR);
    assert_int_equal(fixture.buffer.tail, 0);
}

static void test_close_stays_and_the_rest_is_thrown_away(void **state)
{
    (void)state;
    arrive("\x88\x00\x81\x00", 4);
    assert_int_equal(input(), TP_OK);
    assert_int_equal(fixture.message.close_code, 1005);
    assert_int_equal(input(), TP_CLOSED);
    assert_int_equal(fixture.buffer.tail, 0);
    assert_int_equal(input(), TP_CLOSED);
}

static void test_frame_write_needs_room_for_every_byte(void **state)
{
    (void)state;
    const uint8_t mask[4] = {1, 2, 3, 4};
    const size_t sizes[] = {0, 125, 126, 65535, 65536};
    static uint8_t out[65536 + 14];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t whole = sizes[i] + (sizes[i] < 126 ? 6 : sizes[i] < 65536 ? 8 : 14);
        struct tp_span payload = {fixture.data, sizes[i]};
        if (sizes[i] > CAPACITY)
            continue;
        assert_int_equal(tp_ws_frame_write(out, whole, TP_WS_BINARY, true, mask, payload), whole);
        assert_int_equal(tp_ws_frame_write(out, whole - 1, TP_WS_BINARY, true, mask, payload), 0);
    }
    struct tp_span nothing = {NULL, 0};
    assert_int_equal(tp_ws_frame_write(out, 0, TP_WS_TEXT, true, mask, nothing), 0);
    assert_int_equal(tp_ws_frame_write(out, 6, TP_WS_TEXT, true, mask, nothing), 6);
    assert_int_equal(tp_ws_frame_write(out, 60, (enum tp_ws_opcode)3, true, mask, nothing), 0);
    assert_int_equal(tp_ws_frame_write(out, 60, (enum tp_ws_opcode)16, true, mask, nothing), 0);
}

static void test_handshake_request_needs_room_for_every_byte(void **state)
{
    (void)state;
    uint8_t out[1024];
    const char key[] = "dGhlIHNhbXBsZSBub25jZQ==";
    size_t size = tp_ws_handshake_request(out, sizeof out, "h", "/", "A: b\r\n", key);
    assert_true(size > 0);
    for (size_t capacity = 0; capacity < size; capacity++)
        assert_int_equal(tp_ws_handshake_request(out, capacity, "h", "/", "A: b\r\n", key), 0);
    assert_int_equal(tp_ws_handshake_request(out, size, "h", "/", "A: b\r\n", key), size);
    assert_int_equal(tp_ws_handshake_request(out, 1024, "h", "/", "A: b", key), 0);
    assert_int_equal(tp_ws_handshake_request(out, 1024, "h", "/", "A: b\n", key), 0);
    assert_int_equal(tp_ws_handshake_request(out, 1024, "h", "/", "\r\n", key), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_message_whole_frames_are_returned_where_they_arrived, set_up),
        cmocka_unit_test_setup(test_message_first_fragment_stays_and_the_next_is_joined_to_it,
                               set_up),
        cmocka_unit_test_setup(test_buffer_with_room_is_not_moved, set_up),
        cmocka_unit_test_setup(test_buffer_short_of_room_for_the_announced_frame_is_moved_down,
                               set_up),
        cmocka_unit_test_setup(test_buffer_keeps_room_for_a_tls_record_while_more_is_needed,
                               set_up),
        cmocka_unit_test_setup(test_buffer_without_need_of_room_still_closes_a_large_gap, set_up),
        cmocka_unit_test_setup(test_buffer_in_need_of_room_closes_a_small_gap_too, set_up),
        cmocka_unit_test_setup(test_error_stays_and_the_rest_is_thrown_away, set_up),
        cmocka_unit_test_setup(test_close_stays_and_the_rest_is_thrown_away, set_up),
        cmocka_unit_test_setup(test_frame_write_needs_room_for_every_byte, set_up),
        cmocka_unit_test_setup(test_handshake_request_needs_room_for_every_byte, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
