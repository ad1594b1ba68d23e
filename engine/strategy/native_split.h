/* Native strategies in a process of their own: what a reader sees, handed to native.c.
 *
 * Called by: engine/strategy/native_runtime.py, which waits here without the GIL. */
#ifndef TP_ENGINE_STRATEGY_NATIVE_SPLIT_H
#define TP_ENGINE_STRATEGY_NATIVE_SPLIT_H
#include "engine/strategy/native.h"
#include "shm/segment_reader.h"

/* As tp_reader_spin, up to event_max events long; they are counted in *event_count. EVENT: that
 * many came. */
enum tp_reader_result tp_native_spin(struct tp_native_set *set, struct tp_reader *reader,
                                     uint32_t event_max, uint64_t *event_count);
#endif
