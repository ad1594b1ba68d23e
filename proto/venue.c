/* The registry of venue.h. Its table is written by proto/venues/meson.build from the folders that
 * it finds. */
#include "proto/venue.h"

#include <assert.h>
#include <string.h>

extern const struct tp_venue *const tp_venue_table[]; /* ends with NULL */

uint32_t tp_venue_count(void)
{
    uint32_t count = 0;
    while (tp_venue_table[count] != NULL)
        count++;
    return count;
}

const struct tp_venue *tp_venue_at(uint32_t index)
{
    assert(index < tp_venue_count());
    return tp_venue_table[index];
}

const struct tp_venue *tp_venue_find(const char *name)
{
    for (uint32_t i = 0; tp_venue_table[i] != NULL; i++)
        if (strcmp(tp_venue_table[i]->name, name) == 0)
            return tp_venue_table[i];
    return NULL;
}
