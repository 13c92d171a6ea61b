#include "token.h"

#include "clock.h"
#include "random_id.h"
#include "time_text.h"
#include "token_key.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define ROLES_MAX    64
#define TTL_MAX_S    (3650LL * 24 * 3600)

enum { EXIT_DONE = 0, EXIT_RUNTIME = 1, EXIT_USAGE = 2 };

static const char usage[] =
    "telemetryd token - make a bearer token with a key of your own, for trying things without Entra\n"
    "\n"
    "  --key FILE       private key in PEM (RSA of 2048 bits or more, or EC P-256); made where it is "
    "missing\n"
    "  --jwks FILE      the key set to write, for TELEMETRYD_JWT_JWKS\n"
    "  --issuer I       iss, as TELEMETRYD_JWT_ISSUER\n"
    "  --audience A     aud, one of TELEMETRYD_JWT_AUDIENCE\n"
    "  --scope \"S ..\"   scp: Telemetry.Read, Telemetry.Write, Device.Read, Device.Write, Ops.Read\n"
    "  --role R         one of roles, with the same names; may be given several times\n"
    "  --subject S      sub (local)\n"
    "  --devices a,b*   limits the token to these devices, in the claim `devices`; the server needs\n"
    "                   TELEMETRYD_JWT_DEVICES_CLAIM=devices for it\n"
    "  --ttl 1h         how long it is good: a number and s, m, h or d (1h)\n"
    "  --help           this\n";

/* --- flags ------------------------------------------------------------------------------------- */

struct options {
    const char *key, *jwks, *issuer, *audience, *scope, *subject, *devices, *ttl;
    const char *roles[ROLES_MAX + 1];
    int64_t ttl_s;
};

static const struct flag {
    const char *name;
    size_t offset;
    bool required, may_be_empty;
    bool repeats; /* the field is an array that ends with NULL */
} flags[] = {
    {"--key", offsetof(struct options, key), .required = true},
    {"--jwks", offsetof(struct options, jwks), .required = true},
    {"--issuer", offsetof(struct options, issuer), .required = true},
    {"--audience", offsetof(struct options, audience), .required = true},
    {"--scope", offsetof(struct options, scope)},
    {"--role", offsetof(struct options, roles), .repeats = true},
    {"--subject", offsetof(struct options, subject)},
    {"--devices", offsetof(struct options, devices), .may_be_empty = true}, /* no device at all */
    {"--ttl", offsetof(struct options, ttl)},
};

static const char **field(struct options *options, const struct flag *flag)
{
    return (const char **)((char *)options + flag->offset);
}

static int wrong(const char *name, const char *why)
{
    fprintf(stderr, "%s: %s; see telemetryd token --help\n", name, why);
    return -EINVAL;
}

static bool is_utf8(const char *text)
{
    json_t *value = json_string(text);
    bool good = value != NULL;
    json_decref(value);
    return good;
}

static int take_value(struct options *options, const struct flag *flag, const char *value)
{
    const char **at = field(options, flag);

    if (value == NULL || (*value == '\0' && !flag->may_be_empty))
        return wrong(flag->name, "needs a value");
    if (!is_utf8(value))
        return wrong(flag->name, "is not UTF-8");
    for (size_t i = 0; flag->repeats && *at != NULL; i++, at++) {
        if (i + 1 == ROLES_MAX)
            return wrong(flag->name, "is given too often");
    }
    if (*at != NULL)
        return wrong(flag->name, "is given twice");
    *at = value;
    return 0;
}

static const struct flag *find_flag(const char *arg, size_t len)
{
    for (size_t i = 0; i < COUNT(flags); i++) {
        if (strlen(flags[i].name) == len && strncmp(flags[i].name, arg, len) == 0)
            return &flags[i];
    }
    return NULL;
}

/* Only a flag's name is shown: what stands in a wrong place may be a secret. */
static int unknown(const char *arg, size_t name_len)
{
    char name[33];
    size_t len = 0;

    if (strncmp(arg, "--", 2) != 0)
        return wrong("telemetryd token", "unexpected argument");
    for (; len < name_len && len + 1 < sizeof name; len++)
        name[len] = arg[len] > ' ' && arg[len] <= '~' ? arg[len] : '?';
    name[len] = '\0';
    return wrong(name, "unknown flag");
}

/* "--flag value" and "--flag=value". */
static int read_flags(int argc, char *const *argv, struct options *options)
{
    for (int i = 1; i < argc; i++) {
        size_t len = strcspn(argv[i], "=");
        const struct flag *flag = find_flag(argv[i], len);
        if (flag == NULL)
            return unknown(argv[i], len);
        const char *value = argv[i][len] == '=' ? argv[i] + len + 1 : i + 1 < argc ? argv[++i] : NULL;
        int r = take_value(options, flag, value);
        if (r != 0)
            return r;
    }
    return 0;
}

static int check_options(struct options *options)
{
    uint64_t ttl_ms = 3600 * 1000;

    for (size_t i = 0; i < COUNT(flags); i++) {
        if (flags[i].required && *field(options, &flags[i]) == NULL)
            return wrong(flags[i].name, "is needed");
    }
    if (strcmp(options->key, options->jwks) == 0)
        return wrong("--jwks", "is the file of --key");
    if (options->ttl != NULL && !time_parse_duration_ms(options->ttl, &ttl_ms))
        return wrong("--ttl", "give a number and s, m, h or d");
    if (ttl_ms < 1000 || ttl_ms / 1000 > TTL_MAX_S)
        return wrong("--ttl", "give one second to ten years");
    options->ttl_s = (int64_t)(ttl_ms / 1000);
    return 0;
}

/* --- claims ------------------------------------------------------------------------------------ */

static json_t *roles_of(const char *const *roles)
{
    json_t *array = json_array();
    for (; *roles != NULL; roles++) {
        if (json_array_append_new(array, json_string(*roles)) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *devices_of(const char *list)
{
    json_t *array = json_array();
    while (*list != '\0') {
        size_t len = strcspn(list, ",");
        if (len > 0 && json_array_append_new(array, json_stringn(list, len)) != 0) {
            json_decref(array);
            return NULL;
        }
        list += len + (list[len] == ',');
    }
    return array;
}

static char *claims_of(const struct options *options)
{
    char id[RANDOM_ID_SIZE], *text = NULL;
    int64_t now_s = clock_wall_s();
    int r = 0;
    json_t *claims = json_object();

    random_id(id);
    r |= json_object_set_new(claims, "iss", json_string(options->issuer));
    r |= json_object_set_new(claims, "aud", json_string(options->audience));
    r |= json_object_set_new(claims, "sub",
                             json_string(options->subject != NULL ? options->subject : "local"));
    r |= json_object_set_new(claims, "jti", json_string(id));
    r |= json_object_set_new(claims, "iat", json_integer(now_s));
    r |= json_object_set_new(claims, "nbf", json_integer(now_s));
    r |= json_object_set_new(claims, "exp", json_integer(now_s + options->ttl_s));
    if (options->scope != NULL)
        r |= json_object_set_new(claims, "scp", json_string(options->scope));
    if (options->roles[0] != NULL)
        r |= json_object_set_new(claims, "roles", roles_of(options->roles));
    if (options->devices != NULL)
        r |= json_object_set_new(claims, "devices", devices_of(options->devices));
    if (r == 0)
        text = json_dumps(claims, JSON_COMPACT);
    json_decref(claims);
    return text;
}

/* --- the token --------------------------------------------------------------------------------- */

/* Returns the text, or NULL when out of memory. */
static char *mint(const struct token_key *key, const char *claims)
{
    jwt_t *jwt = NULL;
    char *pem = NULL, *token = NULL;
    long len = BIO_get_mem_data(key->pem, &pem);

    if (jwt_new(&jwt) == 0 && jwt_add_header(jwt, "kid", key->kid) == 0 &&
        jwt_add_grants_json(jwt, claims) == 0 &&
        jwt_set_alg(jwt, key->alg, (const unsigned char *)pem, (int)len) == 0)
        token = jwt_encode_str(jwt);
    jwt_free(jwt);
    return token;
}

static int failed(const char *what, const char *path, int r)
{
    const char *why =
        r == -EKEYREJECTED
            ? "not a private key in PEM, RSA of 2048 to 8192 bits or EC P-256, without a passphrase"
            : strerror(-r);
    fprintf(stderr, "%s %s: %s\n", what, path, why);
    return EXIT_RUNTIME;
}

static int print_token(const struct token_key *key, const struct options *options)
{
    int status = EXIT_DONE;
    char *claims = claims_of(options);
    char *token = claims != NULL ? mint(key, claims) : NULL;

    if (token == NULL) {
        fputs("telemetryd token: out of memory\n", stderr);
        status = EXIT_RUNTIME;
    } else if (strlen(token) > TOKEN_MAX) {
        fprintf(stderr,
                "telemetryd token: the token would be longer than the %d characters that are accepted\n",
                TOKEN_MAX);
        status = EXIT_RUNTIME;
    } else if (puts(token) < 0 || fflush(stdout) != 0) {
        fprintf(stderr, "telemetryd token: standard output: %s\n", strerror(errno));
        status = EXIT_RUNTIME;
    }
    free(claims);
    if (token != NULL)
        explicit_bzero(token, strlen(token));
    free(token);
    return status;
}

int token_command(int argc, char *const *argv)
{
    struct options options = {0};
    struct token_key key = {0};

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0)
            return fputs(usage, stdout) < 0 || fflush(stdout) != 0 ? EXIT_RUNTIME : EXIT_DONE;
    }
    if (read_flags(argc, argv, &options) != 0 || check_options(&options) != 0)
        return EXIT_USAGE;
    int r = token_key_open(options.key, &key);
    if (r != 0)
        return failed("--key", options.key, r);
    r = token_key_write_set(&key, options.jwks);
    int status = r != 0 ? failed("--jwks", options.jwks, r) : print_token(&key, &options);
    token_key_clear(&key);
    return status;
}
