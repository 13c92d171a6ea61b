/*
 * What lets a request to Cosmos DB pass: a signature where there is a key, else an Entra token.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../clients/azure_internal.h"
#include "../../clients/cosmos_internal.h"

#include "clock.h"

#include <errno.h>
#include <string.h>

static void an_account_is_a_resource(void **state)
{
    (void)state;
    static const struct {
        const char *endpoint, *resource;
    } accounts[] = {
        {"https://acc.documents.azure.com", "https://acc.documents.azure.com"},
        {"https://acc.documents.azure.com:443", "https://acc.documents.azure.com"},
        {"https://ACC.Documents.Azure.com:443", "https://acc.documents.azure.com"},
        {"https://localhost:8443", "https://localhost:8443"},
        {"https://localhost:80", "https://localhost:80"},
        {"http://127.0.0.1:80", "http://127.0.0.1"},
        {"http://127.0.0.1:443", "http://127.0.0.1:443"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof accounts / sizeof accounts[0]; i++) {
        char resource[COSMOS_URL_SIZE];
        cosmos_authorizer_resource(accounts[i].endpoint, resource);
        assert_string_equal(resource, accounts[i].resource);
    }
}

static void a_key_signs(void **state)
{
    (void)state;
    const struct cosmos_account_settings settings = {.endpoint = "https://a", .key = "key", .key_len = 3};
    struct cosmos_authorizer authorizer = {0};
    struct cosmos_authorization got;
    assert_int_equal(cosmos_authorizer_init(&authorizer, &settings, NULL), 0);
    assert_null(authorizer.token);
    assert_int_equal(cosmos_authorize(&authorizer, "GET", "colls", "dbs/d/colls/c", &got), 0);
    assert_memory_equal(got.authorization, "Authorization: type%3Dmaster%26ver%3D1.0%26sig%3D", 49);
    assert_memory_equal(got.date, "x-ms-date: ", 11);
    cosmos_signer_free(authorizer.signer);
}

static void without_a_key_an_agent_is_needed(void **state)
{
    (void)state;
    const struct cosmos_account_settings settings = {.endpoint = "https://a"};
    struct cosmos_authorizer authorizer = {0};
    assert_int_equal(cosmos_authorizer_init(&authorizer, &settings, NULL), -EINVAL);
}

static void a_token_goes_in_as_it_is(void **state)
{
    (void)state;
    static const struct azure_identity identity;
    const struct cosmos_account_settings settings = {.endpoint = "https://A:443"};
    struct azure_credential *credential;
    struct azure_agent *agent;
    struct cosmos_authorizer authorizer = {0};
    struct cosmos_authorization got;
    struct azure_token_answer answer = {
        .status = UPSTREAM_OK, .token = strdup("e.y+/="), .token_size = sizeof "e.y+/=", .lifetime_s = 3600};

    assert_int_equal(azure_credential_new(&identity, NULL, &credential), 0);
    const struct azure_agent_options options = {.credential = credential};
    assert_int_equal(azure_agent_new(&options, &agent), 0);
    assert_int_equal(cosmos_authorizer_init(&authorizer, &settings, agent), 0);
    assert_int_equal(cosmos_authorize(&authorizer, "GET", "", "", &got), -EAGAIN);

    struct azure_slot *slot = azure_slot_open(credential, "https://a", NULL);
    assert_string_equal(slot->fallback, "https://cosmos.azure.com");
    azure_slot_take(slot, &answer, false, clock_monotonic_ms());
    assert_int_equal(cosmos_authorize(&authorizer, "GET", "", "", &got), 0);
    assert_string_equal(got.authorization, "Authorization: type=aad&ver=1.0&sig=e.y+/=");
    assert_int_equal(strlen(got.date), strlen("x-ms-date: Mon, 23 Nov 2026 07:00:00 GMT"));
    assert_int_equal(got.generation, atomic_load(&slot->generation));
    azure_agent_free(agent);
    azure_credential_free(credential);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_account_is_a_resource),
        cmocka_unit_test(a_key_signs),
        cmocka_unit_test(without_a_key_an_agent_is_needed),
        cmocka_unit_test(a_token_goes_in_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
