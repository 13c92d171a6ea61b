#include "token_internal.h"

#include "json_tree.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

/* The largest number that every JSON reader takes for the integer that it is (RFC 8259 section 6). */
#define TIME_MAX ((json_int_t)1 << 53)

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* --- small readers: absent is fine, another type is not ---------------------------------------- */

static bool read_text(const json_t *claims, const char *name, const char **ret_text)
{
    const json_t *value = json_object_get(claims, name);

    if (value != NULL && !json_is_string(value))
        return false;
    *ret_text = json_string_value(value); /* NULL for an absent one */
    return true;
}

/* 1e9, 1.0 and "1" are no integers, although each is somebody's time. */
static bool read_time(const json_t *claims, const char *name, int64_t absent, int64_t *ret_s)
{
    const json_t *value = json_object_get(claims, name);

    if (value == NULL) {
        *ret_s = absent;
        return true;
    }
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 0 || number > TIME_MAX)
        return false;
    *ret_s = number;
    return true;
}

static bool is_array_of_strings(const json_t *value)
{
    if (!json_is_array(value))
        return false;
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (!json_is_string(json_array_get(value, i)))
            return false;
    }
    return true;
}

/* --- who it is for, and what it allows --------------------------------------------------------- */

static bool is_listed(const char *list, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = list; *at != '\0';) {
        size_t piece = strcspn(at, ",");
        if (piece == len && len != 0 && memcmp(at, name, len) == 0)
            return true;
        at += piece + (at[piece] == ',');
    }
    return false;
}

static bool read_audience(const json_t *claims, const char *audiences)
{
    const json_t *aud = json_object_get(claims, "aud");
    bool listed = false;

    if (json_is_string(aud))
        return is_listed(audiences, json_string_value(aud));
    if (!is_array_of_strings(aud))
        return false;
    for (size_t i = 0; i < json_array_size(aud); i++)
        listed = listed || is_listed(audiences, json_string_value(json_array_get(aud, i)));
    return listed;
}

static bool read_permissions(const json_t *claims, unsigned *ret_permissions)
{
    const json_t *roles = json_object_get(claims, "roles");
    const char *scopes = NULL;
    unsigned permissions = PERMISSION_NONE;

    if (!read_text(claims, "scp", &scopes) || (roles != NULL && !is_array_of_strings(roles)))
        return false;
    for (const char *at = scopes; at != NULL && *at != '\0';) {
        size_t len = strcspn(at, " ");
        permissions |= permission_from_name(at, len);
        at += len + (at[len] == ' ');
    }
    for (size_t i = 0; i < json_array_size(roles); i++) {
        const json_t *role = json_array_get(roles, i);
        permissions |= permission_from_name(json_string_value(role), json_string_length(role));
    }
    *ret_permissions = permissions;
    return true;
}

/* --- who it is --------------------------------------------------------------------------------- */

/* In the order in which the first that is there names the caller. */
static const char *const caller_claims[] = {"sub", "azp", "appid", "client_id"};

/* Issuer, kind and name are hashed with their NULs between them, so that no two callers share a key by how
 * they are cut. */
static bool hash_caller(const char *issuer, const char *kind, const void *name, size_t len,
                        unsigned char caller[CALLER_KEY_SIZE])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
                EVP_DigestUpdate(ctx, issuer, strlen(issuer) + 1) == 1 &&
                EVP_DigestUpdate(ctx, kind, strlen(kind) + 1) == 1 && EVP_DigestUpdate(ctx, name, len) == 1 &&
                EVP_DigestFinal_ex(ctx, caller, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    return good;
}

static enum token_verdict read_caller(const json_t *claims, const struct token_form *form, const char *issuer,
                                      unsigned char caller[CALLER_KEY_SIZE], const char **ret_why)
{
    const char *kind = "token", *name = NULL;

    for (size_t i = 0; i < COUNT(caller_claims); i++) {
        const char *text = NULL;
        if (!read_text(claims, caller_claims[i], &text))
            return token_bad(ret_why, "sub, azp, appid or client_id is not a string");
        if (name == NULL && text != NULL && *text != '\0') {
            kind = i == 0 ? "subject" : "client";
            name = text;
        }
    }
    bool hashed = name != NULL ? hash_caller(issuer, kind, name, strlen(name), caller)
                               : hash_caller(issuer, kind, form->token, form->len, caller);
    return hashed ? TOKEN_GOOD : TOKEN_NO_MEMORY;
}

/* --- all of them ------------------------------------------------------------------------------- */

static enum token_verdict read_issuer(const json_t *claims, const char *pattern, struct token_claims *ret,
                                      const char **ret_why)
{
    const char *iss = NULL, *tid = NULL;
    const json_t *ver = json_object_get(claims, "ver");

    if (!read_text(claims, "iss", &iss) || !read_text(claims, "tid", &tid) || iss == NULL)
        return token_bad(ret_why, "no iss, or iss or tid is not a string");
    if (!token_issuer_fits(pattern, iss, tid))
        return token_bad(ret_why, "iss is not the issuer");
    if (!token_tenant_fits(iss, tid))
        return token_bad(ret_why, "tid is not the issuer's tenant");
    if (ver != NULL && !token_version_fits(iss, json_is_string(ver) ? json_string_value(ver) : ""))
        return token_bad(ret_why, "ver does not fit iss");
    if ((ret->issuer = strdup(iss)) == NULL || (tid != NULL && (ret->tenant = strdup(tid)) == NULL))
        return TOKEN_NO_MEMORY;
    return TOKEN_GOOD;
}

static enum token_verdict read_principal(const json_t *claims, const struct token_form *form,
                                         const struct token_rules *rules, int64_t now_s,
                                         struct token_claims *ret, const char **ret_why)
{
    struct principal *principal = ret->principal;
    const bool limited = rules->devices_claim != NULL && rules->devices_claim[0] != '\0';
    const json_t *devices = limited ? json_object_get(claims, rules->devices_claim) : NULL;

    if (!read_time(claims, "exp", -1, &principal->expires_s) || principal->expires_s < 0)
        return token_bad(ret_why, "no exp, or one that is not a whole number of seconds");
    if (!read_time(claims, "nbf", INT64_MIN, &principal->not_before_s))
        return token_bad(ret_why, "nbf is not a whole number of seconds");
    if (!principal_current(principal, now_s))
        return token_bad(ret_why, "expired, or not valid yet");
    if (!read_audience(claims, rules->audiences))
        return token_bad(ret_why, "aud is not ours");
    if (!read_permissions(claims, &principal->permissions))
        return token_bad(ret_why, "scp is not a string, or roles not an array of strings");
    if (devices != NULL && grants_new(devices, &principal->grants) != 0)
        return TOKEN_NO_MEMORY;
    return read_caller(claims, form, ret->issuer, principal->caller, ret_why);
}

enum token_verdict token_claims_read(const struct token_form *form, const struct token_rules *rules,
                                     int64_t now_s, struct token_claims *ret, const char **ret_why)
{
    enum token_verdict verdict;

    *ret = (struct token_claims){0};
    json_t *claims;
    int r = json_tree_load(form->payload, form->payload_len, &claims);
    if (r == -ENOMEM)
        return TOKEN_NO_MEMORY;
    if (r != 0)
        return token_bad(ret_why, "its payload is not JSON that we take");
    if (!json_is_object(claims))
        verdict = token_bad(ret_why, "its payload is not an object");
    else if ((ret->principal = calloc(1, sizeof *ret->principal)) == NULL)
        verdict = TOKEN_NO_MEMORY;
    else {
        ret->principal->references = 1;
        verdict = read_issuer(claims, rules->issuer, ret, ret_why);
        if (verdict == TOKEN_GOOD)
            verdict = read_principal(claims, form, rules, now_s, ret, ret_why);
    }
    json_decref(claims);
    return verdict;
}

void token_claims_clear(struct token_claims *claims)
{
    free(claims->issuer);
    free(claims->tenant);
    principal_unref(claims->principal);
    *claims = (struct token_claims){0};
}
