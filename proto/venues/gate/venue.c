/* Gate spot: the struct tp_venue of proto/venue.h. Facts and their sources: README.md here. */
#include "proto/venues/gate/venue.h"

extern const struct tp_venue tp_venue_gate; /* the registry's table declares it by this name */

const struct tp_venue tp_venue_gate = TP_GATE_VENUE("gate");
