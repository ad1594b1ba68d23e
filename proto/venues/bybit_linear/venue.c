/* Bybit's linear contracts: the struct tp_venue of proto/venue.h. Facts: README.md here. */
#include "proto/venues/bybit/venue.h"

extern const struct tp_venue tp_venue_bybit_linear; /* the registry's table declares it so */

const struct tp_venue tp_venue_bybit_linear = TP_BYBIT_VENUE("bybit_linear");
