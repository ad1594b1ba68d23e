/* What the bytes cannot show from outside: spans lie in the input, and no byte beyond a given size
 * is read or written (run under AddressSanitizer). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "netstack/http1/http1.h"

static const char response[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA:  b \r\n\r\n"
                               "3\r\nabc\r\n0\r\nT: v\r\n\r\nrest";

/* A copy that ends where its memory ends, so that a byte too many is caught. */
static uint8_t *exact_copy(size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    memcpy(copy, response, size);
    return copy;
}

static void test_head_spans_lie_in_the_input(void **state)
{
    (void)state;
    const uint8_t *data = (const uint8_t *)response;
    struct tp_http1_head head;
    size_t size;
    const char *error;
    uint32_t count;
    struct tp_span all = {data, sizeof response - 1};
    assert_int_equal(tp_http1_head_parse(all, &head, &size, &error), TP_OK);
    assert_ptr_equal(head.reason.data, data + 13);
    assert_int_equal(head.header_count, 2);
    assert_ptr_equal(head.header[1].value.data, strstr(response, "b \r\n"));
    assert_int_equal(head.header[1].value.size, 1);
    assert_ptr_equal(tp_http1_header_find(&head, "a", &count).data, head.header[1].value.data);
    assert_int_equal(count, 1);
    assert_null(tp_http1_header_find(&head, "aa", &count).data);
    assert_int_equal(count, 0);
    assert_ptr_equal(data + size, strstr(response, "3\r\n"));
}

static void test_head_of_every_prefix_reads_no_byte_beyond_it(void **state)
{
    (void)state;
    for (size_t size = 0; size < sizeof response; size++) {
        uint8_t *copy = exact_copy(size);
        struct tp_http1_head head;
        size_t head_size = 0;
        const char *error = NULL;
        enum tp_status status =
            tp_http1_head_parse((struct tp_span){copy, size}, &head, &head_size, &error);
        assert_true(status == TP_OK || status == TP_NEED_MORE);
        free(copy);
    }
}

static void test_body_spans_lie_in_the_input_and_the_rest_is_left(void **state)
{
    (void)state;
    struct tp_http1_head head;
    size_t size;
    const char *error;
    struct tp_span all = {(const uint8_t *)response, sizeof response - 1}, out;
    assert_int_equal(tp_http1_head_parse(all, &head, &size, &error), TP_OK);
    struct tp_span in = {all.data + size, all.size - size};
    struct tp_http1_body *body = tp_http1_body_new();
    assert_non_null(body);
    assert_int_equal(tp_http1_body_init(body, &head, false, &error), TP_OK);
    assert_int_equal(tp_http1_body_input(body, &in, &out, &error), TP_OK);
    assert_ptr_equal(out.data, strstr(response, "abc"));
    assert_int_equal(out.size, 3);
    assert_int_equal(tp_http1_body_input(body, &in, &out, &error), TP_CLOSED);
    assert_int_equal(in.size, 4);
    assert_ptr_equal(in.data, strstr(response, "rest"));
    assert_int_equal(tp_http1_body_end_of_input(body), TP_CLOSED);
    tp_http1_body_free(body);
}

static void test_request_needs_room_for_every_byte(void **state)
{
    (void)state;
    uint8_t out[256];
    const struct tp_http1_request request = {
        .method = "GET", .host = "h", .target = "/", .extra_headers = "A: b\r\n"};
    size_t size = tp_http1_request_write(out, sizeof out, &request);
    assert_int_equal(size, strlen("GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n"));
    for (size_t capacity = 0; capacity < size; capacity++) {
        uint8_t *exact = malloc(capacity > 0 ? capacity : 1);
        assert_non_null(exact);
        assert_int_equal(tp_http1_request_write(exact, capacity, &request), 0);
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_head_spans_lie_in_the_input),
        cmocka_unit_test(test_head_of_every_prefix_reads_no_byte_beyond_it),
        cmocka_unit_test(test_body_spans_lie_in_the_input_and_the_rest_is_left),
        cmocka_unit_test(test_request_needs_room_for_every_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
