"""Strategies in C for the tests, compiled as their users compile them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tickpath.engine.strategy.c_reader import compiler_arguments

ROOT = Path(__file__).resolve().parents[2]
CROSSING = ROOT / "examples" / "crossing.c"
# What it does with each call is its parameter `does`; it keeps what it saw.
PROBE = """
#include <stddef.h>
#include <string.h>
#include "tickpath-strategy.h"

struct state {
    int64_t does, calls, types, bid, state, last_instrument, sequence, aligned;
    double factor;
};
enum { LOOKS, STOPS, PLACES, WRONG_SCALE, FOREIGN, TOO_MANY, LIES, NOTHING_TO_BUY, NO_VERB, NO_SIDE,
       FREE, FAULTS, HANGS, CANCELS };

static int32_t on_event(const struct tp_event *event, const struct tp_book_record *book,
                        void *memory, struct tp_order_buffer *orders)
{
    struct state *state = (struct state *)memory;
    state->calls++;
    state->types |= INT64_C(1) << event->type;
    state->bid = book->bid_count > 0 ? book->bids[0].price : 0;
    state->state = book->state;
    state->sequence = (int64_t)book->book_sequence;
    state->last_instrument = event->instrument * 1000 + book->instrument;
    struct tp_level level = {state->bid, 7};
    if (state->does == NOTHING_TO_BUY)
        level.quantity = 0;
    if (state->does == FREE)
        level.price = 0;
    if (state->does == STOPS) {
        (void)tp_order_cancel(orders, book, 5);
        return 7;
    }
    if (state->does == FAULTS && event->type == TP_EVENT_TOP)
        *(volatile int *)memory = *(volatile int *)(uintptr_t)(state->does - FAULTS);
    while (state->does == HANGS && event->type == TP_EVENT_TOP)
        __asm__ volatile("" ::: "memory");
    if (state->does == LOOKS || event->type != TP_EVENT_TOP)
        return 0;
    if (state->does == CANCELS) {
        (void)tp_order_cancel(orders, book, 5);
        return 0;
    }
    const int count = state->does == TOO_MANY ? 10 : 1;
    for (int i = 0; i < count; i++)
        (void)tp_order_place(orders, book, (uint64_t)state->calls, TP_SIDE_BID, level);
    struct tp_order_intent *intent = &orders->intents[0];
    if (state->does == WRONG_SCALE)
        intent->price_exponent--;
    if (state->does == FOREIGN) { /* nothing else forbids a cancellation */
        intent->instrument = 1;
        intent->verb = TP_ORDER_CANCEL;
    }
    if (state->does == NO_VERB)
        intent->verb = 3;
    if (state->does == NO_SIDE)
        intent->side = 2;
    if (state->does == LIES)
        orders->count = 1u << 31;
    return 0;
}

static int32_t init(void *memory)
{
    struct state *state = (struct state *)memory;
    state->aligned = ((uintptr_t)memory & 4095) == 0;
    return state->does < 0 ? 3 : 0;
}

static const struct tp_strategy_field fields[] = {
    {"does", TP_STRATEGY_INT64, offsetof(struct state, does)},
    {"factor", TP_STRATEGY_FLOAT64, offsetof(struct state, factor)},
};
#ifndef ABI
#define ABI TP_STRATEGY_ABI
#endif
#ifndef RECORDS
#define RECORDS TP_RECORDS_VERSION
#endif
#ifndef EVENTS
#define EVENTS TP_STRATEGY_ON_USUAL
#endif
#ifndef OFFSET_FIELDS
#define OFFSET_FIELDS fields
#endif
extern const struct tp_strategy probe;
const struct tp_strategy probe = {TP_STRATEGY_MAGIC, ABI, RECORDS, EVENTS, sizeof(struct state),
                                  on_event, init, OFFSET_FIELDS, 2, 0};
extern const uint64_t no_strategy;
const uint64_t no_strategy = 1;
"""
BEHAVIOURS = (
    *("looks", "stops", "places", "wrong_scale", "foreign", "too_many", "lies", "nothing_to_buy"),
    *("no_verb", "no_side", "free", "faults", "hangs", "cancels"),
)
DOES = {name: number for number, name in enumerate(BEHAVIOURS)}
C11 = ("cc", "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
CXX17 = ("c++", "-std=c++17", "-x", "c++", "-Wall", "-Wextra", "-Wpedantic", "-Werror")


def compile_library(source: Path, target: Path, *words: str, by: tuple[str, ...] = C11) -> Path:
    """Compile one source to a shared library that only its owner writes."""
    command = [*by, "-O2", "-shared", "-fPIC", *words, str(source), "-o", str(target)]
    subprocess.run([*command, *compiler_arguments()[:-1]], check=True)  # it calls no reader
    target.chmod(0o755)
    return target


def compile_probe(folder: Path, *words: str, name: str = "probe.so") -> Path:
    """Compile PROBE; words: such as -DABI=2."""
    source = folder / "probe.c"
    source.write_text(PROBE)
    return compile_library(source, folder / name, *words)
