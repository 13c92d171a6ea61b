/*
 * tls.h - the server's side of TLS for the whole process: which certificate is in use, and its renewal.
 *
 * The files are told apart by their content, so it does not matter how they are replaced: rewritten, renamed
 * over, a link on their way swapped. What does not fit together, or is half written, is told once, and what
 * was in use stays. No connection is dropped: each keeps the credentials that it began with.
 *
 * Threads: tls_current() and tls_priority() any; the rest one at a time.
 */
#ifndef TELEMETRYD_TLS_H
#define TELEMETRYD_TLS_H

#include "tls_credentials.h"

/* The value of Strict-Transport-Security, which goes with every answer under TLS (RFC 6797). */
#define TLS_HSTS "max-age=31536000"

struct tls;

enum tls_look {
    TLS_LOOK_SAME,    /* as at the last look */
    TLS_LOOK_RENEWED, /* in use from now on */
    TLS_LOOK_FAULT,   /* not fit for use: see the fault and the message */
    TLS_LOOK_FAILED,  /* out of memory and the like: look again */
};

/* The paths stay the caller's, for as long as this lives. 0 or -ENOMEM; nothing is read yet. */
int tls_new(const struct tls_files *files, struct tls **ret_tls);
void tls_free(struct tls *tls); /* accepts NULL */

/* Takes the files where they have changed since the last look, or `anyway`. The first look must end with
 * TLS_LOOK_RENEWED before there can be sessions. message: text for an operator, without a path. */
enum tls_look tls_look(struct tls *tls, bool anyway, enum tls_file *ret_fault, char *message, size_t size);

/* What is in use; the reference is the caller's. */
struct tls_credentials *tls_current(struct tls *tls);

/* Constant: versions and ciphers. */
gnutls_priority_t tls_priority(const struct tls *tls);

#endif
