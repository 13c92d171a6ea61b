#include "token_cache.h"

#include "grants.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NOW 1000000

struct fixture {
    struct token_cache *cache;
    struct principal *principal; /* the test's own reference */
};

static struct principal *principal_new(int64_t not_before_s, int64_t expires_s)
{
    struct principal *principal = calloc(1, sizeof *principal);
    assert_non_null(principal);
    principal->references = 1;
    principal->not_before_s = not_before_s;
    principal->expires_s = expires_s;
    return principal;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_int_equal(token_cache_new(&f->cache), 0);
    f->principal = principal_new(INT64_MIN, NOW + 1000);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    token_cache_free(f->cache);
    assert_int_equal(f->principal->references, 1);
    principal_unref(f->principal);
    free(f);
    return 0;
}

/* A token of its own for each number. */
static const char *token_of(unsigned n)
{
    static char text[32];
    snprintf(text, sizeof text, "header.payload%u.signature", n);
    return text;
}

static void put(struct fixture *f, unsigned n)
{
    token_cache_put(f->cache, token_of(n), strlen(token_of(n)), 1, f->principal);
}

static bool has(struct fixture *f, unsigned n)
{
    const struct principal *found = token_cache_find(f->cache, token_of(n), strlen(token_of(n)), 1, NOW);
    if (found != NULL)
        assert_ptr_equal(found, f->principal);
    return found != NULL;
}

static void a_token_is_found_by_all_of_its_text(void **state)
{
    struct fixture *f = *state;
    char longer[64];

    assert_false(has(f, 1));
    put(f, 1);
    assert_int_equal(f->principal->references, 2);
    assert_true(has(f, 1));
    assert_true(has(f, 1));
    assert_int_equal(f->principal->references, 2);
    assert_false(has(f, 2));
    snprintf(longer, sizeof longer, "%sx", token_of(1));
    assert_null(token_cache_find(f->cache, longer, strlen(longer), 1, NOW));
    assert_null(token_cache_find(f->cache, longer, strlen(longer) - 2, 1, NOW));
    assert_null(token_cache_find(f->cache, "", 0, 1, NOW));
    assert_non_null(token_cache_find(f->cache, longer, strlen(longer) - 1, 1, NOW));
}

static void a_token_put_twice_is_one(void **state)
{
    struct fixture *f = *state;
    struct principal *other = principal_new(INT64_MIN, NOW + 1000);

    put(f, 1);
    put(f, 1);
    assert_int_equal(f->principal->references, 2);
    token_cache_put(f->cache, token_of(1), strlen(token_of(1)), 1, other);
    assert_int_equal(f->principal->references, 1);
    assert_ptr_equal(token_cache_find(f->cache, token_of(1), strlen(token_of(1)), 1, NOW), other);
    principal_unref(other);
}

static void a_token_is_gone_outside_its_time(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *name;
        int64_t not_before_s, expires_s;
        bool good;
    } cases[] = {
        {"a second before it ends", INT64_MIN, NOW - TOKEN_SKEW_S + 1, true},
        {"at its end", INT64_MIN, NOW - TOKEN_SKEW_S, false},
        {"as soon as it begins", NOW + TOKEN_SKEW_S, NOW + 1000, true},
        {"a second before it begins", NOW + TOKEN_SKEW_S + 1, NOW + 1000, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct principal *principal = principal_new(cases[i].not_before_s, cases[i].expires_s);
        const char *token = cases[i].name;
        token_cache_put(f->cache, token, strlen(token), 1, principal);
        bool found = token_cache_find(f->cache, token, strlen(token), 1, NOW) == principal;
        if (found != cases[i].good)
            fail_msg("%s", cases[i].name);
        assert_int_equal(principal->references, cases[i].good ? 2 : 1);
        principal_unref(principal);
    }
}

static void other_keys_forget_every_token(void **state)
{
    struct fixture *f = *state;
    const char *token = "a.b.c";

    for (unsigned n = 0; n < 100; n++)
        put(f, n);
    assert_null(token_cache_find(f->cache, token, strlen(token), 2, NOW));
    assert_int_equal(f->principal->references, 1);
    token_cache_put(f->cache, token, strlen(token), 2, f->principal);
    assert_non_null(token_cache_find(f->cache, token, strlen(token), 2, NOW));
    token_cache_put(f->cache, "other", 5, 3, f->principal); /* the keys changed between find and put */
    assert_null(token_cache_find(f->cache, token, strlen(token), 3, NOW));
    assert_non_null(token_cache_find(f->cache, "other", 5, 3, NOW));
}

static void the_one_unused_for_longest_gives_way(void **state)
{
    struct fixture *f = *state;

    for (unsigned n = 0; n < TOKEN_CACHE_MAX; n++)
        put(f, n);
    assert_true(has(f, 0));
    assert_true(has(f, TOKEN_CACHE_MAX / 2));
    put(f, TOKEN_CACHE_MAX);
    put(f, TOKEN_CACHE_MAX + 1);
    assert_int_equal(f->principal->references, TOKEN_CACHE_MAX + 1);
    for (unsigned n = 0; n < TOKEN_CACHE_MAX + 2; n++)
        assert_int_equal(has(f, n), n != 1 && n != 2);
}

static void it_holds_its_bound_whatever_comes(void **state)
{
    struct fixture *f = *state;

    for (unsigned n = 0; n < 10 * TOKEN_CACHE_MAX; n++) {
        put(f, n * 7919 % (3 * TOKEN_CACHE_MAX));
        has(f, n);
    }
    assert_in_range(f->principal->references, 2, TOKEN_CACHE_MAX + 1);
}

static void tokens_with_grants_are_bounded_by_their_size(void **state)
{
    struct fixture *f = *state;
    const unsigned room = (2u << 20) / TOKEN_MAX;
    char *token = malloc(TOKEN_MAX + 1);
    json_t *claim = json_pack("[s]", "d1");

    assert_non_null(token);
    memset(token, 'x', TOKEN_MAX + 1);
    put(f, 0); /* without grants: it is the oldest */
    struct principal *limited = principal_new(INT64_MIN, NOW + 1000);
    assert_int_equal(grants_new(claim, &limited->grants), 0);
    for (unsigned n = 0; n < 2 * room; n++) {
        memcpy(token, &n, sizeof n);
        token_cache_put(f->cache, token, TOKEN_MAX, 1, limited);
        assert_int_equal(limited->references, (n < room ? n : room - 1) + 2);
        assert_non_null(token_cache_find(f->cache, token, TOKEN_MAX, 1, NOW));
    }
    for (unsigned n = 1; n <= TOKEN_CACHE_MAX; n++)
        put(f, n); /* those without grants do not count, and push the others out */
    assert_int_equal(limited->references, 1);
    assert_int_equal(f->principal->references, TOKEN_CACHE_MAX + 1);
    token_cache_put(f->cache, token, TOKEN_MAX + 1, 1, limited);
    assert_null(token_cache_find(f->cache, token, TOKEN_MAX + 1, 1, NOW));
    principal_unref(limited);
    json_decref(claim);
    free(token);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_token_is_found_by_all_of_its_text, setup, teardown),
        cmocka_unit_test_setup_teardown(a_token_put_twice_is_one, setup, teardown),
        cmocka_unit_test_setup_teardown(a_token_is_gone_outside_its_time, setup, teardown),
        cmocka_unit_test_setup_teardown(other_keys_forget_every_token, setup, teardown),
        cmocka_unit_test_setup_teardown(the_one_unused_for_longest_gives_way, setup, teardown),
        cmocka_unit_test_setup_teardown(it_holds_its_bound_whatever_comes, setup, teardown),
        cmocka_unit_test_setup_teardown(tokens_with_grants_are_bounded_by_their_size, setup, teardown),
    };
    return cmocka_run_group_tests_name("token_cache", tests, NULL, NULL);
}
