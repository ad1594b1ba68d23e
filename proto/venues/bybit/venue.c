/* Bybit spot: the struct tp_venue of proto/venue.h. Facts and their sources: README.md here. */
#include "proto/venues/bybit/venue.h"

extern const struct tp_venue tp_venue_bybit; /* the registry's table declares it by this name */

const struct tp_venue tp_venue_bybit = TP_BYBIT_VENUE("bybit");
