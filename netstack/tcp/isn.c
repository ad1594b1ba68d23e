/* Initial sequence numbers and the other values a blind attacker must not guess.
 *
 * Source: RFC 6528 3 (ISN = M + F(4-tuple, secret), M a 4 us clock), RFC 7323 7.1 (random
 * timestamp offset). F is HMAC-SHA256 of libcrypto, computed once in tp_tcp_init: it is constant
 * for one 4-tuple, so nothing is hashed (or allocated) later. */
#include <assert.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "netstack/tcp/state.h"
#include "netstack/wire/byte_order.h"

enum { ISN_TICK_NS = 4000, TUPLE_SIZE = 12, DIGEST_SIZE = 32 };

void tp_tcp_isn_init(struct tp_tcp *tcp)
{
    const struct tp_tcp_config *config = &tcp->config;
    uint8_t tuple[TUPLE_SIZE];
    uint8_t digest[DIGEST_SIZE];
    unsigned int digest_size = 0;
    tp_store_be32(tuple, config->local_address);
    tp_store_be32(tuple + 4, config->remote_address);
    tp_store_be16(tuple + 8, config->local_port);
    tp_store_be16(tuple + 10, config->remote_port);
    const uint8_t *made = HMAC(EVP_sha256(), config->isn_secret, sizeof config->isn_secret, tuple,
                               sizeof tuple, digest, &digest_size);
    assert(made != NULL && digest_size == DIGEST_SIZE);
    tcp->isn_offset = tp_load_be32(digest);
    tcp->ts_offset = tp_load_be32(digest + 4);
    tcp->random = ((uint64_t)tp_load_be32(digest + 8) << 32 | tp_load_be32(digest + 12)) | 1;
}

uint32_t tp_tcp_isn(const struct tp_tcp *tcp, uint64_t now_ns)
{
    return tcp->isn_offset + (uint32_t)(now_ns / ISN_TICK_NS);
}

/* xorshift64: its only use is to make the challenge limit unpredictable (CVE-2016-5696). */
uint32_t tp_tcp_random(struct tp_tcp *tcp)
{
    tcp->random ^= tcp->random << 13;
    tcp->random ^= tcp->random >> 7;
    tcp->random ^= tcp->random << 17;
    return (uint32_t)(tcp->random >> 32);
}
