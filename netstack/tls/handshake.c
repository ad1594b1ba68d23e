/* See handshake.h. Reading order: the context, one connection, feeding, what to say when it fails,
 * the secrets, the oracle. */
#include "netstack/tls/handshake.h"

#include <arpa/inet.h>
#include <assert.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "netstack/tls/post_handshake.h"

#define HEADER_SIZE 5
#define HEX_PER_BYTE 2
static const char CIPHERS_TLS13[] =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
static const char CIPHERS_TLS12[] = "ECDHE+AESGCM:ECDHE+CHACHA20:!PSK:!aNULL";
static const uint8_t ALPN_HTTP_1_1[] = "\x08http/1.1";
#define ALPN_HTTP_1_1_SIZE (sizeof ALPN_HTTP_1_1 - 1)

/* ---- the context ---- */

/* The oldest queued OpenSSL error is the cause; later ones are its callers' complaints. */
static const char *openssl_reason(void)
{
    unsigned long code = ERR_peek_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    return reason != NULL ? reason : "no reason given";
}

static void keylog(const SSL *ssl, const char *line);
static void note_alert(const SSL *ssl, int where, int value);

static bool load_trust(SSL_CTX *context, const struct tp_tls_context_config *config, char *error,
                       size_t error_size)
{
    if (config->insecure && config->ca_file == NULL)
        return true;
    if (config->ca_file == NULL && SSL_CTX_set_default_verify_paths(context) == 1)
        return true;
    if (config->ca_file != NULL &&
        SSL_CTX_load_verify_locations(context, config->ca_file, NULL) == 1)
        return true;
    (void)snprintf(error, error_size,
                   "cannot read CA certificates from %s: %s; expected a PEM file, as in "
                   "--cacert FILE",
                   config->ca_file != NULL ? config->ca_file : "the system's trust store",
                   openssl_reason());
    return false;
}

static bool configure(SSL_CTX *context)
{
    (void)SSL_CTX_set_options(context,
                              SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET);
    (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_keylog_callback(context, keylog);
    SSL_CTX_set_info_callback(context, note_alert);
    /* Whoever is named as trusted is trusted, an intermediate too, as curl and Go have it. */
    (void)X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context), X509_V_FLAG_PARTIAL_CHAIN);
    return SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_ciphersuites(context, CIPHERS_TLS13) == 1 &&
           SSL_CTX_set_cipher_list(context, CIPHERS_TLS12) == 1 &&
           SSL_CTX_set_alpn_protos(context, ALPN_HTTP_1_1, ALPN_HTTP_1_1_SIZE) == 0;
}

SSL_CTX *tp_tls_handshake_context(const struct tp_tls_context_config *config, char *error,
                                  size_t error_size)
{
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL || !configure(context)) {
        (void)snprintf(error, error_size, "OpenSSL cannot set up a TLS client: %s",
                       openssl_reason());
        goto fail;
    }
    SSL_CTX_set_verify(context, config->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    if (!load_trust(context, config, error, error_size))
        goto fail;
    return context;
fail:
    ERR_clear_error();
    SSL_CTX_free(context);
    return NULL;
}

/* ---- one connection ---- */

static bool is_ip_literal(const char *name)
{
    struct in6_addr address;
    return inet_pton(AF_INET, name, &address) == 1 || inet_pton(AF_INET6, name, &address) == 1;
}

/* RFC 6066 3: SNI carries DNS names only, without a trailing dot. */
static bool set_server_name(struct tp_tls_handshake *handshake, const char *server_name)
{
    size_t size = strlen(server_name);
    if (size > 1 && server_name[size - 1] == '.')
        size--;
    if (size == 0 || size >= sizeof handshake->server_name)
        return false;
    memcpy(handshake->server_name, server_name, size);
    handshake->server_name[size] = '\0';
    SSL *ssl = handshake->ssl;
    if (is_ip_literal(handshake->server_name))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), handshake->server_name) == 1;
    /* RFC 9525 2: an identity stands in subjectAltName; the subject's CN is none. */
    SSL_set_hostflags(ssl,
                      X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return SSL_set1_host(ssl, handshake->server_name) == 1 &&
           SSL_set_tlsext_host_name(ssl, handshake->server_name) == 1;
}

static bool attach_bios(struct tp_tls_handshake *handshake)
{
    handshake->from_server = BIO_new(BIO_s_mem());
    handshake->to_server = BIO_new(BIO_s_mem());
    if (handshake->from_server == NULL || handshake->to_server == NULL) {
        BIO_free(handshake->from_server);
        BIO_free(handshake->to_server);
        return false;
    }
    /* An empty BIO means "later", not "end of file". */
    BIO_set_mem_eof_return(handshake->from_server, -1);
    SSL_set_bio(handshake->ssl, handshake->from_server, handshake->to_server);
    return true;
}

bool tp_tls_handshake_init(struct tp_tls_handshake *handshake, SSL_CTX *context,
                           const char *server_name)
{
    memset(handshake, 0, sizeof *handshake);
    handshake->alert_sent = TP_TLS_ALERT_NONE;
    handshake->alert_received = TP_TLS_ALERT_NONE;
    handshake->alert_owed = TP_TLS_ALERT_NONE;
    handshake->verifies = SSL_CTX_get_verify_mode(context) != SSL_VERIFY_NONE;
    ERR_clear_error();
    handshake->ssl = SSL_new(context);
    if (handshake->ssl == NULL || !attach_bios(handshake))
        return false;
    SSL_set_app_data(handshake->ssl, handshake);
    SSL_set_connect_state(handshake->ssl);
    if (!set_server_name(handshake, server_name))
        return false;
    int result = SSL_do_handshake(handshake->ssl);
    return SSL_get_error(handshake->ssl, result) == SSL_ERROR_WANT_READ;
}

void tp_tls_handshake_deinit(struct tp_tls_handshake *handshake)
{
    SSL_free(handshake->ssl);
    OPENSSL_cleanse(handshake, sizeof *handshake);
}

size_t tp_tls_handshake_output(struct tp_tls_handshake *handshake, uint8_t *out, size_t capacity)
{
    size_t size = 0;
    if (capacity > 0 && BIO_read_ex(handshake->to_server, out, capacity, &size) != 1)
        return 0;
    return size;
}

size_t tp_tls_handshake_output_size(const struct tp_tls_handshake *handshake)
{
    return BIO_ctrl_pending(handshake->to_server);
}

/* ---- feeding ---- */

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void give(struct tp_tls_handshake *handshake, struct tp_span *in, size_t size)
{
    size_t written = 0;
    /* A memory BIO takes all or is out of memory, which the handshake then reports as a stall. */
    (void)BIO_write_ex(handshake->from_server, in->data, size, &written);
    handshake->fed += size;
    in->data += size;
    in->size -= size;
}

/* What the server sends under its new keys before we take over: in TLS 1.2 its Finished, which may
 * come in several records. The sequence numbers of ours go on behind them. */
static void count_record(struct tp_tls_handshake *handshake)
{
    if (handshake->header[0] == SSL3_RT_CHANGE_CIPHER_SPEC)
        handshake->secrets.records_read = 0;
    else
        handshake->secrets.records_read++;
}

static void feed_header(struct tp_tls_handshake *handshake, struct tp_span *in)
{
    size_t size = smaller(HEADER_SIZE - handshake->header_size, in->size);
    memcpy(handshake->header + handshake->header_size, in->data, size);
    handshake->header_size += size;
    give(handshake, in, size);
    if (handshake->header_size == HEADER_SIZE)
        handshake->body_left = (size_t)handshake->header[3] << 8 | handshake->header[4];
}

static void feed_body(struct tp_tls_handshake *handshake, struct tp_span *in)
{
    size_t size = smaller(handshake->body_left, in->size);
    give(handshake, in, size);
    handshake->body_left -= size;
}

/* Gives OpenSSL bytes up to the end of a header, so that it may refuse it at once, or of a body. */
static void feed(struct tp_tls_handshake *handshake, struct tp_span *in)
{
    if (handshake->header_size < HEADER_SIZE)
        feed_header(handshake, in);
    else
        feed_body(handshake, in);
}

static bool at_record_end(const struct tp_tls_handshake *handshake)
{
    return handshake->header_size == HEADER_SIZE && handshake->body_left == 0;
}

/* ---- failures ---- */

static void note_alert(const SSL *ssl, int where, int value)
{
    struct tp_tls_handshake *handshake = SSL_get_app_data(ssl);
    if ((where & SSL_CB_ALERT) == 0 || handshake == NULL)
        return;
    if ((where & SSL_CB_READ) != 0)
        handshake->alert_received = value & 0xFF;
    else
        handshake->alert_sent = value & 0xFF;
}

static void describe_certificate(struct tp_tls_handshake *handshake, long verdict)
{
    const char *remedy = "";
    switch (verdict) {
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        remedy = "; if you trust its issuer, give the issuer's certificate with --cacert FILE";
        break;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        remedy = "; connect by a name that the certificate has as subjectAltName (its CN alone "
                 "does not count, RFC 9525)";
        break;
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        remedy = "; check this machine's clock, else the server must renew it";
        break;
    default:
        break;
    }
    handshake->error = TP_TLS_ERROR_CERTIFICATE;
    (void)snprintf(handshake->error_text, sizeof handshake->error_text,
                   "the server's certificate was refused: %s (expected one for %s)%s",
                   X509_verify_cert_error_string(verdict), handshake->server_name, remedy);
}

static enum tp_status fail(struct tp_tls_handshake *handshake, enum tp_tls_error error,
                           const char *reason)
{
    handshake->error = error;
    (void)snprintf(handshake->error_text, sizeof handshake->error_text,
                   "the TLS handshake with %s failed: %s", handshake->server_name, reason);
    return TP_ERROR;
}

static enum tp_status fail_by_openssl(struct tp_tls_handshake *handshake)
{
    long verdict = SSL_get_verify_result(handshake->ssl);
    if (handshake->verifies && verdict != X509_V_OK) {
        describe_certificate(handshake, verdict);
    } else if (handshake->alert_received != TP_TLS_ALERT_NONE) {
        handshake->error = TP_TLS_ERROR_ALERT_RECEIVED;
        (void)snprintf(handshake->error_text, sizeof handshake->error_text,
                       "%s ended the TLS handshake with the alert \"%s\" (%d)",
                       handshake->server_name, tp_tls_alert_name(handshake->alert_received),
                       handshake->alert_received);
    } else {
        (void)fail(handshake, TP_TLS_ERROR_HANDSHAKE, openssl_reason());
    }
    ERR_clear_error();
    return TP_ERROR;
}

/* ---- the secrets ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static size_t parse_hex(const char *hex, uint8_t *out, size_t capacity)
{
    size_t size = 0;
    while (size < capacity && hex_digit(hex[0]) >= 0 && hex_digit(hex[1]) >= 0) {
        out[size++] = (uint8_t)(hex_digit(hex[0]) << 4 | hex_digit(hex[1]));
        hex += HEX_PER_BYTE;
    }
    return size;
}

/* A line is "LABEL client_random secret" in hex (NSS key log format). It is OpenSSL's only way to
 * give out traffic secrets; they go into memory and nowhere else. */
static void keylog(const SSL *ssl, const char *line)
{
    static const char client[] = "CLIENT_TRAFFIC_SECRET_0 ";
    static const char server[] = "SERVER_TRAFFIC_SECRET_0 ";
    struct tp_tls_handshake *handshake = SSL_get_app_data(ssl);
    const char *secret = strrchr(line, ' ');
    if (handshake == NULL || secret == NULL)
        return;
    struct tp_tls_secrets *secrets = &handshake->secrets;
    if (strncmp(line, client, sizeof client - 1) == 0)
        secrets->secret_size = parse_hex(secret + 1, secrets->client, sizeof secrets->client);
    else if (strncmp(line, server, sizeof server - 1) == 0)
        secrets->secret_size = parse_hex(secret + 1, secrets->server, sizeof secrets->server);
}

static bool find_algorithm(const SSL_CIPHER *cipher, enum tp_aead_algorithm *algorithm)
{
    switch (SSL_CIPHER_get_cipher_nid(cipher)) {
    case NID_aes_128_gcm:
        *algorithm = TP_AEAD_AES_128_GCM;
        return true;
    case NID_aes_256_gcm:
        *algorithm = TP_AEAD_AES_256_GCM;
        return true;
    case NID_chacha20_poly1305:
        *algorithm = TP_AEAD_CHACHA20_POLY1305;
        return true;
    default:
        return false;
    }
}

static bool collect_secrets(struct tp_tls_handshake *handshake)
{
    SSL *ssl = handshake->ssl;
    struct tp_tls_secrets *secrets = &handshake->secrets;
    const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);
    const EVP_MD *digest = SSL_CIPHER_get_handshake_digest(cipher);
    if (digest == NULL || !find_algorithm(cipher, &secrets->algorithm))
        return false;
    size_t digest_size = (size_t)EVP_MD_get_size(digest);
    secrets->digest = digest_size == 48 ? "SHA384" : "SHA256";
    secrets->tls13 = SSL_version(ssl) == TLS1_3_VERSION;
    if (secrets->tls13)
        return secrets->secret_size == digest_size;
    return SSL_get_client_random(ssl, secrets->client_random, TP_TLS_RANDOM_SIZE) ==
               TP_TLS_RANDOM_SIZE &&
           SSL_get_server_random(ssl, secrets->server_random, TP_TLS_RANDOM_SIZE) ==
               TP_TLS_RANDOM_SIZE &&
           SSL_SESSION_get_master_key(SSL_get_session(ssl), secrets->master,
                                      sizeof secrets->master) == sizeof secrets->master;
}

static enum tp_status complete(struct tp_tls_handshake *handshake)
{
    const unsigned char *protocol = NULL;
    unsigned size = 0;
    if (!collect_secrets(handshake))
        return fail(handshake, TP_TLS_ERROR_HANDSHAKE, "OpenSSL did not give out its secrets");
    SSL_get0_alpn_selected(handshake->ssl, &protocol, &size);
    /* The list on the wire is length-prefixed, the answer is not. */
    if (size != 0 &&
        (size != ALPN_HTTP_1_1_SIZE - 1 || memcmp(protocol, ALPN_HTTP_1_1 + 1, size) != 0)) {
        handshake->alert_owed = SSL_AD_NO_APPLICATION_PROTOCOL;
        return fail(handshake, TP_TLS_ERROR_HANDSHAKE,
                    "the server chose an application protocol other than http/1.1");
    }
    if (BIO_ctrl_pending(handshake->from_server) != 0 || SSL_has_pending(handshake->ssl) != 0) {
        handshake->alert_owed = SSL_AD_UNEXPECTED_MESSAGE;
        return fail(handshake, TP_TLS_ERROR_UNEXPECTED_MESSAGE,
                    "bytes followed the server's Finished within its record");
    }
    return TP_OK;
}

enum tp_status tp_tls_handshake_input(struct tp_tls_handshake *handshake, struct tp_span *in)
{
    while (in->size > 0) {
        if (handshake->fed > TP_TLS_HANDSHAKE_SIZE_MAX)
            return fail(handshake, TP_TLS_ERROR_FLOOD, "it took more than 1 MiB");
        feed(handshake, in);
        if (handshake->header_size < HEADER_SIZE)
            return TP_NEED_MORE;
        bool record_end = at_record_end(handshake);
        if (record_end) {
            handshake->header_size = 0;
            count_record(handshake);
        }
        ERR_clear_error();
        int result = SSL_do_handshake(handshake->ssl);
        if (result == 1 && record_end)
            return complete(handshake);
        if (result == 1 || SSL_get_error(handshake->ssl, result) != SSL_ERROR_WANT_READ)
            return fail_by_openssl(handshake);
    }
    return TP_NEED_MORE;
}

/* ---- the oracle ---- */

static enum tp_status oracle_fail(struct tp_tls_handshake *handshake)
{
    switch (handshake->alert_sent) {
    case SSL_AD_BAD_RECORD_MAC:
        handshake->error = TP_TLS_ERROR_BAD_RECORD_MAC;
        break;
    case SSL_AD_RECORD_OVERFLOW:
        handshake->error = TP_TLS_ERROR_RECORD_OVERFLOW;
        break;
    case SSL_AD_UNEXPECTED_MESSAGE:
        handshake->error = TP_TLS_ERROR_UNEXPECTED_MESSAGE;
        break;
    default:
        handshake->error =
            handshake->alert_received > 0 ? TP_TLS_ERROR_ALERT_RECEIVED : TP_TLS_ERROR_DECODE;
        break;
    }
    (void)snprintf(handshake->error_text, sizeof handshake->error_text,
                   "OpenSSL's record layer refused a record: %s", openssl_reason());
    ERR_clear_error();
    return TP_ERROR;
}

static enum tp_status oracle_read(struct tp_tls_handshake *handshake, struct tp_buffer *out)
{
    size_t size = 0;
    ERR_clear_error();
    int result = SSL_read_ex(handshake->ssl, out->data + out->tail, tp_buffer_space(out), &size);
    if (result == 1) {
        out->tail += size;
        return TP_OK;
    }
    switch (SSL_get_error(handshake->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return TP_NEED_MORE;
    case SSL_ERROR_ZERO_RETURN:
        return TP_CLOSED;
    default:
        return oracle_fail(handshake);
    }
}

enum tp_status tp_tls_oracle_input(struct tp_tls_handshake *handshake, struct tp_span *in,
                                   struct tp_buffer *out)
{
    enum tp_status status = TP_NEED_MORE;
    /* Each turn takes at least one byte or leaves. */
    while (status == TP_NEED_MORE && in->size > 0) {
        bool body_next = handshake->header_size == HEADER_SIZE;
        if (body_next && handshake->body_left > tp_buffer_space(out))
            return TP_FULL;
        feed(handshake, in);
        if (handshake->header_size < HEADER_SIZE)
            return TP_NEED_MORE;
        if (at_record_end(handshake))
            handshake->header_size = 0;
        if (tp_buffer_space(out) == 0)
            return TP_FULL;
        status = oracle_read(handshake, out);
    }
    return status;
}

size_t tp_tls_oracle_seal(struct tp_tls_handshake *handshake, struct tp_span plaintext,
                          uint8_t *out, size_t capacity)
{
    size_t written = 0;
    ERR_clear_error();
    assert(plaintext.size > 0);
    if (SSL_write_ex(handshake->ssl, plaintext.data, plaintext.size, &written) != 1)
        return 0;
    return tp_tls_handshake_output(handshake, out, capacity);
}
