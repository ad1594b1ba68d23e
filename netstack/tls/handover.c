/* See handover.h. */
#include "netstack/tls/handover.h"

#include <openssl/crypto.h>
#include <stdio.h>

/* A state that an event has no row for stays as it is: what ended stays so, and then the hot side
 * frees; what was abandoned stays so, and the cold side frees. */
static const struct {
    enum tp_tls_handover_event event;
    enum tp_tls_handover_state from, to;
} TRANSITIONS[] = {
    {TP_TLS_HANDOVER_WANT, TP_TLS_HANDOVER_IDLE, TP_TLS_HANDOVER_WANTED},
    {TP_TLS_HANDOVER_WANT, TP_TLS_HANDOVER_WORKING, TP_TLS_HANDOVER_WORKING_WANTED},
    {TP_TLS_HANDOVER_TAKE, TP_TLS_HANDOVER_WANTED, TP_TLS_HANDOVER_WORKING},
    {TP_TLS_HANDOVER_REST, TP_TLS_HANDOVER_WORKING, TP_TLS_HANDOVER_IDLE},
    {TP_TLS_HANDOVER_REST, TP_TLS_HANDOVER_WORKING_WANTED, TP_TLS_HANDOVER_WORKING},
    {TP_TLS_HANDOVER_COMPLETE, TP_TLS_HANDOVER_WORKING, TP_TLS_HANDOVER_DONE},
    {TP_TLS_HANDOVER_COMPLETE, TP_TLS_HANDOVER_WORKING_WANTED, TP_TLS_HANDOVER_DONE},
    {TP_TLS_HANDOVER_FAIL, TP_TLS_HANDOVER_WORKING, TP_TLS_HANDOVER_FAILED},
    {TP_TLS_HANDOVER_FAIL, TP_TLS_HANDOVER_WORKING_WANTED, TP_TLS_HANDOVER_FAILED},
    {TP_TLS_HANDOVER_ABANDON, TP_TLS_HANDOVER_IDLE, TP_TLS_HANDOVER_ABANDONED},
    {TP_TLS_HANDOVER_ABANDON, TP_TLS_HANDOVER_WANTED, TP_TLS_HANDOVER_ABANDONED},
    {TP_TLS_HANDOVER_ABANDON, TP_TLS_HANDOVER_WORKING, TP_TLS_HANDOVER_ABANDONED},
    {TP_TLS_HANDOVER_ABANDON, TP_TLS_HANDOVER_WORKING_WANTED, TP_TLS_HANDOVER_ABANDONED},
};
enum { TRANSITION_COUNT = sizeof TRANSITIONS / sizeof TRANSITIONS[0] };

static enum tp_tls_handover_state after(enum tp_tls_handover_state from,
                                        enum tp_tls_handover_event event)
{
    for (size_t i = 0; i < TRANSITION_COUNT; i++)
        if (TRANSITIONS[i].event == event && TRANSITIONS[i].from == from)
            return TRANSITIONS[i].to;
    return from;
}

enum tp_tls_handover_state tp_tls_handover_move(struct tp_tls_handover *handover,
                                                enum tp_tls_handover_event event)
{
    uint32_t state = atomic_load_explicit(&handover->state, memory_order_relaxed);
    /* Release: what this side wrote is the other's from here on. Acquire: pairs with the release of
     * the move by which the other side let go. Where nothing changes the exchange is made all the
     * same: it is what orders the bytes of a WANT against a REST. A failure means that the other
     * side has just moved, which it does a few times per flight. */
    while (!atomic_compare_exchange_weak_explicit(&handover->state, &state,
                                                  after((enum tp_tls_handover_state)state, event),
                                                  memory_order_acq_rel, memory_order_acquire)) {
    }
    return (enum tp_tls_handover_state)state;
}

static bool fail(struct tp_tls_handover *handover, const char *reason)
{
    struct tp_tls_handshake *handshake = &handover->handshake;
    handshake->error = TP_TLS_ERROR_HANDSHAKE;
    (void)snprintf(handshake->error_text, sizeof handshake->error_text, "%s", reason);
    return false;
}

bool tp_tls_handover_produce(struct tp_tls_handover *handover)
{
    uint8_t bytes[4096];
    size_t size;
    while ((size = tp_tls_handshake_output(&handover->handshake, bytes, sizeof bytes)) > 0) {
        const size_t taken = tp_byte_pipe_write(&handover->produced, (struct tp_span){bytes, size});
        if (taken < size)
            return fail(handover, "OpenSSL wants to send more than a client's handshake has");
    }
    return true;
}

static bool make_record(struct tp_tls_handover *handover)
{
    struct tp_tls_secrets *secrets = &handover->handshake.secrets;
    const bool ok = handover->record == NULL ||
                    tp_tls_record_init(handover->record, handover->library, secrets);
    OPENSSL_cleanse(secrets, sizeof *secrets);
    return ok || fail(handover, "libcrypto could not derive the record keys");
}

/* OpenSSL has ended its part, so that the alert with our refusal is ours to seal. */
static void say_refusal(struct tp_tls_handover *handover)
{
    const int alert = handover->handshake.alert_owed;
    struct tp_tls_secrets *secrets = &handover->handshake.secrets;
    uint8_t bytes[TP_TLS_OUTPUT_SIZE];
    if (alert == TP_TLS_ALERT_NONE)
        return;
    if (handover->record != NULL &&
        tp_tls_record_init(handover->record, handover->library, secrets)) {
        (void)tp_tls_record_fail(handover->record, handover->handshake.error,
                                 (enum tp_tls_alert)alert, "%s", handover->handshake.error_text);
        const size_t size = tp_tls_record_output(handover->record, bytes, sizeof bytes);
        (void)tp_byte_pipe_write(&handover->produced, (struct tp_span){bytes, size});
    }
    OPENSSL_cleanse(secrets, sizeof *secrets);
}

/* Feeds OpenSSL what came, up to the end of the handshake. */
static enum tp_tls_handover_event shake(struct tp_tls_handover *handover)
{
    enum tp_status status = TP_NEED_MORE;
    struct tp_span in;
    /* Ends: each turn drops at least a byte, and the handshake refuses more than 1 MiB. */
    while (status == TP_NEED_MORE && (in = tp_byte_pipe_front(&handover->received)).size > 0) {
        const size_t size = in.size;
        status = tp_tls_handshake_input(&handover->handshake, &in);
        tp_byte_pipe_drop(&handover->received, size - in.size);
    }
    const bool produced = tp_tls_handover_produce(handover);
    if (produced && status == TP_ERROR)
        say_refusal(handover);
    if (!produced || status == TP_ERROR)
        return TP_TLS_HANDOVER_FAIL;
    if (status == TP_NEED_MORE)
        return TP_TLS_HANDOVER_REST;
    return make_record(handover) ? TP_TLS_HANDOVER_COMPLETE : TP_TLS_HANDOVER_FAIL;
}

enum tp_tls_handover_state tp_tls_handshake_work(struct tp_tls_handover *handover)
{
    enum tp_tls_handover_event event = TP_TLS_HANDOVER_TAKE;
    enum tp_tls_handover_state state = after(tp_tls_handover_move(handover, event), event);
    while (state == TP_TLS_HANDOVER_WORKING) { /* again where bytes came meanwhile */
        event = shake(handover);
        state = after(tp_tls_handover_move(handover, event), event);
    }
    return state;
}
