/*
 * cosmos_sign.h - Cosmos DB master-key signatures (azure-protocols 1.2). A signature depends on verb,
 * resource and a date in whole seconds, so a signer keeps the last one of each kind for its second. One
 * signer a worker; not thread-safe.
 */
#ifndef TELEMETRYD_COSMOS_SIGN_H
#define TELEMETRYD_COSMOS_SIGN_H

#include <stddef.h>
#include <stdint.h>

#define COSMOS_AUTHORIZATION_SIZE 192 /* room for the percent-encoded token and a NUL */

struct cosmos_signer;

int cosmos_signer_new(const unsigned char *key, size_t key_len, struct cosmos_signer **ret_signer);
void cosmos_signer_free(struct cosmos_signer *signer); /* clears the key; accepts NULL */

struct cosmos_signature {
    char authorization[COSMOS_AUTHORIZATION_SIZE]; /* "type%3Dmaster%26ver%3D1.0%26sig%3D.." */
    char date[32];                                 /* for x-ms-date */
};

/* verb "GET".., resource_type "docs".., resource_link "dbs/db/colls/c" (raw UTF-8). The result is the
 * signer's and lives until its next call. NULL when OpenSSL fails. */
const struct cosmos_signature *cosmos_sign(struct cosmos_signer *signer, const char *verb,
                                           const char *resource_type, const char *resource_link,
                                           int64_t now_s);

#endif
