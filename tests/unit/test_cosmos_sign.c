#include "base64.h"
#include "cosmos_sign.h"

#include "connection_string.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define DOCS_KEY "dsZQi3KtZmCv1ljt3VNWNm7sQUF1y5rJfC6kv5JiwvW0EndXdDku/dkKBp8/ufDToSxLzR4y+O/0H/t4bQtVNw=="
#define EMULATOR_KEY                                                                                         \
    "C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw=="
#define DATE_S 1493254272 /* Thu, 27 Apr 2017 00:51:12 GMT */

static struct cosmos_signer *signer(const char *key)
{
    unsigned char bytes[UPSTREAM_KEY_MAX];
    long len = base64_decode(key, strlen(key), bytes, sizeof bytes);
    struct cosmos_signer *s = NULL;
    assert_true(len > 0);
    assert_int_equal(cosmos_signer_new(bytes, (size_t)len, &s), 0);
    return s;
}

/* The base64 text inside an authorization header. */
static const char *signature_of(const struct cosmos_signature *signature, char out[64])
{
    static const char prefix[] = "type%3Dmaster%26ver%3D1.0%26sig%3D";
    static const struct {
        const char *escape;
        char c;
    } escapes[] = {{"%2B", '+'}, {"%2F", '/'}, {"%3D", '='}};
    const char *in = signature->authorization;
    size_t n = 0;
    assert_memory_equal(in, prefix, sizeof prefix - 1);
    for (in += sizeof prefix - 1; *in != '\0' && n < 63;) {
        char c = *in;
        for (size_t i = 0; i < COUNT(escapes); i++)
            if (strncmp(in, escapes[i].escape, 3) == 0)
                c = escapes[i].c;
        in += c == *in ? 1 : 3;
        out[n++] = c;
    }
    out[n] = '\0';
    return out;
}

/* azure-protocols 1.2 */
static void test_vectors(void **state)
{
    static const struct {
        const char *rule, *key, *verb, *type, *link, *expect;
    } cases[] = {
        {"Microsoft's own", DOCS_KEY, "GET", "dbs", "dbs/ToDoList",
         "c09PEVJrgp2uQRkr934kFbTqhByc7TVr3OHyqlu+c+c="},
        {"the account", EMULATOR_KEY, "GET", "", "", "gFB1bRB/PLJTG3bCgMuoVgNzOyFvZAamzEtLuSITjRc="},
        {"a query", EMULATOR_KEY, "POST", "docs", "dbs/db/colls/tel",
         "Bu+cGyzpfIJMJKU/3+324X7SjoLDkiRu0aA6YfQwxt0="},
        {"ranges", EMULATOR_KEY, "GET", "pkranges", "dbs/db/colls/tel",
         "3bVjQm4nULaMTxlZgUwmCKf2NCR+WcrJDY9ktZhDcGs="},
        {"raw UTF-8 in a name", EMULATOR_KEY, "GET", "docs", "dbs/db/colls/tel/docs/m 1\xc3\xa9",
         "4pp93/FDgD8G849BlxpaLRSz5GEtN7Jcu0Sq/Sf4C7c="},
        {"patch", EMULATOR_KEY, "PATCH", "docs", "dbs/db/colls/tel/docs/m1",
         "/roFoOqY/nsYzfLyiAiq2FgAHUw+ZyNQk2OYwgOj7Ys="},
    };
    char text[64];
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct cosmos_signer *s = signer(cases[i].key);
        const struct cosmos_signature *signature =
            cosmos_sign(s, cases[i].verb, cases[i].type, cases[i].link, DATE_S);
        assert_non_null(signature);
        assert_string_equal(signature->date, "Thu, 27 Apr 2017 00:51:12 GMT");
        if (strcmp(signature_of(signature, text), cases[i].expect) != 0)
            fail_msg("%s: %s", cases[i].rule, signature->authorization);
        cosmos_signer_free(s);
    }
}

static void test_whole_header(void **state)
{
    struct cosmos_signer *s = signer(EMULATOR_KEY);
    assert_string_equal(
        cosmos_sign(s, "POST", "docs", "dbs/db/colls/tel", DATE_S)->authorization,
        "type%3Dmaster%26ver%3D1.0%26sig%3DBu%2BcGyzpfIJMJKU%2F3%2B324X7SjoLDkiRu0aA6YfQwxt0%3D");
    cosmos_signer_free(s);
}

/* Within its second a signature is the very same; in the next one it is not, whatever else was signed
 * between. */
static void test_kept_for_the_second(void **state)
{
    struct cosmos_signer *s = signer(EMULATOR_KEY);
    const struct cosmos_signature *first = cosmos_sign(s, "POST", "docs", "dbs/db/colls/tel", DATE_S);
    struct cosmos_signature copy = *first;

    cosmos_sign(s, "GET", "colls", "dbs/db/colls/tel", DATE_S + 1);
    cosmos_sign(s, "GET", "", "", DATE_S);
    const struct cosmos_signature *again = cosmos_sign(s, "POST", "docs", "dbs/db/colls/tel", DATE_S);
    assert_ptr_equal(again, first);
    assert_string_equal(again->authorization, copy.authorization);

    const struct cosmos_signature *later = cosmos_sign(s, "POST", "docs", "dbs/db/colls/tel", DATE_S + 1);
    assert_string_equal(later->date, "Thu, 27 Apr 2017 00:51:13 GMT");
    assert_string_not_equal(later->authorization, copy.authorization);

    const struct cosmos_signature *back = cosmos_sign(s, "POST", "docs", "dbs/db/colls/tel", DATE_S);
    assert_string_equal(back->authorization, copy.authorization);
    cosmos_signer_free(s);
}

/* More kinds than are kept, and names too long to be kept, are signed right all the same. */
static void test_more_kinds_than_kept(void **state)
{
    struct cosmos_signer *s = signer(EMULATOR_KEY), *fresh;
    char link[1200], expect[COSMOS_AUTHORIZATION_SIZE];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 24; i++) {
            snprintf(link, sizeof link, "dbs/db/colls/%0*d", i == 5 ? 1000 : 1, i);
            fresh = signer(EMULATOR_KEY);
            memcpy(expect, cosmos_sign(fresh, "GET", "docs", link, DATE_S)->authorization, sizeof expect);
            cosmos_signer_free(fresh);
            assert_string_equal(cosmos_sign(s, "GET", "docs", link, DATE_S)->authorization, expect);
        }
    }
    cosmos_signer_free(s);
}

static void test_no_key(void **state)
{
    struct cosmos_signer *s = NULL;
    assert_true(cosmos_signer_new((const unsigned char *)"", 0, &s) < 0);
    assert_null(s);
    cosmos_signer_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_whole_header),
        cmocka_unit_test(test_kept_for_the_second),
        cmocka_unit_test(test_more_kinds_than_kept),
        cmocka_unit_test(test_no_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
