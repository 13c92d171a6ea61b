#include "tls.h"

#include "secret_file.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* TLS 1.2 and 1.3, forward secrecy, AEAD, and the server's order decides. testssl.sh finds nothing in it. */
#define PRIORITY                                                                                             \
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:-DHE-RSA:-AES-128-CBC:-AES-256-CBC:-AES-128-CCM:"       \
    "-AES-256-CCM:-SHA1:%SERVER_PRECEDENCE"
#define DIGEST_SIZE 32

struct tls {
    struct tls_files files;
    gnutls_priority_t priority;
    unsigned char seen[DIGEST_SIZE]; /* the files at the last look, good or bad */
    uv_mutex_t lock;
    struct tls_credentials *current; /* under the lock, which every new connection takes once */
};

int tls_new(const struct tls_files *files, struct tls **ret_tls)
{
    struct tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL)
        return -ENOMEM;
    tls->files = *files;
    if (gnutls_priority_init(&tls->priority, PRIORITY, NULL) != 0) {
        free(tls);
        return -ENOMEM;
    }
    if (uv_mutex_init(&tls->lock) != 0) {
        gnutls_priority_deinit(tls->priority);
        free(tls);
        return -ENOMEM;
    }
    *ret_tls = tls;
    return 0;
}

void tls_free(struct tls *tls)
{
    if (tls == NULL)
        return;
    tls_credentials_unref(tls->current);
    uv_mutex_destroy(&tls->lock);
    gnutls_priority_deinit(tls->priority);
    free(tls);
}

/* --- looking at the files ---------------------------------------------------------------------- */

/* That a file cannot be read, and why, is part of the state. */
static bool add_file(gnutls_hash_hd_t hash, const char *path)
{
    char *text = NULL;
    size_t len = 0;

    if (path == NULL || path[0] == '\0')
        return true;
    int error = secret_file_read(path, TLS_FILE_MAX, &text, &len);
    bool added = error != -ENOMEM && gnutls_hash(hash, &error, sizeof error) == 0 &&
                 gnutls_hash(hash, &len, sizeof len) == 0 && (len == 0 || gnutls_hash(hash, text, len) == 0);
    secret_file_free(text, len);
    return added;
}

static bool digest(const struct tls_files *files, unsigned char ret[DIGEST_SIZE])
{
    gnutls_hash_hd_t hash;
    if (gnutls_hash_init(&hash, GNUTLS_DIG_SHA256) != 0)
        return false;
    bool done = add_file(hash, files->cert) && add_file(hash, files->key) && add_file(hash, files->client_ca);
    gnutls_hash_deinit(hash, ret);
    return done;
}

static void take_over(struct tls *tls, struct tls_credentials *renewed)
{
    uv_mutex_lock(&tls->lock);
    struct tls_credentials *old = tls->current;
    tls->current = renewed;
    uv_mutex_unlock(&tls->lock);
    tls_credentials_unref(old);
}

enum tls_look tls_look(struct tls *tls, bool anyway, enum tls_file *ret_fault, char *message, size_t size)
{
    struct tls_credentials *renewed;
    unsigned char seen[DIGEST_SIZE];

    /* The digest comes first: what changes between the two is a change at the next look. */
    if (!digest(&tls->files, seen))
        return TLS_LOOK_FAILED;
    if (!anyway && memcmp(tls->seen, seen, sizeof seen) == 0)
        return TLS_LOOK_SAME;
    enum tls_file fault = tls_credentials_load(&tls->files, &renewed, message, size);
    if (fault == TLS_FILES_GOOD && renewed == NULL)
        return TLS_LOOK_FAILED;
    memcpy(tls->seen, seen, sizeof seen);
    if (fault != TLS_FILES_GOOD) {
        *ret_fault = fault;
        return TLS_LOOK_FAULT;
    }
    take_over(tls, renewed);
    return TLS_LOOK_RENEWED;
}

struct tls_credentials *tls_current(struct tls *tls)
{
    uv_mutex_lock(&tls->lock);
    struct tls_credentials *current = tls_credentials_ref(tls->current);
    uv_mutex_unlock(&tls->lock);
    return current;
}

gnutls_priority_t tls_priority(const struct tls *tls)
{
    return tls->priority;
}
