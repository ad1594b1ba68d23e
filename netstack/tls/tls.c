/* The front door (tls.h): a handshake phase, then a record phase, and the move from one to the
 * other. Reading order of this folder: tls.h, this file, handover.h, handshake_worker.h,
 * handshake.c, key_schedule.c, record.c, post_handshake.c, aead.c, aead_library.c. */
#include "netstack/tls/tls.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "netstack/tls/handover.h"
#include "netstack/tls/handshake_worker.h"

/* The oracle may put a KeyUpdate of its own before the data. */
#define ORACLE_SLACK 64

struct tp_tls_context {
    SSL_CTX *handshake;
    struct tp_aead_library library;
    bool oracle;
};

enum phase {
    PHASE_HANDSHAKE, /* the cold side's, see handover.h */
    PHASE_REST,      /* bytes that followed the handshake are still in its pipe */
    PHASE_RECORDS,   /* ours */
    PHASE_ORACLE,    /* OpenSSL's */
    PHASE_ORACLE_CLOSED,
    PHASE_FAILED, /* in the handshake or the oracle */
};

struct tp_tls {
    struct tp_tls_record record; /* first: it wants the allocation's alignment */
    struct tp_tls_handover handover;
    const struct tp_tls_context *context;
    enum phase phase;
    bool handshake_drained; /* the client's last flight has left */
    bool drains_openssl;    /* the oracle has bytes of its own to send */
    /* PHASE_FAILED */
    enum tp_tls_error error;
    const char *error_text;
    char own_text[TP_TLS_SERVER_NAME_SIZE + 128];
    /* Not secret, and large: neither cleared nor wiped. */
    uint8_t received[TP_TLS_RECEIVED_SIZE];
    uint8_t produced[TP_TLS_PRODUCED_SIZE];
};

/* ---- contexts ---- */

static bool choose_library(struct tp_tls_context *context, enum tp_tls_record_layer layer,
                           char *error, size_t error_size)
{
    const char *reason = NULL;
    context->oracle = layer == TP_TLS_RECORD_OPENSSL;
    if (layer == TP_TLS_RECORD_OPENSSL || layer == TP_TLS_RECORD_EVP)
        return true;
    if (tp_aead_library_open_ipsec_mb(&context->library, &reason) || layer == TP_TLS_RECORD_AUTO)
        return true;
    (void)snprintf(error, error_size, "%s; use the record layer \"evp\" or \"auto\"", reason);
    return false;
}

struct tp_tls_context *tp_tls_context_new(const struct tp_tls_context_config *config, char *error,
                                          size_t error_size)
{
    struct tp_tls_context *context = calloc(1, sizeof *context);
    if (context == NULL) {
        (void)snprintf(error, error_size, "out of memory for a TLS context");
        return NULL;
    }
    context->handshake = tp_tls_handshake_context(config, error, error_size);
    if (context->handshake == NULL ||
        !choose_library(context, config->record_layer, error, error_size)) {
        tp_tls_context_free(context);
        return NULL;
    }
    return context;
}

void tp_tls_context_free(struct tp_tls_context *context)
{
    if (context == NULL)
        return;
    tp_aead_library_close(&context->library);
    SSL_CTX_free(context->handshake);
    free(context);
}

/* ---- connections ---- */

static void destroy(struct tp_tls *tls)
{
    tp_tls_record_deinit(&tls->record);
    tp_tls_handshake_deinit(&tls->handover.handshake);
    OPENSSL_cleanse(tls, offsetof(struct tp_tls, received));
    free(tls);
}

void tp_tls_handover_destroy(struct tp_tls_handover *handover)
{
    destroy(handover->tls);
}

struct tp_tls *tp_tls_new(struct tp_tls_context *context, const char *server_name)
{
    void *memory = NULL;
    if (posix_memalign(&memory, _Alignof(struct tp_tls), sizeof(struct tp_tls)) != 0)
        return NULL;
    struct tp_tls *tls = memory;
    memset(tls, 0, offsetof(struct tp_tls, received));
    tls->context = context;
    tls->error_text = "";
    struct tp_tls_handover *handover = &tls->handover;
    tp_byte_pipe_init(&handover->received, tls->received, TP_TLS_RECEIVED_SIZE);
    tp_byte_pipe_init(&handover->produced, tls->produced, TP_TLS_PRODUCED_SIZE);
    handover->tls = tls;
    handover->library = &context->library;
    handover->record = context->oracle ? NULL : &tls->record;
    if (!tp_tls_handshake_init(&handover->handshake, context->handshake, server_name) ||
        !tp_tls_handover_produce(handover)) {
        destroy(tls);
        return NULL;
    }
    return tls;
}

bool tp_tls_delegate(struct tp_tls *tls, struct tp_tls_handshake_worker *worker)
{
    if (!tp_tls_handshake_worker_add(worker, &tls->handover))
        return false;
    tls->handover.worker = worker;
    return true;
}

void tp_tls_free(struct tp_tls *tls)
{
    if (tls == NULL)
        return;
    struct tp_tls_handshake_worker *worker = tls->handover.worker;
    if (worker == NULL) {
        destroy(tls);
        return;
    }
    switch (tp_tls_handover_move(&tls->handover, TP_TLS_HANDOVER_ABANDON)) {
    case TP_TLS_HANDOVER_DONE:
    case TP_TLS_HANDOVER_FAILED:
        destroy(tls); /* the worker has let go of it */
        return;
    case TP_TLS_HANDOVER_IDLE:
    case TP_TLS_HANDOVER_WANTED:
    case TP_TLS_HANDOVER_WORKING:
    case TP_TLS_HANDOVER_WORKING_WANTED:
    case TP_TLS_HANDOVER_ABANDONED:
        tp_tls_handshake_worker_note(worker); /* tls may be gone already */
        tp_tls_handshake_worker_wake(worker);
        return;
    }
}

bool tp_tls_begin_records(struct tp_tls *tls, const struct tp_tls_secrets *secrets)
{
    if (tls->context->oracle || !tp_tls_record_init(&tls->record, &tls->context->library, secrets))
        return false;
    tls->phase = PHASE_RECORDS;
    tls->handshake_drained = true;
    return true;
}

const struct tp_tls_record *tp_tls_records(const struct tp_tls *tls)
{
    return tls->phase == PHASE_RECORDS ? &tls->record : NULL;
}

/* ---- input: the handshake ---- */

/* OpenSSL's object is the worker's until the handshake has ended. */
static bool is_away(const struct tp_tls *tls)
{
    return tls->phase == PHASE_HANDSHAKE && tls->handover.worker != NULL;
}

static enum tp_status fail(struct tp_tls *tls, enum tp_tls_error error, const char *static_text)
{
    tls->phase = PHASE_FAILED;
    tls->error = error;
    tls->error_text = static_text;
    return TP_ERROR;
}

/* Takes back what the cold side has ended. */
static void take_over(struct tp_tls *tls)
{
    struct tp_tls_handover *handover = &tls->handover;
    /* Pairs with the release of the cold side's last move. */
    const uint32_t state = atomic_load_explicit(&handover->state, memory_order_acquire);
    if (state == TP_TLS_HANDOVER_DONE) {
        tls->phase = PHASE_REST;
        tls->drains_openssl = tls->context->oracle;
    } else if (state == TP_TLS_HANDOVER_FAILED) {
        (void)fail(tls, handover->handshake.error, handover->handshake.error_text);
    }
}

/* Every byte goes to the cold side: where the handshake ends is OpenSSL's to say. */
static enum tp_status give(struct tp_tls *tls, struct tp_span *in)
{
    struct tp_tls_handover *handover = &tls->handover;
    const size_t size = tp_byte_pipe_write(&handover->received, *in);
    in->data += size;
    in->size -= size;
    if (size > 0 && tp_tls_handover_move(handover, TP_TLS_HANDOVER_WANT) == TP_TLS_HANDOVER_IDLE &&
        handover->worker != NULL)
        tp_tls_handshake_worker_note(handover->worker);
    if (handover->worker != NULL)
        return in->size > 0 ? TP_FULL : TP_NEED_MORE;
    (void)tp_tls_handshake_work(handover);
    take_over(tls);
    if (tls->phase == PHASE_REST) { /* the caller still has what followed */
        const uint32_t rest = tp_byte_pipe_used(&handover->received);
        tp_byte_pipe_take_back(&handover->received, rest);
        in->data -= rest;
        in->size += rest;
    }
    return TP_OK;
}

static enum tp_status open_records(struct tp_tls *tls, struct tp_span *in, struct tp_buffer *out)
{
    if (!tls->context->oracle)
        return tp_tls_record_input(&tls->record, in, out);
    struct tp_tls_handshake *handshake = &tls->handover.handshake;
    const enum tp_status status = tp_tls_oracle_input(handshake, in, out);
    if (status == TP_ERROR)
        (void)fail(tls, handshake->error, handshake->error_text);
    if (status == TP_CLOSED)
        tls->phase = PHASE_ORACLE_CLOSED;
    return status;
}

/* Opens what came in one piece with the end of the handshake. */
static enum tp_status open_rest(struct tp_tls *tls, struct tp_buffer *out)
{
    struct tp_byte_pipe *received = &tls->handover.received;
    enum tp_status status = TP_NEED_MORE;
    struct tp_span in;
    while ((in = tp_byte_pipe_front(received)).size > 0 && tls->phase == PHASE_REST) {
        const size_t size = in.size;
        status = open_records(tls, &in, out);
        tp_byte_pipe_drop(received, size - in.size);
        if (status == TP_FULL)
            return TP_FULL;
        if (status == TP_ERROR || status == TP_CLOSED)
            break;
    }
    if (tls->phase == PHASE_REST)
        tls->phase = tls->context->oracle ? PHASE_ORACLE : PHASE_RECORDS;
    return status;
}

static enum tp_status handshake_input(struct tp_tls *tls, struct tp_span *in, struct tp_buffer *out)
{
    enum tp_status status = TP_NEED_MORE;
    /* Without a worker give takes at least a byte each time, and moves the phase or wants more. */
    while (tls->phase == PHASE_HANDSHAKE) {
        take_over(tls);
        if (tls->phase != PHASE_HANDSHAKE)
            break;
        if (in->size == 0)
            return TP_NEED_MORE;
        status = give(tls, in);
        if (tls->handover.worker != NULL)
            return status;
    }
    if (tls->phase == PHASE_FAILED)
        return TP_ERROR;
    status = open_rest(tls, out);
    if (status == TP_FULL || status == TP_ERROR || status == TP_CLOSED)
        return status;
    return TP_OK; /* the handshake just completed; *in is the records' */
}

/* ---- input ---- */

enum tp_status tp_tls_input(struct tp_tls *tls, struct tp_span *in, struct tp_buffer *out)
{
    switch (tls->phase) {
    case PHASE_RECORDS:
        return tp_tls_record_input(&tls->record, in, out);
    case PHASE_HANDSHAKE:
    case PHASE_REST:
        return handshake_input(tls, in, out);
    case PHASE_ORACLE:
        return open_records(tls, in, out);
    case PHASE_ORACLE_CLOSED:
        return TP_CLOSED;
    case PHASE_FAILED:
        return TP_ERROR;
    }
    return TP_ERROR;
}

void tp_tls_moved(struct tp_tls *tls, const struct tp_buffer *out)
{
    if (tls->phase == PHASE_REST || tls->phase == PHASE_RECORDS)
        tp_tls_record_moved(&tls->record, out);
}

enum tp_status tp_tls_end_of_input(struct tp_tls *tls)
{
    switch (tls->phase) {
    case PHASE_HANDSHAKE:
        /* The cold side may be at work on its own text. */
        (void)snprintf(tls->own_text, sizeof tls->own_text,
                       "the TLS handshake with %s failed: the server closed the connection within "
                       "it",
                       tls->handover.handshake.server_name);
        return fail(tls, TP_TLS_ERROR_TRUNCATED, tls->own_text);
    case PHASE_REST:
    case PHASE_RECORDS:
        return tp_tls_record_end_of_input(&tls->record);
    case PHASE_ORACLE:
        return fail(tls, TP_TLS_ERROR_TRUNCATED, "the connection ended without close_notify");
    case PHASE_ORACLE_CLOSED:
        return TP_CLOSED;
    case PHASE_FAILED:
        return TP_ERROR;
    }
    return TP_ERROR;
}

size_t tp_tls_input_room(const struct tp_tls *tls)
{
    if (!is_away(tls))
        return SIZE_MAX;
    return TP_TLS_RECEIVED_SIZE - tp_byte_pipe_used(&tls->handover.received);
}

bool tp_tls_is_judging(const struct tp_tls *tls)
{
    /* Only says that there is something to come: tp_tls_input orders what it reads. */
    return tls->phase == PHASE_HANDSHAKE &&
           atomic_load_explicit(&tls->handover.state, memory_order_relaxed) != TP_TLS_HANDOVER_IDLE;
}

bool tp_tls_has_news(const struct tp_tls *tls)
{
    if (tls->phase != PHASE_HANDSHAKE)
        return false;
    const uint32_t state = atomic_load_explicit(&tls->handover.state, memory_order_relaxed);
    return state == TP_TLS_HANDOVER_DONE || state == TP_TLS_HANDOVER_FAILED ||
           tp_byte_pipe_used(&tls->handover.produced) > 0;
}

/* ---- output ---- */

static bool is_oracle(const struct tp_tls *tls)
{
    return tls->phase == PHASE_ORACLE || tls->phase == PHASE_ORACLE_CLOSED;
}

static size_t handshake_output_size(const struct tp_tls *tls)
{
    if (tls->handshake_drained)
        return 0;
    const size_t size = tp_byte_pipe_used(&tls->handover.produced);
    return tls->drains_openssl ? size + tp_tls_handshake_output_size(&tls->handover.handshake)
                               : size;
}

static size_t handshake_output(struct tp_tls *tls, uint8_t *out, size_t capacity)
{
    size_t size = tp_byte_pipe_read(&tls->handover.produced, out, capacity);
    if (tls->drains_openssl)
        size += tp_tls_handshake_output(&tls->handover.handshake, out + size, capacity - size);
    /* After the handshake our own records follow its last flight; it says nothing more. */
    tls->handshake_drained =
        tls->phase == PHASE_RECORDS && tp_byte_pipe_used(&tls->handover.produced) == 0;
    return size;
}

size_t tp_tls_output(struct tp_tls *tls, uint8_t *out, size_t capacity)
{
    size_t size = tls->handshake_drained ? 0 : handshake_output(tls, out, capacity);
    if (tls->phase == PHASE_RECORDS)
        size += tp_tls_record_output(&tls->record, out + size, capacity - size);
    return size;
}

bool tp_tls_may_output(const struct tp_tls *tls)
{
    return !tls->handshake_drained ||
           (tls->phase == PHASE_RECORDS && tp_tls_record_output_size(&tls->record) > 0);
}

static size_t waiting_output(const struct tp_tls *tls)
{
    size_t size = handshake_output_size(tls);
    return tls->phase == PHASE_RECORDS ? size + tp_tls_record_output_size(&tls->record) : size;
}

size_t tp_tls_sealed_size(const struct tp_tls *tls, size_t plaintext_size)
{
    size_t waiting = waiting_output(tls);
    if (tls->phase == PHASE_RECORDS)
        return waiting + tp_tls_record_sealed_size(&tls->record, plaintext_size);
    size_t records = (plaintext_size + TP_TLS_PLAINTEXT_SIZE_MAX - 1) / TP_TLS_PLAINTEXT_SIZE_MAX;
    size_t overhead_max = TP_TLS_HEADER_SIZE + TP_TLS_EXPLICIT_NONCE_SIZE + TP_AEAD_TAG_SIZE;
    return waiting + plaintext_size + records * overhead_max + ORACLE_SLACK;
}

size_t tp_tls_seal(struct tp_tls *tls, struct tp_span plaintext, uint8_t *out, size_t capacity)
{
    const bool oracle = is_oracle(tls);
    if (plaintext.size == 0 || (tls->phase != PHASE_RECORDS && !oracle) ||
        capacity < tp_tls_sealed_size(tls, plaintext.size))
        return 0;
    /* What was sealed earlier must leave earlier: its sequence number came first. */
    size_t waiting = waiting_output(tls) > 0 ? tp_tls_output(tls, out, capacity) : 0;
    size_t size =
        oracle ? tp_tls_oracle_seal(&tls->handover.handshake, plaintext, out + waiting,
                                    capacity - waiting)
               : tp_tls_record_seal(&tls->record, plaintext, out + waiting, capacity - waiting);
    return waiting + size;
}

void tp_tls_close(struct tp_tls *tls)
{
    if (tls->phase == PHASE_RECORDS)
        tp_tls_record_close(&tls->record);
    if (is_oracle(tls))
        (void)SSL_shutdown(tls->handover.handshake.ssl);
    if (is_away(tls)) { /* what the worker still writes is for nobody: the stream ends here */
        (void)fail(tls, TP_TLS_ERROR_NONE, "");
        tls->handshake_drained = true;
    }
}

/* ---- reports ---- */

bool tp_tls_connected(const struct tp_tls *tls)
{
    return tls->phase == PHASE_ORACLE ||
           (tls->phase == PHASE_RECORDS && tls->record.state == TP_TLS_RECORD_OPEN);
}

enum tp_tls_error tp_tls_error(const struct tp_tls *tls)
{
    return tls->phase == PHASE_RECORDS ? tls->record.error : tls->error;
}

const char *tp_tls_error_text(const struct tp_tls *tls)
{
    return tls->phase == PHASE_RECORDS ? tls->record.error_text : tls->error_text;
}

const char *tp_tls_error_name(enum tp_tls_error error)
{
    switch (error) {
    case TP_TLS_ERROR_NONE:
        return "none";
    case TP_TLS_ERROR_HANDSHAKE:
        return "handshake";
    case TP_TLS_ERROR_CERTIFICATE:
        return "certificate";
    case TP_TLS_ERROR_RECORD_OVERFLOW:
        return "record_overflow";
    case TP_TLS_ERROR_BAD_RECORD_MAC:
        return "bad_record_mac";
    case TP_TLS_ERROR_UNEXPECTED_MESSAGE:
        return "unexpected_message";
    case TP_TLS_ERROR_DECODE:
        return "decode";
    case TP_TLS_ERROR_ALERT_RECEIVED:
        return "alert_received";
    case TP_TLS_ERROR_TRUNCATED:
        return "truncated";
    case TP_TLS_ERROR_FLOOD:
        return "flood";
    }
    return "unknown";
}

const char *tp_tls_version(const struct tp_tls *tls)
{
    if (is_away(tls))
        return "unknown";
    return SSL_get_version(tls->handover.handshake.ssl);
}

const char *tp_tls_cipher(const struct tp_tls *tls)
{
    if (is_away(tls))
        return "(NONE)"; /* what OpenSSL says before it has one */
    return SSL_get_cipher_name(tls->handover.handshake.ssl);
}

const char *tp_tls_record_layer_name(const struct tp_tls *tls)
{
    return tls->context->oracle ? "openssl" : tp_aead_library_name(&tls->context->library);
}
