/* See loopback.h. */
#include "tests/c/tls/loopback.h"

#include <assert.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <string.h>

static X509 *make_certificate(EVP_PKEY *key)
{
    X509 *certificate = X509_new();
    X509_NAME *name = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"loopback", -1, -1,
                               0);
    X509_set_issuer_name(certificate, name);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    int size = X509_sign(certificate, key, EVP_sha256());
    assert(size > 0);
    return certificate;
}

void loopback_init(struct loopback *loopback, int version, const char *cipher)
{
    loopback->context = SSL_CTX_new(TLS_server_method());
    assert(loopback->context != NULL);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = make_certificate(key);
    SSL_CTX_use_certificate(loopback->context, certificate);
    SSL_CTX_use_PrivateKey(loopback->context, key);
    SSL_CTX_set_min_proto_version(loopback->context, version);
    SSL_CTX_set_max_proto_version(loopback->context, version);
    int set = version == TLS1_3_VERSION ? SSL_CTX_set_ciphersuites(loopback->context, cipher)
                                        : SSL_CTX_set_cipher_list(loopback->context, cipher);
    assert(set == 1);
    X509_free(certificate);
    EVP_PKEY_free(key);
    loopback->server = SSL_new(loopback->context);
    loopback->to_server = BIO_new(BIO_s_mem());
    loopback->to_client = BIO_new(BIO_s_mem());
    SSL_set_bio(loopback->server, loopback->to_server, loopback->to_client);
    SSL_set_accept_state(loopback->server);
}

void loopback_deinit(struct loopback *loopback)
{
    SSL_free(loopback->server);
    SSL_CTX_free(loopback->context);
}

static void shake(struct loopback *loopback)
{
    int result = SSL_do_handshake(loopback->server);
    assert(result == 1 || SSL_get_error(loopback->server, result) == SSL_ERROR_WANT_READ);
}

void loopback_connect(struct loopback *loopback, struct tp_tls *client, struct tp_buffer *out)
{
    static uint8_t flight[16384];
    for (int turn = 0; turn < 3; turn++) {
        size_t size = tp_tls_output(client, flight, sizeof flight);
        BIO_write(loopback->to_server, flight, (int)size);
        shake(loopback);
        int answer = BIO_read(loopback->to_client, flight, sizeof flight);
        struct tp_span in = {flight, answer > 0 ? (size_t)answer : 0};
        while (in.size > 0) {
            enum tp_status status = tp_tls_input(client, &in, out);
            assert(status == TP_OK || status == TP_NEED_MORE);
        }
    }
    assert(tp_tls_connected(client) && SSL_is_init_finished(loopback->server));
}

void loopback_connect_openssl(struct loopback *loopback, SSL *client, BIO *network)
{
    static uint8_t flight[16384];
    for (int turn = 0; turn < 3; turn++) {
        int result = SSL_do_handshake(client);
        assert(result == 1 || SSL_get_error(client, result) == SSL_ERROR_WANT_READ);
        int size = BIO_read(network, flight, sizeof flight);
        if (size > 0)
            BIO_write(loopback->to_server, flight, size);
        shake(loopback);
        size = BIO_read(loopback->to_client, flight, sizeof flight);
        if (size > 0)
            BIO_write(network, flight, size);
    }
    assert(SSL_is_init_finished(client) && SSL_is_init_finished(loopback->server));
}

size_t loopback_send(struct loopback *loopback, const uint8_t *data, size_t size, uint8_t *out,
                     size_t capacity)
{
    size_t written = 0;
    int ok = SSL_write_ex(loopback->server, data, size, &written);
    assert(ok == 1 && written == size);
    int sealed = BIO_read(loopback->to_client, out, (int)capacity);
    assert(sealed > 0);
    return (size_t)sealed;
}

size_t loopback_receive(struct loopback *loopback, struct tp_span sealed, uint8_t *out,
                        size_t capacity)
{
    size_t size = 0;
    BIO_write(loopback->to_server, sealed.data, (int)sealed.size);
    size_t total = 0;
    while (total < capacity &&
           SSL_read_ex(loopback->server, out + total, capacity - total, &size) == 1)
        total += size;
    return total;
}
