/* Which library does the ciphers: start libipsec-mb and prove it before trusting it.
 *
 * Called by tls.c when a context is made. Vectors: McGrew and Viega, "The Galois/Counter Mode of
 * Operation", test cases 4 and 16 (the ones NIST adopted); RFC 8439 2.8.2. */
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "netstack/tls/aead.h"

struct vector {
    enum tp_aead_algorithm algorithm;
    const char *key;
    const char *nonce;
    const char *aad;
    const char *plaintext;
    const char *sealed; /* ciphertext, then tag */
};

#define GCM_PLAINTEXT                                                                              \
    "\xd9\x31\x32\x25\xf8\x84\x06\xe5\xa5\x59\x09\xc5\xaf\xf5\x26\x9a"                             \
    "\x86\xa7\xa9\x53\x15\x34\xf7\xda\x2e\x4c\x30\x3d\x8a\x31\x8a\x72"                             \
    "\x1c\x3c\x0c\x95\x95\x68\x09\x53\x2f\xcf\x0e\x24\x49\xa6\xb5\x25"                             \
    "\xb1\x6a\xed\xf5\xaa\x0d\xe6\x57\xba\x63\x7b\x39"
#define GCM_AAD "\xfe\xed\xfa\xce\xde\xad\xbe\xef\xfe\xed\xfa\xce\xde\xad\xbe\xef\xab\xad\xda\xd2"
#define GCM_NONCE "\xca\xfe\xba\xbe\xfa\xce\xdb\xad\xde\xca\xf8\x88"
#define GCM_KEY "\xfe\xff\xe9\x92\x86\x65\x73\x1c\x6d\x6a\x8f\x94\x67\x30\x83\x08"

/* Sizes stand beside the strings because the bytes contain zeros. */
#define VECTOR_SIZE_MAX 160
static const struct {
    struct vector vector;
    size_t aad_size;
    size_t plaintext_size;
} VECTORS[] = {
    {{TP_AEAD_AES_128_GCM, GCM_KEY, GCM_NONCE, GCM_AAD, GCM_PLAINTEXT,
      "\x42\x83\x1e\xc2\x21\x77\x74\x24\x4b\x72\x21\xb7\x84\xd0\xd4\x9c"
      "\xe3\xaa\x21\x2f\x2c\x02\xa4\xe0\x35\xc1\x7e\x23\x29\xac\xa1\x2e"
      "\x21\xd5\x14\xb2\x54\x66\x93\x1c\x7d\x8f\x6a\x5a\xac\x84\xaa\x05"
      "\x1b\xa3\x0b\x39\x6a\x0a\xac\x97\x3d\x58\xe0\x91"
      "\x5b\xc9\x4f\xbc\x32\x21\xa5\xdb\x94\xfa\xe9\x5a\xe7\x12\x1a\x47"},
     20,
     60},
    {{TP_AEAD_AES_256_GCM, GCM_KEY GCM_KEY, GCM_NONCE, GCM_AAD, GCM_PLAINTEXT,
      "\x52\x2d\xc1\xf0\x99\x56\x7d\x07\xf4\x7f\x37\xa3\x2a\x84\x42\x7d"
      "\x64\x3a\x8c\xdc\xbf\xe5\xc0\xc9\x75\x98\xa2\xbd\x25\x55\xd1\xaa"
      "\x8c\xb0\x8e\x48\x59\x0d\xbb\x3d\xa7\xb0\x8b\x10\x56\x82\x88\x38"
      "\xc5\xf6\x1e\x63\x93\xba\x7a\x0a\xbc\xc9\xf6\x62"
      "\x76\xfc\x6e\xce\x0f\x4e\x17\x68\xcd\xdf\x88\x53\xbb\x2d\x55\x1b"},
     20,
     60},
    {{TP_AEAD_CHACHA20_POLY1305,
      "\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f"
      "\x90\x91\x92\x93\x94\x95\x96\x97\x98\x99\x9a\x9b\x9c\x9d\x9e\x9f",
      "\x07\x00\x00\x00\x40\x41\x42\x43\x44\x45\x46\x47",
      "\x50\x51\x52\x53\xc0\xc1\xc2\xc3\xc4\xc5\xc6\xc7",
      "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
      "sunscreen would be it.",
      "\xd3\x1a\x8d\x34\x64\x8e\x60\xdb\x7b\x86\xaf\xbc\x53\xef\x7e\xc2"
      "\xa4\xad\xed\x51\x29\x6e\x08\xfe\xa9\xe2\xb5\xa7\x36\xee\x62\xd6"
      "\x3d\xbe\xa4\x5e\x8c\xa9\x67\x12\x82\xfa\xfb\x69\xda\x92\x72\x8b"
      "\x1a\x71\xde\x0a\x9e\x06\x0b\x29\x05\xd6\xa5\xb6\x7e\xcd\x3b\x36"
      "\x92\xdd\xbd\x7f\x2d\x77\x8b\x8c\x98\x03\xae\xe3\x28\x09\x1b\x58"
      "\xfa\xb3\x24\xe4\xfa\xd6\x75\x94\x55\x85\x80\x8b\x48\x31\xd7\xbc"
      "\x3f\xf4\xde\xf0\x8e\x4b\x7a\x9d\xe5\x76\xd2\x65\x86\xce\xc6\x4b"
      "\x61\x16\x1a\xe1\x0b\x59\x4f\x09\xe2\x6a\x7e\x90\x2e\xcb\xd0\x60\x06\x91"},
     12,
     114},
};

static bool open_in_two(struct tp_aead *aead, const struct vector *vector, struct tp_span aad,
                        size_t size, size_t split)
{
    uint8_t out[VECTOR_SIZE_MAX];
    const uint8_t *sealed = (const uint8_t *)vector->sealed;
    tp_aead_open_begin(aead, (const uint8_t *)vector->nonce, aad);
    tp_aead_open_update(aead, (struct tp_span){sealed, split}, out);
    tp_aead_open_update(aead, (struct tp_span){sealed + split, size - split}, out + split);
    return tp_aead_open_finish(aead, sealed + size) && memcmp(out, vector->plaintext, size) == 0;
}

static bool opens(struct tp_aead *aead, const struct vector *vector, struct tp_span aad,
                  size_t size)
{
    uint8_t out[VECTOR_SIZE_MAX];
    uint8_t sealed[VECTOR_SIZE_MAX];
    const uint8_t *nonce = (const uint8_t *)vector->nonce;
    struct tp_span whole = {sealed, size + TP_AEAD_TAG_SIZE};
    memcpy(sealed, vector->sealed, whole.size);
    if (!tp_aead_open(aead, nonce, aad, whole, out) || memcmp(out, vector->plaintext, size) != 0)
        return false;
    for (size_t split = 0; split <= size; split++)
        if (!open_in_two(aead, vector, aad, size, split))
            return false;
    sealed[whole.size - 1] ^= 1U; /* a library that accepts everything must not pass */
    return !tp_aead_open(aead, nonce, aad, whole, out);
}

static bool seals(struct tp_aead *aead, const struct vector *vector, struct tp_span aad,
                  size_t size)
{
    uint8_t out[VECTOR_SIZE_MAX];
    struct tp_span plaintext = {(const uint8_t *)vector->plaintext, size};
    return tp_aead_seal(aead, (const uint8_t *)vector->nonce, aad, plaintext, out) &&
           memcmp(out, vector->sealed, size + TP_AEAD_TAG_SIZE) == 0;
}

bool tp_aead_self_test(const struct tp_aead_library *library)
{
    void *memory = NULL;
    bool ok = posix_memalign(&memory, 64, sizeof(struct tp_aead)) == 0;
    struct tp_aead *aead = memory;
    for (size_t i = 0; ok && i < sizeof VECTORS / sizeof VECTORS[0]; i++) {
        const struct vector *vector = &VECTORS[i].vector;
        const uint8_t *key = (const uint8_t *)vector->key;
        struct tp_span aad = {(const uint8_t *)vector->aad, VECTORS[i].aad_size};
        size_t size = VECTORS[i].plaintext_size;
        ok = tp_aead_init(aead, library, vector->algorithm, key, false) &&
             opens(aead, vector, aad, size);
        tp_aead_deinit(aead);
        ok = ok && tp_aead_init(aead, library, vector->algorithm, key, true) &&
             seals(aead, vector, aad, size);
        if (ok)
            tp_aead_deinit(aead);
    }
    free(memory);
    return ok;
}

#ifdef TP_HAVE_IPSEC_MB
bool tp_aead_library_open_ipsec_mb(struct tp_aead_library *library, const char **reason)
{
    library->ipsec_mb = alloc_mb_mgr(0);
    if (library->ipsec_mb == NULL) {
        *reason = "libipsec-mb could not be started: out of memory";
        return false;
    }
    if ((library->ipsec_mb->features & IMB_FEATURE_AESNI) == 0) {
        *reason = "this CPU has no AES instructions, which libipsec-mb needs";
        tp_aead_library_close(library);
        return false;
    }
    /* It believes CPUID alone; a kernel that was booted with noxsave lets nobody use AVX. */
    if ((library->ipsec_mb->features & IMB_FEATURE_AVX) != 0 && !__builtin_cpu_supports("avx")) {
        *reason = "this kernel keeps programs from AVX (noxsave), which libipsec-mb would use";
        tp_aead_library_close(library);
        return false;
    }
    init_mb_mgr_auto(library->ipsec_mb, NULL);
    if (imb_get_errno(library->ipsec_mb) != 0 || !tp_aead_self_test(library)) {
        *reason = "libipsec-mb failed its self-test against the published GCM and RFC 8439 vectors";
        tp_aead_library_close(library);
        return false;
    }
    return true;
}

void tp_aead_library_close(struct tp_aead_library *library)
{
    if (library->ipsec_mb != NULL)
        free_mb_mgr(library->ipsec_mb);
    library->ipsec_mb = NULL;
}
#else
bool tp_aead_library_open_ipsec_mb(struct tp_aead_library *library, const char **reason)
{
    library->ipsec_mb = NULL;
    *reason = "this build has no libipsec-mb (x86-64 with libipsec-mb-dev installed has)";
    return false;
}

void tp_aead_library_close(struct tp_aead_library *library)
{
    library->ipsec_mb = NULL;
}
#endif

const char *tp_aead_library_name(const struct tp_aead_library *library)
{
    return library->ipsec_mb != NULL ? "libipsec-mb" : "libcrypto";
}
