/* Gate's contracts in USDT: the struct tp_venue of proto/venue.h. Facts: README.md here. */
#include "proto/venues/gate/venue.h"

extern const struct tp_venue tp_venue_gate_usdt; /* the registry's table declares it so */

const struct tp_venue tp_venue_gate_usdt = TP_GATE_VENUE("gate_usdt");
