/* sources: engine/gateway/journal.c engine/gateway/order_state.c ; libs: */
/* A journal's file as anybody may have written it: it is refused or read within its bounds, and
 * what is read is an order. Where the first byte says so, the checks are made right, so that what
 * stands behind them is reached. Ids on the wire: what is read is written back as it was. */
#include <stdlib.h>
#include <string.h>

#include "engine/gateway/journal.h"
#include "engine/gateway/order_state.h"

enum { CAPACITY_MAX = 64 };

static void require(int condition)
{
    if (!condition)
        abort();
}

static void id_check(const uint8_t *data, size_t size)
{
    char text[TP_ORDER_ID_TEXT_SIZE], again[TP_ORDER_ID_TEXT_SIZE];
    uint32_t tag;
    uint64_t id;
    const size_t length = size < sizeof text ? size : sizeof text;
    memcpy(text, data, length);
    if (!tp_order_id_read(text, (uint32_t)length, &tag, &id))
        return;
    tp_order_id_write(tag, id, again);
    require(memcmp(text, again, sizeof text) == 0);
}

/* Appends what the input has as orders, sound or not. */
static void fill(uint8_t *file, const uint8_t *data, size_t size)
{
    struct tp_journal_header header = {.tag = 1, .epoch = 1, .part = 1, .capacity = CAPACITY_MAX};
    struct tp_journal journal;
    struct tp_order order;
    tp_journal_header_write(file, &header);
    tp_journal_begin(&journal, file, 0);
    for (; size >= sizeof order; data += sizeof order, size -= sizeof order) {
        memcpy(&order, data, sizeof order);
        if (!tp_journal_append(&journal, &order))
            return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tp_journal_header header;
    struct tp_journal_scan scan;
    struct tp_order order;
    const size_t whole = TP_JOURNAL_HEADER_SIZE + CAPACITY_MAX * TP_JOURNAL_RECORD_SIZE;
    if (size < 2)
        return 0;
    const size_t file_size = (data[0] & 1) != 0 ? whole : whole - data[1] % whole;
    uint8_t *file = calloc(1, file_size);
    require(file != NULL);
    id_check(data + 1, size - 1);
    if ((data[0] & 1) != 0)
        fill(file, data + 1, size - 1);
    else
        memcpy(file, data + 1, size - 1 < file_size ? size - 1 : file_size);
    if (tp_journal_header_read(file, file_size, &header) == TP_JOURNAL_OK) {
        uint32_t *positions = calloc(header.capacity, sizeof *positions);
        require(positions != NULL && header.capacity <= CAPACITY_MAX);
        tp_journal_scan(file, &header, positions, &scan);
        require(scan.count + scan.broken + scan.torn <= header.capacity && scan.torn <= 1);
        for (uint32_t i = 0; i < scan.count; i++) {
            require(i == 0 || positions[i] > positions[i - 1]);
            require(tp_journal_read(file, &header, positions[i], &order) ==
                    TP_JOURNAL_RECORD_ORDER);
            require(order.id != 0 && order.filled >= 0 && order.filled <= order.quantity);
            (void)tp_order_state_at((enum tp_order_place)order.place);
        }
        free(positions);
    }
    free(file);
    return 0;
}
