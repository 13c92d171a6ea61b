#include "token_internal.h"

#include "json_tree.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <strings.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* What would change how a token is to be read, or say where or what its key is. None of it is needed from an
 * issuer whose keys we know, and each was the way into some verifier. */
static const char *const refused_members[] = {
    "crit", "b64", "zip", "enc", "cty", "jwk", "jku", "x5u", "x5c",
};

static const struct {
    const char *name;
    enum jwk_alg alg;
} algorithms[] = {{"RS256", JWK_RS256}, {"ES256", JWK_ES256}};

/* Media types, compared without case (RFC 7515 section 4.1.9, RFC 9068 section 4). */
static const struct {
    const char *name;
    bool access_token;
} types[] = {{"JWT", false}, {"at+jwt", true}, {"application/at+jwt", true}};

static bool read_algorithm(const json_t *value, enum jwk_alg *ret)
{
    for (size_t i = 0; i < COUNT(algorithms); i++) {
        if (json_is_string(value) && strcmp(json_string_value(value), algorithms[i].name) == 0) {
            *ret = algorithms[i].alg;
            return true;
        }
    }
    return false;
}

static bool read_type(const json_t *value, bool *ret_access_token)
{
    *ret_access_token = false;
    if (value == NULL)
        return true;
    for (size_t i = 0; i < COUNT(types); i++) {
        if (json_is_string(value) && strcasecmp(json_string_value(value), types[i].name) == 0) {
            *ret_access_token = types[i].access_token;
            return true;
        }
    }
    return false;
}

/* An issuer's kids are base64, base64url, UUIDs or plain names. What looks like a path up the tree, a query
 * or a script is not worth asking the issuer for. */
static bool worth_fetching(const char *kid)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+=.-/";

    return kid[0] != '/' && kid[strspn(kid, allowed)] == '\0' && strstr(kid, "..") == NULL &&
           strstr(kid, "//") == NULL;
}

static bool read_kid(const json_t *value, struct token_header *header)
{
    size_t len = json_string_length(value);

    if (!json_is_string(value) || len == 0 || len > JWK_KID_MAX)
        return false;
    memcpy(header->kid, json_string_value(value), len + 1);
    header->kid_len = len;
    header->kid_worth_fetching = worth_fetching(header->kid);
    return true;
}

static enum token_verdict read_members(const json_t *json, struct token_header *ret, const char **ret_why)
{
    if (!json_is_object(json))
        return token_bad(ret_why, "its header is not an object");
    for (size_t i = 0; i < COUNT(refused_members); i++) {
        if (json_object_get(json, refused_members[i]) != NULL)
            return token_bad(ret_why, "its header has a member that we do not take");
    }
    if (!read_algorithm(json_object_get(json, "alg"), &ret->alg))
        return token_bad(ret_why, "alg is neither RS256 nor ES256");
    if (!read_type(json_object_get(json, "typ"), &ret->access_token_type))
        return token_bad(ret_why, "typ is not that of an access token");
    if (!read_kid(json_object_get(json, "kid"), ret))
        return token_bad(ret_why, "no kid, or one that is too long");
    return TOKEN_GOOD;
}

enum token_verdict token_header_read(const struct token_form *form, struct token_header *ret,
                                     const char **ret_why)
{
    json_t *json;
    int r = json_tree_load(form->header, form->header_len, &json);

    if (r == -ENOMEM)
        return TOKEN_NO_MEMORY;
    if (r != 0)
        return token_bad(ret_why, "its header is not JSON that we take");
    enum token_verdict verdict = read_members(json, ret, ret_why);
    json_decref(json);
    return verdict;
}
