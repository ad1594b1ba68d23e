/* Bitget's contracts in USDT: the struct tp_venue of proto/venue.h. Facts: README.md here. */
#include "proto/venues/bitget/venue.h"

extern const struct tp_venue tp_venue_bitget_usdt; /* the registry's table declares it so */

const struct tp_venue tp_venue_bitget_usdt = TP_BITGET_VENUE("bitget_usdt", tp_bitget_route_usdt);
