/* Nothing is allocated between the end of the handshake and the close: not by us (the linker wraps
 * malloc and its kin), not by libcrypto on our behalf (its own allocator is replaced). */
#include <openssl/crypto.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/c/tls/loopback.h"

static unsigned allocations;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
int __real_posix_memalign(void **out, size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
int __wrap_posix_memalign(void **out, size_t alignment, size_t size);

void *__wrap_malloc(size_t size)
{
    allocations++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    allocations++;
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    allocations++;
    return __real_realloc(memory, size);
}

int __wrap_posix_memalign(void **out, size_t alignment, size_t size)
{
    allocations++;
    return __real_posix_memalign(out, alignment, size);
}

static void *crypto_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return __wrap_malloc(size);
}

static void *crypto_realloc(void *memory, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return __wrap_realloc(memory, size);
}

static void crypto_free(void *memory, const char *file, int line)
{
    (void)file;
    (void)line;
    free(memory);
}

#define RECORDS 20
#define RECORD_SIZE 1400
#define SEALED_SIZE (RECORDS * (RECORD_SIZE + 64))

struct stage {
    struct loopback loopback;
    struct tp_tls_context *context;
    struct tp_tls *client;
    struct tp_buffer out;
    uint8_t memory[RECORDS * RECORD_SIZE + 17000];
    uint8_t plaintext[RECORD_SIZE];
    uint8_t sealed[SEALED_SIZE];
    size_t sealed_size;
};

static void set_stage(struct stage *stage, enum tp_tls_record_layer layer, const char *cipher)
{
    memset(stage, 0, sizeof *stage);
    char error[256];
    struct tp_tls_context_config config = {.insecure = true, .record_layer = layer};
    int version = strncmp(cipher, "TLS_", 4) == 0 ? TLS1_3_VERSION : TLS1_2_VERSION;
    stage->out = (struct tp_buffer){stage->memory, sizeof stage->memory, 0, 0};
    stage->context = tp_tls_context_new(&config, error, sizeof error);
    assert_non_null(stage->context);
    stage->client = tp_tls_new(stage->context, "loopback");
    assert_non_null(stage->client);
    loopback_init(&stage->loopback, version, cipher);
    loopback_connect(&stage->loopback, stage->client, &stage->out);
    assert_string_equal(tp_tls_cipher(stage->client), cipher);
    memset(stage->plaintext, 'p', sizeof stage->plaintext);
    for (int i = 0; i < RECORDS; i++)
        stage->sealed_size += loopback_send(&stage->loopback, stage->plaintext, RECORD_SIZE,
                                            stage->sealed + stage->sealed_size,
                                            sizeof stage->sealed - stage->sealed_size);
}

static void strike_stage(struct stage *stage)
{
    tp_tls_free(stage->client);
    tp_tls_context_free(stage->context);
    loopback_deinit(&stage->loopback);
}

static unsigned count_input(struct stage *stage, size_t piece)
{
    allocations = 0;
    for (size_t taken = 0; taken < stage->sealed_size; taken += piece) {
        size_t left = stage->sealed_size - taken;
        struct tp_span in = {stage->sealed + taken, left < piece ? left : piece};
        enum tp_status status = TP_OK;
        while (status == TP_OK && in.size > 0)
            status = tp_tls_input(stage->client, &in, &stage->out);
        assert_true(status == TP_OK || status == TP_NEED_MORE);
    }
    unsigned counted = allocations;
    assert_int_equal(stage->out.tail, RECORDS * RECORD_SIZE);
    return counted;
}

static unsigned count_seal(struct stage *stage)
{
    static uint8_t sealed[RECORDS][RECORD_SIZE + 64];
    static uint8_t opened[RECORD_SIZE];
    size_t sizes[RECORDS];
    struct tp_span data = {stage->plaintext, RECORD_SIZE};
    allocations = 0;
    for (int i = 0; i < RECORDS; i++)
        sizes[i] = tp_tls_seal(stage->client, data, sealed[i], sizeof sealed[i]);
    unsigned counted = allocations;
    for (int i = 0; i < RECORDS; i++) {
        struct tp_span in = {sealed[i], sizes[i]};
        assert_int_equal(loopback_receive(&stage->loopback, in, opened, RECORD_SIZE), RECORD_SIZE);
    }
    return counted;
}

static const char *const CIPHERS[] = {
    "TLS_AES_128_GCM_SHA256",        "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",  "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
};

static void test_connected_input_and_seal_allocate_nothing(void **state)
{
    (void)state;
    static struct stage stage;
    static const enum tp_tls_record_layer layers[] = {TP_TLS_RECORD_AUTO, TP_TLS_RECORD_EVP};
    static const size_t pieces[] = {SEALED_SIZE, 1448, 100};
    for (size_t i = 0; i < 5 * 2 * 3; i++) {
        set_stage(&stage, layers[i / 5 % 2], CIPHERS[i % 5]);
        assert_int_equal(count_input(&stage, pieces[i / 10]), 0);
        assert_int_equal(count_seal(&stage), 0);
        strike_stage(&stage);
    }
}

/* The counters do count. */
static void test_handshake_allocates_and_is_counted(void **state)
{
    (void)state;
    static struct stage stage;
    allocations = 0;
    set_stage(&stage, TP_TLS_RECORD_AUTO, CIPHERS[0]);
    assert_true(allocations > 100);
    strike_stage(&stage);
}

int main(void)
{
    /* Must precede libcrypto's first allocation. */
    if (CRYPTO_set_mem_functions(crypto_malloc, crypto_realloc, crypto_free) != 1)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshake_allocates_and_is_counted),
        cmocka_unit_test(test_connected_input_and_seal_allocate_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
