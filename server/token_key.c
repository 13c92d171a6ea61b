#include "token_key.h"

#include "base64.h"
#include "jwk_set.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEW_RSA_BITS  2048
#define KEY_FILE_MAX  (32 * 1024) /* an RSA key of 8,192 bits has 6.5 kB */
#define P256_BYTES    32
#define NUMBER_MAX    1024
#define SHA256_SIZE   32
#define COUNT(array)  (sizeof(array) / sizeof(array)[0])
#define PUBLIC_MODE   0644
#define PRIVATE_MODE  0600
#define TEMPORARY_END ".XXXXXX"

/* --- files ------------------------------------------------------------------------------------- */

static int write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        bytes += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Writes, gives the file its mode whatever the umask, and closes it. */
static int finish_file(int fd, const char *bytes, size_t len, mode_t mode)
{
    int r = write_all(fd, bytes, len);
    if (r == 0 && (fchmod(fd, mode) != 0 || fsync(fd) != 0))
        r = -errno;
    if (close(fd) != 0 && r == 0)
        r = -errno;
    return r;
}

/* -EFBIG for more than fits. */
static int read_file(const char *path, char *out, size_t size, size_t *ret_len)
{
    size_t len = 0;
    int r = 0, fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    for (;;) {
        ssize_t n = read(fd, out + len, size - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            r = -errno;
        if (n <= 0)
            break;
        len += (size_t)n;
        if (len == size) {
            r = -EFBIG;
            break;
        }
    }
    close(fd);
    if (r == 0)
        *ret_len = len;
    return r;
}

/* --- the private key --------------------------------------------------------------------------- */

/* Nobody is there to be asked for a passphrase. */
static int no_passphrase(char *out, int size, int writing, void *ctx)
{
    return 0;
}

static int read_key(const char *path, EVP_PKEY **ret_key)
{
    EVP_PKEY *key = NULL;
    size_t len = 0;
    char *text = OPENSSL_malloc(KEY_FILE_MAX);
    if (text == NULL)
        return -ENOMEM;
    int r = read_file(path, text, KEY_FILE_MAX, &len);
    if (r == 0) {
        BIO *bio = BIO_new_mem_buf(text, (int)len);
        key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
        BIO_free(bio);
        r = key != NULL ? 0 : -EKEYREJECTED;
    }
    if (r == -EFBIG)
        r = -EKEYREJECTED;
    OPENSSL_clear_free(text, KEY_FILE_MAX);
    if (r == 0)
        *ret_key = key;
    return r;
}

static int private_pem(EVP_PKEY *key, BIO **ret_pem)
{
    BIO *pem = BIO_new(BIO_s_mem());
    if (pem == NULL || PEM_write_bio_PrivateKey(pem, key, NULL, NULL, 0, NULL, NULL) != 1) {
        BIO_free(pem);
        return -ENOMEM;
    }
    *ret_pem = pem;
    return 0;
}

/* What could not be written whole is removed again: half a key would be in the way for ever. */
static int save_key(const char *path, BIO *pem)
{
    char *text = NULL;
    long len = BIO_get_mem_data(pem, &text);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, PRIVATE_MODE);
    if (fd < 0)
        return -errno;
    int r = finish_file(fd, text, (size_t)len, PRIVATE_MODE);
    if (r != 0)
        unlink(path);
    return r;
}

static int make_key(const char *path, struct token_key *key)
{
    if ((key->key = EVP_RSA_gen(NEW_RSA_BITS)) == NULL)
        return -ENOMEM;
    int r = private_pem(key->key, &key->pem);
    return r == 0 ? save_key(path, key->pem) : r;
}

/* --- the public part --------------------------------------------------------------------------- */

/* A member's number in base64url; `bytes` 0: as few as it takes. */
static int append_member(struct buffer *out, const EVP_PKEY *key, const char *param, int bytes)
{
    unsigned char number[NUMBER_MAX];
    char text[BASE64URL_ENCODED_SIZE(NUMBER_MAX)];
    BIGNUM *value = NULL;

    if (EVP_PKEY_get_bn_param(key, param, &value) != 1)
        return -EKEYREJECTED;
    if (bytes == 0)
        bytes = BN_num_bytes(value);
    int written = bytes <= NUMBER_MAX ? BN_bn2binpad(value, number, bytes) : -1;
    BN_free(value);
    if (written != bytes)
        return -EKEYREJECTED;
    buffer_append(out, text, base64url_encode(number, (size_t)bytes, text));
    return 0;
}

struct member {
    const char *name, *param; /* NULL param: `text` stands as it is */
    const char *text;
    int bytes;
};

/* In the order of RFC 7638 section 3.2, which the thumbprint is taken over. */
static const struct member rsa_members[] = {
    {"e", OSSL_PKEY_PARAM_RSA_E},
    {"kty", NULL, "RSA"},
    {"n", OSSL_PKEY_PARAM_RSA_N},
};
static const struct member ec_members[] = {
    {"crv", NULL, "P-256"},
    {"kty", NULL, "EC"},
    {"x", OSSL_PKEY_PARAM_EC_PUB_X, NULL, P256_BYTES},
    {"y", OSSL_PKEY_PARAM_EC_PUB_Y, NULL, P256_BYTES},
};

static const struct kind {
    const char *type, *alg_name;
    jwt_alg_t alg;
    const struct member *members;
    size_t count;
} kinds[] = {
    {"RSA", "RS256", JWT_ALG_RS256, rsa_members, COUNT(rsa_members)},
    {"EC", "ES256", JWT_ALG_ES256, ec_members, COUNT(ec_members)},
};

static int append_members(struct buffer *out, const EVP_PKEY *key, const struct kind *kind)
{
    for (size_t i = 0; i < kind->count; i++) {
        const struct member *member = &kind->members[i];
        buffer_printf(out, "%s\"%s\":\"", i > 0 ? "," : "", member->name);
        if (member->param == NULL)
            buffer_append_text(out, member->text);
        else {
            int r = append_member(out, key, member->param, member->bytes);
            if (r != 0)
                return r;
        }
        buffer_append_char(out, '"');
    }
    return 0;
}

static int describe(struct token_key *key, const struct kind *kind)
{
    unsigned char thumbprint[SHA256_SIZE];
    struct buffer members = {0};

    int r = append_members(&members, key->key, kind);
    if (r != 0)
        goto out;
    buffer_printf(&key->set, "{%.*s}", (int)members.len, members.data);
    r = -ENOMEM;
    if (members.failed || key->set.failed ||
        EVP_Digest(key->set.data, key->set.len, thumbprint, NULL, EVP_sha256(), NULL) != 1)
        goto out;
    base64url_encode(thumbprint, sizeof thumbprint, key->kid);
    buffer_clear(&key->set);
    buffer_printf(&key->set, "{\"keys\":[{\"kid\":\"%s\",\"use\":\"sig\",\"alg\":\"%s\",%.*s}]}\n", key->kid,
                  kind->alg_name, (int)members.len, members.data);
    r = key->set.failed ? -ENOMEM : 0;
out:
    buffer_free(&members);
    return r;
}

/* The set is right when the server's own reader takes it: size, curve and all. */
static int check_set(const struct token_key *key)
{
    struct jwk_set *set = NULL;
    int r = jwk_set_parse(key->set.data, key->set.len, &set);
    jwk_set_unref(set);
    return r == -EINVAL ? -EKEYREJECTED : r;
}

/* --- all of it --------------------------------------------------------------------------------- */

int token_key_open(const char *path, struct token_key *ret)
{
    struct token_key key = {0};
    size_t kind = 0;

    int r = read_key(path, &key.key);
    if (r == -ENOENT)
        r = make_key(path, &key);
    else if (r == 0)
        r = private_pem(key.key, &key.pem);
    if (r != 0)
        goto fail;
    while (kind < COUNT(kinds) && !EVP_PKEY_is_a(key.key, kinds[kind].type))
        kind++;
    r = -EKEYREJECTED;
    if (kind == COUNT(kinds))
        goto fail;
    key.alg = kinds[kind].alg;
    if ((r = describe(&key, &kinds[kind])) != 0 || (r = check_set(&key)) != 0)
        goto fail;
    *ret = key;
    return 0;
fail:
    token_key_clear(&key);
    ERR_clear_error();
    return r;
}

void token_key_clear(struct token_key *key)
{
    EVP_PKEY_free(key->key);
    BIO_free(key->pem);
    buffer_free(&key->set);
    *key = (struct token_key){0};
}

int token_key_write_set(const struct token_key *key, const char *path)
{
    char *temporary = NULL;
    if (asprintf(&temporary, "%s" TEMPORARY_END, path) < 0)
        return -ENOMEM;
    int r, fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) {
        r = -errno;
        goto out;
    }
    r = finish_file(fd, key->set.data, key->set.len, PUBLIC_MODE);
    if (r == 0 && rename(temporary, path) != 0)
        r = -errno;
    if (r != 0)
        unlink(temporary);
out:
    free(temporary);
    return r;
}
