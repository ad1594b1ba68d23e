/* What the writer's and the reader's half of the segment share; private to shm/segment*.c. */
#ifndef TP_SHM_SEGMENT_FILE_H
#define TP_SHM_SEGMENT_FILE_H
#include <fcntl.h>

#include "shm/segment.h"

enum { TP_SEGMENT_FILE_NAME_SIZE = 128 };

enum tp_segment_status tp_segment_fail(struct tp_segment_error *error,
                                       enum tp_segment_status status, const char *field,
                                       uint64_t found, uint64_t expected);
bool tp_segment_instance_is_valid(const char *instance);
/* "tickpath.<instance><suffix>"; the instance is valid. */
void tp_segment_file_name(char name[TP_SEGMENT_FILE_NAME_SIZE], const char *instance,
                          const char *suffix);
/* True while the file of that name is the one that the segment has open: an open file's inode is
 * never given to another. */
bool tp_segment_name_is_ours(const struct tp_segment *segment, const char *name);
/* A directory's file descriptor, or -1 with errno. */
int tp_segment_directory_open(const char *directory);
/* Zeroes where the kernel does not tell. */
void tp_segment_boot_id(uint8_t boot_id[16]);
/* Clock ticks since boot at which the process started; 0: no such process that we can see. */
uint64_t tp_segment_process_start(uint32_t pid);
/* What a writer locks of its segment's file as long as it lives: the header. */
struct flock tp_segment_owner_range(short type);
/* Refuses every length and offset that could lead outside of total_size bytes. */
enum tp_segment_status tp_segment_layout_check(const struct tp_segment_header *header,
                                               struct tp_segment_error *error);
#endif
