#include "tls_credentials.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void describe(struct tls_credentials *credentials, gnutls_x509_crt_t own)
{
    unsigned char serial[TLS_SERIAL_SIZE / 2];
    size_t size = sizeof serial;

    credentials->not_after = gnutls_x509_crt_get_expiration_time(own);
    if (gnutls_x509_crt_get_serial(own, serial, &size) == 0)
        for (size_t i = 0; i < size; i++)
            snprintf(credentials->serial + 2 * i, 3, "%02X", serial[i]);
}

/* GnuTLS copies what it is given. */
static bool fill(struct tls_credentials *credentials, const struct tls_loaded *loaded)
{
    if (gnutls_certificate_allocate_credentials(&credentials->gnutls) != 0 ||
        gnutls_certificate_set_x509_key(credentials->gnutls, loaded->chain, (int)loaded->chain_len,
                                        loaded->key) < 0)
        return false;
    credentials->ask_client = loaded->client_cas != NULL;
    if (!credentials->ask_client)
        return gnutls_session_ticket_key_generate(&credentials->ticket_key) == 0;
    return gnutls_certificate_set_x509_trust(credentials->gnutls, loaded->client_cas,
                                             (int)loaded->client_ca_count) >= 0;
}

enum tls_file tls_credentials_load(const struct tls_files *files, struct tls_credentials **ret_credentials,
                                   char *message, size_t size)
{
    struct tls_loaded loaded;
    enum tls_file fault = tls_files_load(files, &loaded, message, size);
    if (fault != TLS_FILES_GOOD)
        return fault;

    struct tls_credentials *credentials = calloc(1, sizeof *credentials);
    if (credentials != NULL) {
        atomic_init(&credentials->references, 1);
        describe(credentials, loaded.chain[0]);
        if (!fill(credentials, &loaded)) {
            tls_credentials_unref(credentials);
            credentials = NULL;
        }
    }
    tls_files_unload(&loaded);
    *ret_credentials = credentials;
    return TLS_FILES_GOOD;
}

struct tls_credentials *tls_credentials_ref(struct tls_credentials *credentials)
{
    atomic_fetch_add_explicit(&credentials->references, 1, memory_order_relaxed);
    return credentials;
}

void tls_credentials_unref(struct tls_credentials *credentials)
{
    if (credentials == NULL ||
        atomic_fetch_sub_explicit(&credentials->references, 1, memory_order_acq_rel) != 1)
        return;
    if (credentials->gnutls != NULL)
        gnutls_certificate_free_credentials(credentials->gnutls);
    if (credentials->ticket_key.data != NULL) {
        explicit_bzero(credentials->ticket_key.data, credentials->ticket_key.size);
        gnutls_free(credentials->ticket_key.data);
    }
    free(credentials);
}
