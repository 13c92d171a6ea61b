#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "iothub_sas.h"

#include <string.h>

/* azure-protocols 2.1: the key is the base64 of these 32 characters. */
static const char key[] = "0123456789abcdef0123456789abcdef";

/* The vectors of section 2.1, whose signatures Microsoft's SDK makes too; percent-encoded as they are sent.
 */
static const struct {
    const char *name, *resource, *policy;
    int64_t expires;
    const char *token;
} cases[] = {
    {"service token", "myhub.azure-devices.net", "service", 1800000000,
     "SharedAccessSignature sr=myhub.azure-devices.net&sig=rGf6I00MPo9u4b8u7hg0aT63D%2FiFSTcxufL%2B7DyAgc4%3D"
     "&se=1800000000&skn=service"},
    {"no policy", "myhub.azure-devices.net", NULL, 1800000000,
     "SharedAccessSignature sr=myhub.azure-devices.net&sig=rGf6I00MPo9u4b8u7hg0aT63D%2FiFSTcxufL%2B7DyAgc4%3D"
     "&se=1800000000"},
    {"empty policy", "myhub.azure-devices.net", "", 1800000000,
     "SharedAccessSignature sr=myhub.azure-devices.net&sig=rGf6I00MPo9u4b8u7hg0aT63D%2FiFSTcxufL%2B7DyAgc4%3D"
     "&se=1800000000"},
    {"device token", "myhub.azure-devices.net/devices/dev-01", NULL, 1800000000,
     "SharedAccessSignature sr=myhub.azure-devices.net%2Fdevices%2Fdev-01"
     "&sig=grL6JZs4EgMPK6hPSJGxWj6a%2FXI2IS5ZucuoBvElOK0%3D&se=1800000000"},
    {"policy is encoded", "myhub.azure-devices.net", "a b&c", 1800000000,
     "SharedAccessSignature sr=myhub.azure-devices.net&sig=rGf6I00MPo9u4b8u7hg0aT63D%2FiFSTcxufL%2B7DyAgc4%3D"
     "&se=1800000000&skn=a%20b%26c"},
};

static void tokens_equal_the_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buffer out = {0};
        buffer_append_text(&out, ">");
        assert_int_equal(iothub_sas_append(&out, cases[i].resource, (const unsigned char *)key, strlen(key),
                                           cases[i].policy, cases[i].expires),
                         0);
        assert_non_null(buffer_terminate(&out));
        if (strcmp(out.data + 1, cases[i].token) != 0)
            fail_msg("%s: %s", cases[i].name, out.data + 1);
        buffer_free(&out);
    }
}

/* A token is kept while ten minutes or more remain of its hour. */
static void tokens_are_kept_and_renewed(void **state)
{
    (void)state;
    static const struct {
        int64_t now, expires;
    } steps[] = {
        {1000000, 1003600},                     /* made */
        {1000001, 1003600}, {1003000, 1003600}, /* ten minutes remain */
        {1003001, 1006601},                     /* less: renewed */
        {1003002, 1006601}, {2000000, 2003600}, /* long expired */
        {1999999, 2003599},                     /* the clock was set back */
    };
    struct iothub_settings hub = {
        .host = "myhub.azure-devices.net", .policy = "service", .key_len = sizeof key - 1};
    memcpy(hub.key, key, hub.key_len);

    struct iothub_sas sas = {0};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct buffer expected = {0};
        assert_int_equal(
            iothub_sas_append(&expected, hub.host, hub.key, hub.key_len, hub.policy, steps[i].expires), 0);
        const char *token = iothub_sas_get(&sas, &hub, steps[i].now);
        assert_non_null(token);
        assert_string_equal(token, buffer_terminate(&expected));
        buffer_free(&expected);
    }
    iothub_sas_free(&sas);
    assert_null(sas.token.data);
    assert_non_null(iothub_sas_get(&sas, &hub, 1)); /* a dropped token is made anew */
    iothub_sas_free(&sas);
    iothub_sas_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_equal_the_vectors),
        cmocka_unit_test(tokens_are_kept_and_renewed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
