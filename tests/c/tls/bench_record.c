/* How long does it take to open one TLS 1.3 AES-128-GCM record of 256 B or 1400 B: tp_tls_input
 * (libipsec-mb, libcrypto) beside SSL_read?
 *
 * Contenders open the same sizes in one run, alternating by round; the least of the rounds is told,
 * since everything that disturbs a round only adds to it. Each round opens a batch of records that
 * lie behind each other in memory, as in a burst of frames; SSL_read's are in its BIO beforehand,
 * so that their copy into the BIO is not counted against it. One thread, no I/O, spinning.
 *
 * Usage: bench_tls_record [rounds] */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/c/tls/loopback.h"

#define BATCH 64
#define SIZE_MAX_BENCHED 1400
#define SEALED_MAX (BATCH * (SIZE_MAX_BENCHED + 64))
#define ROUNDS_DEFAULT 2000

struct contender {
    const char *name;
    struct loopback loopback;
    struct tp_tls *client; /* NULL: OpenSSL's */
    SSL *openssl;
    BIO *network; /* the far half of OpenSSL's BIO pair */
};

static uint8_t plaintext[SIZE_MAX_BENCHED];
static uint8_t sealed[SEALED_MAX];
static uint8_t opened[SEALED_MAX + 17000];

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static size_t seal_batch(struct contender *contender, size_t size)
{
    size_t total = 0;
    for (int i = 0; i < BATCH; i++)
        total += loopback_send(&contender->loopback, plaintext, size, sealed + total,
                               sizeof sealed - total);
    return total;
}

static uint64_t open_batch_ours(struct contender *contender, size_t size)
{
    struct tp_span in = {sealed, seal_batch(contender, size)};
    struct tp_buffer out = {opened, sizeof opened, 0, 0};
    uint64_t start = now_ns();
    while (in.size > 0 && tp_tls_input(contender->client, &in, &out) == TP_OK)
        ;
    uint64_t end = now_ns();
    assert(out.tail == BATCH * size);
    return end - start;
}

static uint64_t open_batch_openssl(struct contender *contender, size_t size)
{
    size_t total = seal_batch(contender, size);
    int written = BIO_write(contender->network, sealed, (int)total);
    assert((size_t)written == total);
    size_t taken = 0;
    size_t piece = 0;
    uint64_t start = now_ns();
    while (taken < BATCH * size &&
           SSL_read_ex(contender->openssl, opened + taken, sizeof opened - taken, &piece) == 1)
        taken += piece;
    uint64_t end = now_ns();
    assert(taken == BATCH * size);
    return end - start;
}

static void start_ours(struct contender *contender, enum tp_tls_record_layer layer)
{
    char error[256] = "";
    struct tp_tls_context_config config = {.insecure = true, .record_layer = layer};
    struct tp_tls_context *context = tp_tls_context_new(&config, error, sizeof error);
    if (context == NULL) {
        fprintf(stderr, "%s\n", error);
        exit(1);
    }
    contender->client = tp_tls_new(context, "loopback");
    struct tp_buffer out = {opened, sizeof opened, 0, 0};
    loopback_init(&contender->loopback, TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256");
    loopback_connect(&contender->loopback, contender->client, &out);
    contender->name = tp_tls_record_layer_name(contender->client);
}

static void start_openssl(struct contender *contender)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    contender->openssl = SSL_new(context);
    BIO *near = NULL;
    int paired = BIO_new_bio_pair(&near, SEALED_MAX, &contender->network, SEALED_MAX);
    assert(paired == 1);
    SSL_set_bio(contender->openssl, near, near);
    SSL_set_connect_state(contender->openssl);
    loopback_init(&contender->loopback, TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256");
    loopback_connect_openssl(&contender->loopback, contender->openssl, contender->network);
    contender->name = "SSL_read";
}

int main(int argc, char **argv)
{
    static struct contender contenders[3];
    static const size_t sizes[] = {256, 1400};
    int rounds = argc > 1 ? atoi(argv[1]) : ROUNDS_DEFAULT;
    start_ours(&contenders[0], TP_TLS_RECORD_IPSEC_MB);
    start_ours(&contenders[1], TP_TLS_RECORD_EVP);
    start_openssl(&contenders[2]);
    printf("%s, TLS 1.3 AES-128-GCM, batches of %d records, least of %d rounds\n",
           OpenSSL_version(OPENSSL_VERSION), BATCH, rounds);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint64_t least[3] = {UINT64_MAX, UINT64_MAX, UINT64_MAX};
        for (int round = 0; round < rounds; round++) {
            for (int c = 0; c < 3; c++) {
                uint64_t took = contenders[c].client != NULL
                                    ? open_batch_ours(&contenders[c], sizes[i])
                                    : open_batch_openssl(&contenders[c], sizes[i]);
                least[c] = took < least[c] ? took : least[c];
            }
        }
        for (int c = 0; c < 3; c++)
            printf("%5zu B  %-12s %7.1f ns a record  %5.2fx SSL_read\n", sizes[i],
                   contenders[c].name, (double)least[c] / BATCH,
                   (double)least[2] / (double)least[c]);
    }
    return 0;
}
