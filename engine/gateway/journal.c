/* Records, their check, and the ids of journal.h. */
#include "engine/gateway/journal.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/gateway/order_state.h"

enum { WORDS = TP_JOURNAL_RECORD_SIZE / 8, PAGE_SIZE = 4096, HEX_DIGITS = 8 };
static_assert(sizeof(struct tp_order) == 8 * (WORDS - 1), "and the check word");
static const uint64_t BYTE_ORDER_WORD = UINT64_C(0x0102030405060708);

struct record {
    _Atomic uint64_t check; /* stored last; 0: not there */
    _Atomic uint64_t word[WORDS - 1];
};
static_assert(sizeof(struct record) == TP_JOURNAL_RECORD_SIZE, "as the file has it");

/* ---- checks ---------------------------------------------------------------------------------- */

/* One word after the other, each bit of which changes half of the sum's. Never 0. Source: the
 * finalizer of MurmurHash3 (public domain), whose constants these are. */
static uint64_t check_of(uint64_t salt, const uint64_t *words, uint32_t count)
{
    uint64_t sum = salt;
    for (uint32_t i = 0; i < count; i++) {
        sum = (sum ^ words[i]) * UINT64_C(0xFF51AFD7ED558CCD);
        sum ^= sum >> 33;
    }
    sum *= UINT64_C(0xC4CEB9FE1A85EC53);
    sum ^= sum >> 33;
    return sum != 0 ? sum : 1;
}

static uint64_t header_check(const struct tp_journal_header *header)
{
    uint64_t words[offsetof(struct tp_journal_header, check) / 8];
    memcpy(words, header, sizeof words);
    return check_of(TP_JOURNAL_MAGIC, words, sizeof words / 8);
}

static uint64_t record_check(uint64_t salt, uint32_t position, const uint64_t words[WORDS - 1])
{
    return check_of(salt + position, words, WORDS - 1);
}

/* ---- the header ------------------------------------------------------------------------------ */

void tp_journal_header_write(uint8_t *file, const struct tp_journal_header *header)
{
    struct tp_journal_header whole = *header;
    whole.magic = TP_JOURNAL_MAGIC;
    whole.byte_order = BYTE_ORDER_WORD;
    whole.version = TP_JOURNAL_VERSION;
    whole.orders_version = TP_ORDERS_VERSION;
    whole.check = header_check(&whole);
    memcpy(file, &whole, sizeof whole);
}

enum tp_journal_status tp_journal_header_read(const uint8_t *file, uint64_t size,
                                              struct tp_journal_header *header)
{
    if (size < TP_JOURNAL_HEADER_SIZE)
        return TP_JOURNAL_NOT_OURS;
    memcpy(header, file, sizeof *header);
    if (header->magic != TP_JOURNAL_MAGIC || header->byte_order != BYTE_ORDER_WORD)
        return TP_JOURNAL_NOT_OURS;
    if (header->version != TP_JOURNAL_VERSION || header->orders_version != TP_ORDERS_VERSION)
        return TP_JOURNAL_OTHER_VERSION;
    const uint64_t most = (size - TP_JOURNAL_HEADER_SIZE) / TP_JOURNAL_RECORD_SIZE;
    if (header->check != header_check(header) || header->tag == 0 || header->epoch == 0 ||
        header->part == 0 || header->capacity == 0 || header->capacity > TP_JOURNAL_RECORDS_MAX ||
        header->capacity > most || header->account[TP_JOURNAL_ACCOUNT_SIZE - 1] != '\0')
        return TP_JOURNAL_DAMAGED;
    return TP_JOURNAL_OK;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* The check is no signature: what cannot be an order is none, whoever wrote it. */
static bool is_sound(const struct tp_order *order)
{
    return order->id != 0 && order->quantity > 0 && order->filled >= 0 &&
           order->filled <= order->quantity && order->place < TP_AT_COUNT && order->side <= 1 &&
           order->type < TP_ORDER_TYPE_COUNT && order->reason < TP_ORDER_REASON_COUNT;
}

enum tp_journal_record_status tp_journal_read(const uint8_t *file,
                                              const struct tp_journal_header *header,
                                              uint32_t position, struct tp_order *order)
{
    uint64_t words[WORDS], any = 0;
    assert(position < header->capacity);
    memcpy(words, file + TP_JOURNAL_HEADER_SIZE + (uint64_t)position * TP_JOURNAL_RECORD_SIZE,
           sizeof words);
    for (uint32_t i = 0; i < WORDS; i++)
        any |= words[i];
    if (any == 0)
        return TP_JOURNAL_RECORD_NONE;
    if (words[0] != record_check(header->check, position, words + 1))
        return TP_JOURNAL_RECORD_BROKEN;
    memcpy(order, words + 1, sizeof *order);
    return is_sound(order) ? TP_JOURNAL_RECORD_ORDER : TP_JOURNAL_RECORD_BROKEN;
}

void tp_journal_scan(const uint8_t *file, const struct tp_journal_header *header,
                     uint32_t *positions, struct tp_journal_scan *scan)
{
    struct tp_order order;
    bool ends_broken = false;
    memset(scan, 0, sizeof *scan);
    for (uint32_t i = 0; i < header->capacity; i++) {
        switch (tp_journal_read(file, header, i, &order)) {
        case TP_JOURNAL_RECORD_NONE:
            continue;
        case TP_JOURNAL_RECORD_BROKEN:
            scan->broken++;
            ends_broken = true;
            continue;
        case TP_JOURNAL_RECORD_ORDER:
            positions[scan->count++] = i;
            ends_broken = false;
            continue;
        }
    }
    scan->torn = ends_broken;
    scan->broken -= scan->torn;
}

/* ---- appending ------------------------------------------------------------------------------- */

void tp_journal_begin(struct tp_journal *journal, uint8_t *file, uint32_t kept)
{
    struct tp_journal_header header;
    memcpy(&header, file, sizeof header);
    assert(header.check == header_check(&header) && kept < header.capacity);
    *journal = (struct tp_journal){
        .file = file,
        .salt = header.check,
        .tag = header.tag,
        .epoch = header.epoch,
        .capacity = header.capacity,
        .kept = kept,
    };
}

bool tp_journal_append(struct tp_journal *journal, const struct tp_order *order)
{
    uint64_t words[WORDS - 1];
    if (journal->next == journal->capacity)
        return false;
    const uint64_t offset = (uint64_t)journal->next * TP_JOURNAL_RECORD_SIZE;
    struct record *to = (struct record *)(void *)(journal->file + TP_JOURNAL_HEADER_SIZE + offset);
    memcpy(words, order, sizeof words);
    const uint64_t check = record_check(journal->salt, journal->next, words);
    for (uint32_t i = 0; i < WORDS - 1; i++)
        atomic_store_explicit(&to->word[i], words[i], memory_order_relaxed);
    /* Behind all words: a process that dies before it leaves no record. The file is read once its
     * writer is gone, so this orders the stores of one thread and has no partner. */
    atomic_store_explicit(&to->check, check, memory_order_release);
    journal->next++;
    return true;
}

bool tp_journal_place(struct tp_journal *journal, struct tp_order *order, uint64_t now_ns)
{
    if (journal->capacity - journal->next <= journal->kept || journal->number == UINT32_MAX)
        return false;
    journal->number++;
    order->id = (uint64_t)journal->epoch << 32 | journal->number;
    tp_order_begin(order, now_ns);
    return tp_journal_append(journal, order);
}

int tp_journal_sync(const struct tp_journal *journal, uint32_t from)
{
    assert(from <= journal->next);
    const uint64_t begin = TP_JOURNAL_HEADER_SIZE + (uint64_t)from * TP_JOURNAL_RECORD_SIZE;
    const uint64_t end = TP_JOURNAL_HEADER_SIZE + (uint64_t)journal->next * TP_JOURNAL_RECORD_SIZE;
    const uint64_t page = begin / PAGE_SIZE * PAGE_SIZE;
    return msync(journal->file + page, end - page, MS_SYNC) == 0 ? 0 : -errno;
}

/* ---- ids on the wire ------------------------------------------------------------------------- */

static void hex_write(uint32_t value, char text[HEX_DIGITS])
{
    for (int i = HEX_DIGITS; i-- > 0; value >>= 4)
        text[i] = "0123456789abcdef"[value & 15];
}

static bool hex_read(const char text[HEX_DIGITS], uint32_t *value)
{
    *value = 0;
    for (int i = 0; i < HEX_DIGITS; i++) {
        const char c = text[i];
        const bool is_digit = c >= '0' && c <= '9';
        if (!is_digit && (c < 'a' || c > 'f'))
            return false;
        *value = *value << 4 | (uint32_t)(is_digit ? c - '0' : c - 'a' + 10);
    }
    return true;
}

void tp_order_id_write(uint32_t tag, uint64_t id, char text[TP_ORDER_ID_TEXT_SIZE])
{
    text[0] = 't';
    text[1] = 'p';
    hex_write(tag, text + 2);
    hex_write((uint32_t)(id >> 32), text + 2 + HEX_DIGITS);
    hex_write((uint32_t)id, text + 2 + 2 * HEX_DIGITS);
}

bool tp_order_id_read(const char *text, uint32_t size, uint32_t *tag, uint64_t *id)
{
    uint32_t epoch, number;
    if (size != TP_ORDER_ID_TEXT_SIZE || text[0] != 't' || text[1] != 'p' ||
        !hex_read(text + 2, tag) || !hex_read(text + 2 + HEX_DIGITS, &epoch) ||
        !hex_read(text + 2 + 2 * HEX_DIGITS, &number))
        return false;
    *id = (uint64_t)epoch << 32 | number;
    return *tag != 0 && epoch != 0 && number != 0;
}
