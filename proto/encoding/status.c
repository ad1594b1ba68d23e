/* The names of status.h. */
#include "proto/encoding/status.h"

const char *tp_decode_status_name(enum tp_decode_status status)
{
    switch (status) {
    case TP_DECODE_OK:
        return "ok";
    case TP_DECODE_UNKNOWN:
        return "unknown body";
    case TP_DECODE_TRUNCATED:
        return "truncated";
    case TP_DECODE_MALFORMED:
        return "malformed";
    case TP_DECODE_BAD_NUMBER:
        return "bad number";
    case TP_DECODE_TOO_MANY:
        return "too many levels";
    case TP_DECODE_TOO_FINE:
        return "finer than its scale";
    case TP_DECODE_TOO_LARGE:
        return "too large for its scale";
    }
    return "not a status";
}
