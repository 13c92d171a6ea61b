#include "siphash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>

#define LONGEST 80

/* Key 00 01 .. 0f as in the reference code's vectors. */
static const struct siphash_key key = {{0x0706050403020100, 0x0f0e0d0c0b0a0908}};

static void test_the_reference_vectors(void **state)
{
    static const struct {
        size_t len; /* of 00 01 02 .. */
        uint64_t digest[2];
    } vectors[] = {
        {0, {0xe6a825ba047f81a3, 0x930255c71472f66d}},
        {1, {0x44af996bd8c187da, 0x45fc229b11597634}},
    };
    static const unsigned char bytes[] = {0};

    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        uint64_t digest[2];
        siphash(&key, bytes, vectors[i].len, digest);
        assert_memory_equal(digest, vectors[i].digest, sizeof digest);
    }
}

static void test_openssl_agrees_at_every_length(void **state)
{
    unsigned char key_bytes[16], bytes[LONGEST], expect[16];
    size_t size = sizeof expect, expect_len;
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "SIPHASH", NULL);
    EVP_MAC_CTX *context = EVP_MAC_CTX_new(mac);
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
                                 OSSL_PARAM_construct_end()};

    assert_non_null(context);
    for (unsigned i = 0; i < sizeof key_bytes; i++)
        key_bytes[i] = (unsigned char)i;
    for (unsigned i = 0; i < LONGEST; i++)
        bytes[i] = (unsigned char)(i * 37 + 200);
    for (size_t len = 0; len <= LONGEST; len++) {
        uint64_t digest[2];
        unsigned char got[16];
        assert_int_equal(EVP_MAC_init(context, key_bytes, sizeof key_bytes, params), 1);
        assert_int_equal(EVP_MAC_update(context, bytes, len), 1);
        assert_int_equal(EVP_MAC_final(context, expect, &expect_len, sizeof expect), 1);
        siphash(&key, bytes, len, digest);
        for (unsigned i = 0; i < sizeof got; i++)
            got[i] = (unsigned char)(digest[i / 8] >> (i % 8 * 8));
        assert_memory_equal(got, expect, sizeof got);
    }
    EVP_MAC_CTX_free(context);
    EVP_MAC_free(mac);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_reference_vectors),
        cmocka_unit_test(test_openssl_agrees_at_every_length),
    };
    return cmocka_run_group_tests_name("siphash", tests, NULL, NULL);
}
