/* Takes the names of shm/atomic.h back from a C++ program; C keeps its own. */
#ifdef __cplusplus
#undef _Atomic
#undef memory_order_relaxed
#undef memory_order_acquire
#undef memory_order_release
#undef memory_order_seq_cst
#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub_explicit
#undef atomic_thread_fence
#undef atomic_signal_fence
#endif
