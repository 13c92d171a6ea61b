/*
 * tls_files.h - the PEM files of the server's TLS: its certificate chain, the key, the CAs of its clients.
 *
 * Read with the library that serves with them (GnuTLS), so that what passes here can be served. The key's
 * text is cleared after use; nothing ever asks for a passphrase. A file has at most TLS_FILE_MAX bytes.
 *
 * Threads: any; blocks for the time of reading the files.
 */
#ifndef TELEMETRYD_TLS_FILES_H
#define TELEMETRYD_TLS_FILES_H

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stddef.h>

#define TLS_FILE_MAX (1024 * 1024)

/* Paths; "" or NULL: not set. */
struct tls_files {
    const char *cert;      /* the server's certificate first, then what leads to its CA */
    const char *key;       /* of the first certificate; not encrypted */
    const char *client_ca; /* one CA certificate or more; may be unset */
};

/* The one at fault. */
enum tls_file {
    TLS_FILES_GOOD,
    TLS_FILE_CERT,
    TLS_FILE_KEY,
    TLS_FILE_PAIR, /* each is good, but they do not belong together */
    TLS_FILE_CLIENT_CA,
};

/* What was in the files; the owner frees it. */
struct tls_loaded {
    gnutls_x509_crt_t *chain;
    unsigned chain_len;
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t *client_cas; /* NULL: none were asked for */
    unsigned client_ca_count;
};

/* Reads and checks the files. TLS_FILES_GOOD and *ret filled, or the file at fault and what is wrong with it,
 * without its name, in message. */
enum tls_file tls_files_load(const struct tls_files *files, struct tls_loaded *ret, char *message,
                             size_t size);

/* As tls_files_load(), for the verdict alone. */
enum tls_file tls_files_check(const struct tls_files *files, char *message, size_t size);

/* All zero afterwards; accepts what is all zero. */
void tls_files_unload(struct tls_loaded *loaded);

#endif
