/* What arrives in records besides application data: alerts and post-handshake messages.
 *
 * Called by record.c with opened records (handshake.c names alerts by it), calls back into it to
 * answer. Nothing is stored of a message but its header: a NewSessionTicket is skipped as it flows
 * by, so it needs no buffer. Source: RFC 8446 4.6, 5.1 and 6; RFC 5246 7.2 and 7.4.1.1. */
#ifndef TP_NETSTACK_TLS_POST_HANDSHAKE_H
#define TP_NETSTACK_TLS_POST_HANDSHAKE_H
#include "netstack/tls/record.h"

/* TP_NEED_MORE: taken, go on. TP_CLOSED and TP_ERROR as in tp_tls_input. */
enum tp_status tp_tls_alert_input(struct tp_tls_record *record, struct tp_span alert);
enum tp_status tp_tls_handshake_message_input(struct tp_tls_record *record, struct tp_span data);
/* What an alert says, in words: OpenSSL's, and those that it has none for. */
const char *tp_tls_alert_name(int description);
/* Replaces the write key when it has sealed enough records (RFC 8446 5.5). */
void tp_tls_refresh_write_key(struct tp_tls_record *record);
#endif
