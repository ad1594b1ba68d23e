/* See bystander.h. Cold, in a forked child. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shm/bystander.h"

/* In place of a shared mapping, at its address. Where the kernel has no memory for it, nothing
 * stands there: a child that writes on ends by SIGSEGV, and harms nobody else. */
static void private_map(void *base, size_t size, int file)
{
    const int flags = MAP_PRIVATE | MAP_FIXED | (file < 0 ? MAP_ANONYMOUS : 0);
    if (mmap(base, size, PROT_READ | PROT_WRITE, flags, file, 0) == MAP_FAILED)
        (void)munmap(base, size);
}

void tp_segment_disown(struct tp_segment *segment)
{
    if (segment == NULL || segment->lock < 0)
        return;
    if (segment->base != NULL)
        private_map(segment->base, segment->size, segment->file);
    /* Both locks belong to open files that the parent has too: they stay taken, and are freed with
     * the parent, only if no copy of ours is left. What shows whether the parent lives is an open
     * file of our own. */
    close(segment->lock);
    segment->lock = -1;
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", segment->file);
    const int own = open(path, O_RDONLY | O_CLOEXEC);
    close(segment->file);
    segment->file = own;
}

void tp_control_disown(struct tp_control *control)
{
    struct tp_control_memory copy;
    if (control == NULL || control->name[0] == '\0')
        return;
    control->name[0] = '\0'; /* close removes no file without a name */
    if (control->memory == NULL)
        return;
    memcpy(&copy, control->memory, sizeof copy); /* its file was closed when it was mapped */
    private_map(control->memory, sizeof copy, -1);
    memcpy(control->memory, &copy, sizeof copy);
}

void tp_reader_disown(struct tp_reader *reader)
{
    const bool is_open =
        atomic_load_explicit(&reader->lease.state, memory_order_relaxed) == TP_LEASE_OPEN;
    if (is_open)
        tp_lease_open(&reader->lease); /* the leases of the parent's threads are not ours */
    else /* closed, or in the midst of a change that nobody here ends: what is mapped is unknown */
        tp_lease_closed(&reader->lease);
    atomic_store_explicit(&reader->wakeable, NULL, memory_order_relaxed);
    reader->slot = NULL;
    reader->wants_registration = false;
    reader->is_lossless = false;
    if (!is_open || reader->control == NULL)
        return;
    tp_control_close(reader->control); /* a reader's: unmaps, and removes nothing */
    reader->control = NULL;
    reader->registration = TP_SEGMENT_SYSTEM;
    reader->registration_error =
        (struct tp_segment_error){ECHILD, 0, "its slot is the parent's: register in the child"};
}
