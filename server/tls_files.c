#include "tls_files.h"

#include "base64.h"
#include "secret_file.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Where to say what is wrong. */
struct complaint {
    char *message;
    size_t size;
};

static bool refuse(const struct complaint *c, const char *wrong)
{
    snprintf(c->message, c->size, "%s", wrong);
    return false;
}

static bool read_file(const char *path, char **ret_text, gnutls_datum_t *ret_pem, const struct complaint *c)
{
    char *text;
    size_t len;
    int r = secret_file_read(path != NULL ? path : "", TLS_FILE_MAX, &text, &len);

    if (r != 0)
        return refuse(c, secret_file_error(r));
    *ret_text = text;
    *ret_pem = (gnutls_datum_t){(unsigned char *)text, (unsigned)len};
    return true;
}

static bool load_certs(const char *path, gnutls_x509_crt_t **ret_certs, unsigned *ret_count,
                       const struct complaint *c)
{
    char *text;
    gnutls_datum_t pem;

    if (!read_file(path, &text, &pem, c))
        return false;
    int r = gnutls_x509_crt_list_import2(ret_certs, ret_count, &pem, GNUTLS_X509_FMT_PEM, 0);
    secret_file_free(text, pem.size); /* a key may stand in the same file */
    if (r == GNUTLS_E_BASE64_UNEXPECTED_HEADER_ERROR || r == GNUTLS_E_NO_CERTIFICATE_FOUND)
        return refuse(c, "it holds no PEM certificate");
    if (r < 0)
        return refuse(c, gnutls_strerror(r));
    return true;
}

static bool is_encrypted(const char *pem)
{
    return strstr(pem, "-----BEGIN ENCRYPTED PRIVATE KEY-----") != NULL ||
           strstr(pem, "Proc-Type: 4,ENCRYPTED") != NULL;
}

/* Turns the first private key of the text (RFC 7468; PKCS #1, SEC 1 or PKCS #8) into its DER form, in place:
 * GnuTLS's own reading of PEM leaves copies of the text in freed memory. Returns the length, 0 where there is
 * none. */
static size_t decode_key(char *pem)
{
    static const char *const labels[] = {"PRIVATE KEY-----", "RSA PRIVATE KEY-----", "EC PRIVATE KEY-----"};
    static const char begin_mark[] = "-----BEGIN ", end_mark[] = "-----END ";

    for (char *at = pem; (at = strstr(at, begin_mark)) != NULL;) {
        at += strlen(begin_mark);
        for (size_t i = 0; i < sizeof labels / sizeof labels[0]; i++) {
            if (strncmp(at, labels[i], strlen(labels[i])) != 0)
                continue;
            const char *from = at + strlen(labels[i]), *end = strstr(from, end_mark);
            size_t len = 0;
            for (; end != NULL && from < end; from++) {
                if (strchr(" \t\r\n", *from) == NULL)
                    pem[len++] = *from;
            }
            long decoded = base64_decode(pem, len, (unsigned char *)pem, len);
            return decoded > 0 ? (size_t)decoded : 0;
        }
    }
    return 0;
}

/* What TLS 1.2 and 1.3 can sign with. */
static bool can_sign(gnutls_x509_privkey_t key)
{
    switch (gnutls_x509_privkey_get_pk_algorithm(key)) {
    case GNUTLS_PK_RSA:
    case GNUTLS_PK_RSA_PSS:
    case GNUTLS_PK_ECDSA:
    case GNUTLS_PK_EDDSA_ED25519:
    case GNUTLS_PK_EDDSA_ED448: return true;
    default: return false;
    }
}

static bool load_key(const char *path, gnutls_x509_privkey_t *ret_key, const struct complaint *c)
{
    gnutls_x509_privkey_t key = NULL;
    const char *wrong = NULL;
    char *text;
    gnutls_datum_t datum;

    if (!read_file(path, &text, &datum, c))
        return false;
    unsigned size = datum.size;
    if (is_encrypted(text))
        wrong = "the key is encrypted; give one without a passphrase";
    else if ((datum.size = (unsigned)decode_key(text)) == 0)
        wrong = "it holds no PEM private key";
    else if (gnutls_x509_privkey_init(&key) < 0)
        wrong = "there is no memory";
    else if (gnutls_x509_privkey_import2(key, &datum, GNUTLS_X509_FMT_DER, NULL, GNUTLS_PKCS_PLAIN) < 0)
        wrong = "its private key cannot be read";
    else if (!can_sign(key))
        wrong = "it is no RSA, ECDSA or EdDSA key";
    secret_file_free(text, size);
    if (wrong == NULL) {
        *ret_key = key;
        return true;
    }
    gnutls_x509_privkey_deinit(key);
    return refuse(c, wrong);
}

static bool fits(gnutls_x509_crt_t cert, gnutls_x509_privkey_t key, const struct complaint *c)
{
    unsigned char of_cert[64], of_key[64];
    size_t cert_len = sizeof of_cert, key_len = sizeof of_key;

    if (gnutls_x509_crt_get_key_id(cert, GNUTLS_KEYID_USE_SHA256, of_cert, &cert_len) < 0 ||
        gnutls_x509_privkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, of_key, &key_len) < 0 ||
        cert_len != key_len || memcmp(of_cert, of_key, key_len) != 0)
        return refuse(c, "the first certificate is that of another key");
    return true;
}

/* Certificates of version 1 do not say whether they are a CA's. */
static bool are_cas(const gnutls_x509_crt_t *certs, unsigned count, const struct complaint *c)
{
    for (unsigned i = 0; i < count; i++) {
        unsigned critical;
        if (gnutls_x509_crt_get_version(certs[i]) >= 3 &&
            gnutls_x509_crt_get_ca_status(certs[i], &critical) <= 0)
            return refuse(c, "it holds a certificate that is not a CA's");
    }
    return true;
}

enum tls_file tls_files_load(const struct tls_files *files, struct tls_loaded *ret, char *message,
                             size_t size)
{
    const struct complaint c = {message, size};
    struct tls_loaded loaded = {0};
    enum tls_file fault = TLS_FILES_GOOD;

    if (!load_certs(files->cert, &loaded.chain, &loaded.chain_len, &c))
        fault = TLS_FILE_CERT;
    else if (!load_key(files->key, &loaded.key, &c))
        fault = TLS_FILE_KEY;
    else if (!fits(loaded.chain[0], loaded.key, &c))
        fault = TLS_FILE_PAIR;
    else if (files->client_ca != NULL && files->client_ca[0] != '\0' &&
             (!load_certs(files->client_ca, &loaded.client_cas, &loaded.client_ca_count, &c) ||
              !are_cas(loaded.client_cas, loaded.client_ca_count, &c)))
        fault = TLS_FILE_CLIENT_CA;
    if (fault == TLS_FILES_GOOD)
        *ret = loaded;
    else
        tls_files_unload(&loaded);
    return fault;
}

enum tls_file tls_files_check(const struct tls_files *files, char *message, size_t size)
{
    struct tls_loaded loaded;
    enum tls_file fault = tls_files_load(files, &loaded, message, size);

    if (fault == TLS_FILES_GOOD)
        tls_files_unload(&loaded);
    return fault;
}

static void free_certs(gnutls_x509_crt_t *certs, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        gnutls_x509_crt_deinit(certs[i]);
    gnutls_free(certs);
}

void tls_files_unload(struct tls_loaded *loaded)
{
    free_certs(loaded->chain, loaded->chain_len);
    free_certs(loaded->client_cas, loaded->client_ca_count);
    if (loaded->key != NULL)
        gnutls_x509_privkey_deinit(loaded->key);
    *loaded = (struct tls_loaded){0};
}
