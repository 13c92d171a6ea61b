/*
 * tls_credentials.h - one state of the certificate files (tls_files.h), ready for use: the chain with its
 * key, the CAs of the clients, and a fresh key for session tickets.
 *
 * Immutable and counted: a session keeps the credentials that it began with, however often the files are
 * renewed meanwhile. The ticket key belongs to them, so that no session of an older certificate is resumed
 * under a newer one. Clients that must show a certificate never resume: a ticket would outlive it.
 *
 * Threads: any. Loading blocks for as long as the files take.
 */
#ifndef TELEMETRYD_TLS_CREDENTIALS_H
#define TELEMETRYD_TLS_CREDENTIALS_H

#include "tls_files.h"

#include <gnutls/gnutls.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#define TLS_SERIAL_SIZE 43 /* hexadecimal digits of 21 bytes (RFC 5280, 4.1.2.2) and the end */

struct tls_credentials {
    gnutls_certificate_credentials_t gnutls;
    gnutls_datum_t ticket_key; /* without data where sessions are not resumed */
    bool ask_client;
    char serial[TLS_SERIAL_SIZE]; /* of the server's certificate */
    time_t not_after;             /* of the same */
    atomic_uint references;       /* private */
};

/* TLS_FILES_GOOD and *ret_credentials, or the file at fault and the reason, without the file's name, in
 * message; with *ret_credentials NULL and TLS_FILES_GOOD it was memory. */
enum tls_file tls_credentials_load(const struct tls_files *files, struct tls_credentials **ret_credentials,
                                   char *message, size_t size);

struct tls_credentials *tls_credentials_ref(struct tls_credentials *credentials);
void tls_credentials_unref(struct tls_credentials *credentials); /* accepts NULL */

#endif
