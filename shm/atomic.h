/* <stdatomic.h>, also for who includes these headers from C++17, which has no such header.
 *
 * There the compiler's own atomic operations stand in, which GCC and Clang have in both languages:
 * for words of 4 and 8 bytes they lay memory out, and order it, just as C's do. The names are
 * macros, and must not reach the rest of a C++ program: engine/strategy/tickpath-reader.h, the one
 * header to include, takes them back by shm/atomic_end.h. Source: GCC, "__atomic Builtins". */
#ifndef TP_SHM_ATOMIC_H
#define TP_SHM_ATOMIC_H
#ifndef __cplusplus
#include <stdatomic.h>
#else
#define _Atomic
#define memory_order_relaxed __ATOMIC_RELAXED
#define memory_order_acquire __ATOMIC_ACQUIRE
#define memory_order_release __ATOMIC_RELEASE
#define memory_order_seq_cst __ATOMIC_SEQ_CST
#define atomic_load_explicit(from, order) __atomic_load_n(from, order)
#define atomic_store_explicit(to, value, order) __atomic_store_n(to, value, order)
#define atomic_fetch_add_explicit(to, value, order) __atomic_fetch_add(to, value, order)
#define atomic_fetch_sub_explicit(to, value, order) __atomic_fetch_sub(to, value, order)
#define atomic_thread_fence(order) __atomic_thread_fence(order)
#define atomic_signal_fence(order) __atomic_signal_fence(order)
#endif
#endif
