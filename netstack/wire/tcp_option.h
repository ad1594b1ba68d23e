/* Numbers of the TCP header: option kinds (IANA "TCP Option Kind Numbers") and size limits. */
#ifndef TP_NETSTACK_TCP_OPTION_H
#define TP_NETSTACK_TCP_OPTION_H

enum tp_tcp_option {
    TP_TCP_OPTION_END = 0,
    TP_TCP_OPTION_NOP = 1,
    TP_TCP_OPTION_MSS = 2,            /* RFC 9293 3.2 */
    TP_TCP_OPTION_WINDOW_SCALE = 3,   /* RFC 7323 2.2 */
    TP_TCP_OPTION_SACK_PERMITTED = 4, /* RFC 2018 2 */
    TP_TCP_OPTION_SACK = 5,           /* RFC 2018 3 */
    TP_TCP_OPTION_TIMESTAMPS = 8,     /* RFC 7323 3.2 */
};

enum { TP_TCP_HEADER_SIZE_MAX = 60 }; /* data offset 15 */
#endif
