#include "cosmos_sign.h"

#include "time_text.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    SHA256_SIZE = 32,
    KEPT_COUNT = 8, /* a store signs four kinds: queries and writes, the account, the container */
    VERB_SIZE = 8,
    TYPE_SIZE = 16,
    LINK_SIZE = 576, /* "dbs/" + 255 bytes + "/colls/" + 255 bytes */
};

/* The last signature of one kind. Kinds too long to be kept are signed every time. */
struct kept {
    char verb[VERB_SIZE], type[TYPE_SIZE], link[LINK_SIZE];
    int64_t second;
    bool valid;
    struct cosmos_signature signature;
};

struct cosmos_signer {
    EVP_MAC *mac;
    EVP_MAC_CTX *context; /* keyed once; EVP_MAC_init() without a key starts the next message */
    struct kept kept[KEPT_COUNT];
    unsigned next; /* the entry that gives way to a new kind */
    struct cosmos_signature unkept;
};

int cosmos_signer_new(const unsigned char *key, size_t key_len, struct cosmos_signer **ret_signer)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                           OSSL_PARAM_construct_end()};

    if (key == NULL || key_len == 0)
        return -EINVAL;
    struct cosmos_signer *signer = calloc(1, sizeof *signer);
    if (signer == NULL)
        return -ENOMEM;
    signer->mac = EVP_MAC_fetch(NULL, OSSL_MAC_NAME_HMAC, NULL);
    signer->context = signer->mac != NULL ? EVP_MAC_CTX_new(signer->mac) : NULL;
    if (signer->context == NULL || EVP_MAC_init(signer->context, key, key_len, params) != 1) {
        cosmos_signer_free(signer);
        return -ENOMEM;
    }
    *ret_signer = signer;
    return 0;
}

void cosmos_signer_free(struct cosmos_signer *signer)
{
    if (signer == NULL)
        return;
    EVP_MAC_CTX_free(signer->context); /* clears the key */
    EVP_MAC_free(signer->mac);
    OPENSSL_cleanse(signer, sizeof *signer);
    free(signer);
}

static bool update_lower(EVP_MAC_CTX *context, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)tolower((unsigned char)*text);
        if (EVP_MAC_update(context, &c, 1) != 1)
            return false;
    }
    return EVP_MAC_update(context, (const unsigned char *)"\n", 1) == 1;
}

static bool hmac(EVP_MAC_CTX *context, const char *verb, const char *type, const char *link, const char *date,
                 unsigned char out[SHA256_SIZE])
{
    size_t len = 0;

    return EVP_MAC_init(context, NULL, 0, NULL) == 1 && update_lower(context, verb) &&
           update_lower(context, type) &&
           EVP_MAC_update(context, (const unsigned char *)link, strlen(link)) == 1 &&
           EVP_MAC_update(context, (const unsigned char *)"\n", 1) == 1 && update_lower(context, date) &&
           EVP_MAC_update(context, (const unsigned char *)"\n", 1) ==
               1 && /* the unused slot of a Date header */
           EVP_MAC_final(context, out, &len, SHA256_SIZE) == 1 &&
           len == SHA256_SIZE;
}

/* Writes the token percent-encoded; of base64's alphabet only + / = need it. */
static void write_authorization(const unsigned char mac[SHA256_SIZE], char out[COSMOS_AUTHORIZATION_SIZE])
{
    static const char prefix[] = "type%3Dmaster%26ver%3D1.0%26sig%3D";
    unsigned char base64[(SHA256_SIZE + 2) / 3 * 4 + 1];
    _Static_assert(sizeof prefix + 3 * sizeof base64 <= COSMOS_AUTHORIZATION_SIZE, "the token must fit");

    EVP_EncodeBlock(base64, mac, SHA256_SIZE);
    memcpy(out, prefix, sizeof prefix - 1);
    size_t at = sizeof prefix - 1;
    for (const unsigned char *c = base64; *c != '\0'; c++) {
        const char *escape = *c == '+' ? "%2B" : *c == '/' ? "%2F" : *c == '=' ? "%3D" : NULL;
        if (escape == NULL) {
            out[at++] = (char)*c;
        } else {
            memcpy(out + at, escape, 3);
            at += 3;
        }
    }
    out[at] = '\0';
}

/* The entry of this kind, a free or older one for a new kind; NULL when it cannot be kept. */
static struct kept *find(struct cosmos_signer *signer, const char *verb, const char *type, const char *link)
{
    size_t verb_len = strlen(verb), type_len = strlen(type), link_len = strlen(link);

    for (unsigned i = 0; i < KEPT_COUNT; i++) {
        struct kept *kept = &signer->kept[i];
        if (strcmp(kept->link, link) == 0 && strcmp(kept->verb, verb) == 0 && strcmp(kept->type, type) == 0)
            return kept;
    }
    if (verb_len >= VERB_SIZE || type_len >= TYPE_SIZE || link_len >= LINK_SIZE)
        return NULL;
    struct kept *kept = &signer->kept[signer->next];
    signer->next = (signer->next + 1) % KEPT_COUNT;
    memcpy(kept->verb, verb, verb_len + 1);
    memcpy(kept->type, type, type_len + 1);
    memcpy(kept->link, link, link_len + 1);
    kept->valid = false;
    return kept;
}

const struct cosmos_signature *cosmos_sign(struct cosmos_signer *signer, const char *verb,
                                           const char *resource_type, const char *resource_link,
                                           int64_t now_s)
{
    unsigned char mac[SHA256_SIZE];
    struct kept *kept = find(signer, verb, resource_type, resource_link);

    if (kept != NULL && kept->valid && kept->second == now_s)
        return &kept->signature;
    struct cosmos_signature *signature = kept != NULL ? &kept->signature : &signer->unkept;
    if (kept != NULL)
        kept->valid = false;
    _Static_assert(sizeof signature->date >= TIME_RFC1123_SIZE, "the date must fit");
    time_format_rfc1123(now_s, signature->date);
    if (!hmac(signer->context, verb, resource_type, resource_link, signature->date, mac))
        return NULL;
    write_authorization(mac, signature->authorization);
    if (kept != NULL) {
        kept->second = now_s;
        kept->valid = true;
    }
    return signature;
}
