/* Bitget spot: the struct tp_venue of proto/venue.h. Facts and their sources: README.md here. */
#include "proto/venues/bitget/venue.h"

extern const struct tp_venue tp_venue_bitget; /* the registry's table declares it by this name */

const struct tp_venue tp_venue_bitget = TP_BITGET_VENUE("bitget", tp_bitget_route_spot);
