/* A file that is truncated under its mapping must not kill the process that reads it.
 *
 * The kernel answers an access behind the end of a mapped file with SIGBUS. tmpfs files that have a
 * name cannot be sealed against it, and a check before each access is both slow and too late. So
 * the first guarded mapping installs a handler of SIGBUS that knows these mappings and no other:
 * for an address inside one it puts private zeroes in place of the whole mapping and lets the
 * access go on; every other SIGBUS goes where it went before. Zeroes are a valid answer: state is
 * not READY, no slot has an event, no snapshot was ever written (docs/adr/0006).
 *
 * Called by: shm/segment_open.c, shm/control_segment.c. Any thread; add and remove are cold. */
#ifndef TP_SHM_MAPPING_GUARD_H
#define TP_SHM_MAPPING_GUARD_H
#include <stdbool.h>
#include <stddef.h>

enum { TP_MAPPING_GUARD_COUNT_MAX = 256 }; /* segments that one process has mapped at a time */

/* protection: PROT_READ, or with PROT_WRITE, of the zeroes. False: all places are taken, or the
 * handler was refused; the mapping is used unguarded then. */
bool tp_mapping_guard_add(void *base, size_t size, int protection);
/* Before munmap. */
void tp_mapping_guard_remove(const void *base);
/* True once the mapping was replaced: its file is shorter than it was. */
bool tp_mapping_guard_is_broken(const void *base);
#endif
