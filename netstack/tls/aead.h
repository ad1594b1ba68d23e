/* One AEAD key in one direction, behind one small interface: libipsec-mb where this CPU runs it
 * (42 ns for a 256 B record), libcrypto's EVP elsewhere (about 200 ns). No cipher of our own.
 *
 * A whole record is opened in one call; a record that straddles frames is opened piece by piece
 * (begin, update..., finish), each piece straight from its frame. The caller must not let anyone
 * see what update wrote before finish said true.
 *
 * Called by record.c, one thread. Source: RFC 5116, NIST SP 800-38D, RFC 8439. */
#ifndef TP_NETSTACK_TLS_AEAD_H
#define TP_NETSTACK_TLS_AEAD_H
#include <openssl/evp.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "netstack/span.h"

#ifdef TP_HAVE_IPSEC_MB
#define NO_COMPAT_IMB_API_053 /* its old names collide with OpenSSL's */
#include <intel-ipsec-mb.h>
#endif

#define TP_AEAD_NONCE_SIZE 12
#define TP_AEAD_TAG_SIZE 16
#define TP_AEAD_KEY_SIZE_MAX 32

enum tp_aead_algorithm {
    TP_AEAD_AES_128_GCM,
    TP_AEAD_AES_256_GCM,
    TP_AEAD_CHACHA20_POLY1305,
};

/* Where the ciphers come from. ipsec_mb is NULL when libcrypto does the work. */
struct tp_aead_library {
    struct IMB_MGR *ipsec_mb;
};

struct tp_aead {
    enum tp_aead_algorithm algorithm;
    bool failed;         /* libcrypto refused a step of the record in progress */
    EVP_CIPHER_CTX *evp; /* NULL with libipsec-mb */
#ifdef TP_HAVE_IPSEC_MB
    const struct IMB_MGR *ipsec_mb;
    /* The vector loads of libipsec-mb want its tables on a cache line; its own header asks for
     * that only where a macro is set that this library's package does not set. */
    alignas(64) struct gcm_key_data gcm_key;
    alignas(64) struct gcm_context_data gcm_context;
    struct chacha20_poly1305_context_data chacha_context;
    uint8_t chacha_key[32];
#endif
};

size_t tp_aead_key_size(enum tp_aead_algorithm algorithm);

/* Starts libipsec-mb and proves it against published vectors. False where it was not built in, the
 * CPU lacks AES instructions, or a vector came out wrong; *reason then says which. */
bool tp_aead_library_open_ipsec_mb(struct tp_aead_library *library, const char **reason);
void tp_aead_library_close(struct tp_aead_library *library);
const char *tp_aead_library_name(const struct tp_aead_library *library);
/* True if every algorithm of this library reproduces its vector, whole and in pieces. */
bool tp_aead_self_test(const struct tp_aead_library *library);

/* seals: the direction, since EVP schedules keys per direction. aead must be 64-byte aligned and
 * outlived by library. False when libcrypto cannot supply the cipher. Allocates. */
bool tp_aead_init(struct tp_aead *aead, const struct tp_aead_library *library,
                  enum tp_aead_algorithm algorithm, const uint8_t *key, bool seals);
/* A new key for the same algorithm and direction. Allocates nothing. */
bool tp_aead_rekey(struct tp_aead *aead, const uint8_t *key);
/* Wipes the key. */
void tp_aead_deinit(struct tp_aead *aead);

/* Writes plaintext.size + TP_AEAD_TAG_SIZE bytes at out, which may be plaintext.data itself. */
bool tp_aead_seal(struct tp_aead *aead, const uint8_t nonce[TP_AEAD_NONCE_SIZE], struct tp_span aad,
                  struct tp_span plaintext, uint8_t *out);

/* sealed ends with the tag. True if the tag is right; out then holds sealed.size -
 * TP_AEAD_TAG_SIZE bytes. When false, out holds bytes that must not be used. */
bool tp_aead_open(struct tp_aead *aead, const uint8_t nonce[TP_AEAD_NONCE_SIZE], struct tp_span aad,
                  struct tp_span sealed, uint8_t *out);

void tp_aead_open_begin(struct tp_aead *aead, const uint8_t nonce[TP_AEAD_NONCE_SIZE],
                        struct tp_span aad);
void tp_aead_open_update(struct tp_aead *aead, struct tp_span piece, uint8_t *out);
bool tp_aead_open_finish(struct tp_aead *aead, const uint8_t tag[TP_AEAD_TAG_SIZE]);
#endif
