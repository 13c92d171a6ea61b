#include "iothub_sas.h"

#include "percent.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

#define TOKEN_LIFE_S  3600
#define RENEW_LEFT_S  600 /* a token with less than that left is made anew */
#define SHA256_LEN    32
#define SIGNATURE_LEN 44 /* of 32 bytes in base64 */

/* base64(HMAC-SHA256(key, sr "\n" se)) over the percent-encoded resource. */
static int sign(const char *sr, size_t sr_len, const char *se, const unsigned char *key, size_t key_len,
                char signature[SIGNATURE_LEN + 1])
{
    unsigned char mac[SHA256_LEN];
    unsigned mac_len = 0;
    int r = -ENOMEM;

    struct buffer text = {0};
    buffer_append(&text, sr, sr_len);
    buffer_append_char(&text, '\n');
    buffer_append_text(&text, se);
    if (text.failed || key_len > INT_MAX)
        goto out;
    if (HMAC(EVP_sha256(), key, (int)key_len, (const unsigned char *)text.data, text.len, mac, &mac_len) ==
        NULL) {
        r = -EIO;
        goto out;
    }
    EVP_EncodeBlock((unsigned char *)signature, mac, SHA256_LEN);
    r = 0;
out:
    buffer_free(&text);
    return r;
}

int iothub_sas_append(struct buffer *out, const char *resource, const unsigned char *key, size_t key_len,
                      const char *policy, int64_t expires_s)
{
    char se[24], signature[SIGNATURE_LEN + 1];
    struct buffer sr = {0};

    snprintf(se, sizeof se, "%" PRId64, expires_s);
    percent_encode(&sr, resource, strlen(resource));
    int r = sr.failed ? -ENOMEM : sign(sr.data, sr.len, se, key, key_len, signature);
    if (r != 0)
        goto out;
    buffer_append_text(out, "SharedAccessSignature sr=");
    buffer_append(out, sr.data, sr.len);
    buffer_append_text(out, "&sig=");
    percent_encode(out, signature, SIGNATURE_LEN);
    buffer_append_text(out, "&se=");
    buffer_append_text(out, se);
    if (policy != NULL && policy[0] != '\0') {
        buffer_append_text(out, "&skn=");
        percent_encode(out, policy, strlen(policy));
    }
    r = out->failed ? -ENOMEM : 0;
out:
    buffer_free(&sr);
    return r;
}

static void forget(struct iothub_sas *sas)
{
    if (sas->token.data != NULL)
        OPENSSL_cleanse(sas->token.data, sas->token.cap);
    buffer_free(&sas->token);
    sas->expires_s = 0;
}

const char *iothub_sas_get(struct iothub_sas *sas, const struct iothub_settings *hub, int64_t now_s)
{
    /* The upper bound makes a clock that was set back renew it too: a hub refuses what expires too far ahead.
     */
    int64_t left = sas->expires_s - now_s;
    if (sas->token.data != NULL && left >= RENEW_LEFT_S && left <= TOKEN_LIFE_S)
        return sas->token.data;
    forget(sas);
    int64_t expires = now_s + TOKEN_LIFE_S;
    if (iothub_sas_append(&sas->token, hub->host, hub->key, hub->key_len, hub->policy, expires) != 0 ||
        buffer_terminate(&sas->token) == NULL) {
        forget(sas);
        return NULL;
    }
    sas->expires_s = expires;
    return sas->token.data;
}

void iothub_sas_free(struct iothub_sas *sas)
{
    if (sas != NULL)
        forget(sas);
}
