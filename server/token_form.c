#include "token_internal.h"

#include "base64.h"
#include "json.h"

#include <openssl/crypto.h>
#include <string.h>

#define HEADER_MAX 2048 /* bytes of its JSON */
#define DEPTH_MAX  16

/* Where the two dots are; false for any other number of them, or an empty segment. */
static bool split(const char *token, size_t len, size_t dots[2])
{
    size_t count = 0;

    for (size_t i = 0; i < len; i++) {
        if (token[i] != '.')
            continue;
        if (count == 2)
            return false;
        dots[count++] = i;
    }
    return count == 2 && dots[0] > 0 && dots[1] > dots[0] + 1 && len > dots[1] + 1;
}

/* Decodes a segment to *at and moves *at behind it and a NUL. */
static bool decode(const char *text, size_t len, unsigned char **at, unsigned char **ret, size_t *ret_len)
{
    long decoded = base64url_decode(text, len, *at);
    if (decoded <= 0)
        return false;
    *ret = *at;
    *ret_len = (size_t)decoded;
    *at += decoded;
    *(*at)++ = '\0';
    return true;
}

/* An object, by the rules of RFC 8259, in which every name stands once at every depth. */
static enum token_verdict check_json(const char *text, size_t len, const char *why, const char **ret_why)
{
    switch (json_check(text, len, DEPTH_MAX, true, NULL)) {
    case JSON_OK: break;
    case JSON_NO_MEMORY: return TOKEN_NO_MEMORY;
    case JSON_SYNTAX:
    case JSON_DUPLICATE:
    case JSON_TOO_DEEP: return token_bad(ret_why, why);
    }
    return TOKEN_GOOD;
}

enum token_verdict token_form_decode(const char *token, size_t len, struct token_form *ret,
                                     const char **ret_why)
{
    size_t dots[2];

    *ret = (struct token_form){.token = token, .len = len};
    if (len > TOKEN_MAX)
        return token_bad(ret_why, "longer than 8 kB");
    if (!split(token, len, dots))
        return token_bad(ret_why, "not three segments");
    ret->signed_len = dots[1];
    ret->block_size = len + 3;
    if ((ret->block = OPENSSL_malloc(ret->block_size)) == NULL)
        return TOKEN_NO_MEMORY;

    unsigned char *at = ret->block;
    if (!decode(token, dots[0], &at, (unsigned char **)&ret->header, &ret->header_len) ||
        !decode(token + dots[0] + 1, dots[1] - dots[0] - 1, &at, (unsigned char **)&ret->payload,
                &ret->payload_len) ||
        !decode(token + dots[1] + 1, len - dots[1] - 1, &at, &ret->signature, &ret->signature_len))
        return token_bad(ret_why, "not canonical base64url");
    return TOKEN_GOOD;
}

enum token_verdict token_form_read(const char *token, size_t len, struct token_form *ret,
                                   const char **ret_why)
{
    enum token_verdict verdict = token_form_decode(token, len, ret, ret_why);
    if (verdict != TOKEN_GOOD)
        return verdict;
    if (ret->header_len > HEADER_MAX)
        return token_bad(ret_why, "its header is too long");
    verdict =
        check_json(ret->header, ret->header_len, "its header is not JSON, or says a thing twice", ret_why);
    if (verdict != TOKEN_GOOD)
        return verdict;
    return check_json(ret->payload, ret->payload_len, "its payload is not JSON, or says a thing twice",
                      ret_why);
}

void token_form_clear(struct token_form *form)
{
    OPENSSL_clear_free(form->block, form->block_size);
    *form = (struct token_form){0};
}
