/* A forked child's copies of what its parent owns: nothing of them reaches the parent any more.
 *
 * Call in the child, before anything else is done with them; other threads do not exist there. What
 * was mapped stays at its address, as the child's own memory: whoever still writes there writes to
 * nobody. Closing afterwards frees the child's share only. Called by: shm/ownership.py through the
 * Python owners; a C program that forks calls them itself. Source: fork(2), flock(2), mmap(2). */
#ifndef TP_SHM_BYSTANDER_H
#define TP_SHM_BYSTANDER_H
#include "shm/control_segment.h"
#include "shm/segment.h"
#include "shm/segment_reader.h"

/* A writer's: neither file nor lock is the child's. A reader's needs nothing. */
void tp_segment_disown(struct tp_segment *segment);
/* A writer's: the file stays. */
void tp_control_disown(struct tp_control *control);
/* The slot stays the parent's; the child reads on without one. */
void tp_reader_disown(struct tp_reader *reader);
#endif
