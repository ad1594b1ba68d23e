/* The front door (tls.h): a handshake phase, then a record phase, and the move from one to the
 * other. Reading order of this folder: tls.h, this file, handshake.c, key_schedule.c, record.c,
 * post_handshake.c, aead.c, aead_library.c. */
#include "netstack/tls/tls.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "netstack/tls/handshake.h"
#include "netstack/tls/record.h"

/* The oracle may put a KeyUpdate of its own before the data. */
#define ORACLE_SLACK 64

struct tp_tls_context {
    SSL_CTX *handshake;
    struct tp_aead_library library;
    bool oracle;
};

enum phase {
    PHASE_HANDSHAKE,
    PHASE_RECORDS, /* ours */
    PHASE_ORACLE,  /* OpenSSL's */
    PHASE_ORACLE_CLOSED,
    PHASE_FAILED, /* in the handshake or the oracle */
};

struct tp_tls {
    struct tp_tls_record record; /* first: it wants the allocation's alignment */
    struct tp_tls_handshake handshake;
    const struct tp_tls_context *context;
    enum phase phase;
    bool handshake_drained; /* OpenSSL's last flight has left */
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

struct tp_tls *tp_tls_new(struct tp_tls_context *context, const char *server_name)
{
    void *memory = NULL;
    if (posix_memalign(&memory, _Alignof(struct tp_tls), sizeof(struct tp_tls)) != 0)
        return NULL;
    struct tp_tls *tls = memory;
    memset(tls, 0, sizeof *tls);
    tls->context = context;
    if (!tp_tls_handshake_init(&tls->handshake, context->handshake, server_name)) {
        tp_tls_free(tls);
        return NULL;
    }
    return tls;
}

void tp_tls_free(struct tp_tls *tls)
{
    if (tls == NULL)
        return;
    tp_tls_record_deinit(&tls->record);
    tp_tls_handshake_deinit(&tls->handshake);
    OPENSSL_cleanse(tls, sizeof *tls);
    free(tls);
}

/* ---- input ---- */

static enum tp_status start_records(struct tp_tls *tls)
{
    bool ok = tls->context->oracle ||
              tp_tls_record_init(&tls->record, &tls->context->library, &tls->handshake.secrets);
    OPENSSL_cleanse(&tls->handshake.secrets, sizeof tls->handshake.secrets);
    if (!ok) {
        tls->phase = PHASE_FAILED;
        tls->handshake.error = TP_TLS_ERROR_HANDSHAKE;
        (void)snprintf(tls->handshake.error_text, sizeof tls->handshake.error_text,
                       "libcrypto could not derive the record keys");
        return TP_ERROR;
    }
    tls->phase = tls->context->oracle ? PHASE_ORACLE : PHASE_RECORDS;
    return TP_OK;
}

static enum tp_status handshake_input(struct tp_tls *tls, struct tp_span *in)
{
    enum tp_status status = tp_tls_handshake_input(&tls->handshake, in);
    if (status == TP_OK)
        return start_records(tls);
    if (status == TP_ERROR)
        tls->phase = PHASE_FAILED;
    return status;
}

static enum tp_status oracle_input(struct tp_tls *tls, struct tp_span *in, struct tp_buffer *out)
{
    enum tp_status status = tp_tls_oracle_input(&tls->handshake, in, out);
    if (status == TP_ERROR)
        tls->phase = PHASE_FAILED;
    if (status == TP_CLOSED)
        tls->phase = PHASE_ORACLE_CLOSED;
    return status;
}

enum tp_status tp_tls_input(struct tp_tls *tls, struct tp_span *in, struct tp_buffer *out)
{
    switch (tls->phase) {
    case PHASE_RECORDS:
        return tp_tls_record_input(&tls->record, in, out);
    case PHASE_HANDSHAKE:
        return handshake_input(tls, in);
    case PHASE_ORACLE:
        return oracle_input(tls, in, out);
    case PHASE_ORACLE_CLOSED:
        return TP_CLOSED;
    case PHASE_FAILED:
        return TP_ERROR;
    }
    return TP_ERROR;
}

enum tp_status tp_tls_end_of_input(struct tp_tls *tls)
{
    switch (tls->phase) {
    case PHASE_HANDSHAKE:
        tp_tls_handshake_end_of_input(&tls->handshake);
        tls->phase = PHASE_FAILED;
        return TP_ERROR;
    case PHASE_RECORDS:
        return tp_tls_record_end_of_input(&tls->record);
    case PHASE_ORACLE:
        tls->handshake.error = TP_TLS_ERROR_TRUNCATED;
        (void)snprintf(tls->handshake.error_text, sizeof tls->handshake.error_text,
                       "the connection ended without close_notify");
        tls->phase = PHASE_FAILED;
        return TP_ERROR;
    case PHASE_ORACLE_CLOSED:
        return TP_CLOSED;
    case PHASE_FAILED:
        return TP_ERROR;
    }
    return TP_ERROR;
}

/* ---- output ---- */

size_t tp_tls_output(struct tp_tls *tls, uint8_t *out, size_t capacity)
{
    size_t size = 0;
    if (!tls->handshake_drained) {
        size = tp_tls_handshake_output(&tls->handshake, out, capacity);
        /* After the handshake our own records follow OpenSSL's last flight; it says nothing more.
         */
        tls->handshake_drained =
            tls->phase == PHASE_RECORDS && tp_tls_handshake_output_size(&tls->handshake) == 0;
    }
    if (tls->phase == PHASE_RECORDS)
        size += tp_tls_record_output(&tls->record, out + size, capacity - size);
    return size;
}

static size_t waiting_output(const struct tp_tls *tls)
{
    size_t size = tls->handshake_drained ? 0 : tp_tls_handshake_output_size(&tls->handshake);
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
    bool oracle = tls->phase == PHASE_ORACLE || tls->phase == PHASE_ORACLE_CLOSED;
    if (plaintext.size == 0 || (tls->phase != PHASE_RECORDS && !oracle) ||
        capacity < tp_tls_sealed_size(tls, plaintext.size))
        return 0;
    /* What was sealed earlier must leave earlier: its sequence number came first. */
    size_t waiting = waiting_output(tls) > 0 ? tp_tls_output(tls, out, capacity) : 0;
    size_t size =
        oracle ? tp_tls_oracle_seal(&tls->handshake, plaintext, out + waiting, capacity - waiting)
               : tp_tls_record_seal(&tls->record, plaintext, out + waiting, capacity - waiting);
    return waiting + size;
}

void tp_tls_close(struct tp_tls *tls)
{
    if (tls->phase == PHASE_RECORDS)
        tp_tls_record_close(&tls->record);
    if (tls->phase == PHASE_ORACLE || tls->phase == PHASE_ORACLE_CLOSED)
        (void)SSL_shutdown(tls->handshake.ssl);
}

/* ---- reports ---- */

bool tp_tls_connected(const struct tp_tls *tls)
{
    return tls->phase == PHASE_ORACLE ||
           (tls->phase == PHASE_RECORDS && tls->record.state == TP_TLS_RECORD_OPEN);
}

enum tp_tls_error tp_tls_error(const struct tp_tls *tls)
{
    return tls->phase == PHASE_RECORDS ? tls->record.error : tls->handshake.error;
}

const char *tp_tls_error_text(const struct tp_tls *tls)
{
    return tls->phase == PHASE_RECORDS ? tls->record.error_text : tls->handshake.error_text;
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
    return SSL_get_version(tls->handshake.ssl);
}

const char *tp_tls_cipher(const struct tp_tls *tls)
{
    return SSL_get_cipher_name(tls->handshake.ssl);
}

const char *tp_tls_record_layer_name(const struct tp_tls *tls)
{
    return tls->context->oracle ? "openssl" : tp_aead_library_name(&tls->context->library);
}
