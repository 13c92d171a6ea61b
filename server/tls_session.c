#include "tls_session.h"

#include <errno.h>
#include <gnutls/x509.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECORD_MAX   16384
#define INPUT_SIZE   16384
#define WARNINGS_MAX 8 /* alerts that are no end, in one call */
#define HELLO_HEAD   6 /* bytes by which a ClientHello is told */

/* How the input ended, besides an errno. */
enum { OPEN = 0, CLOSED = -1 };

struct tls_session {
    gnutls_session_t gnutls;
    struct tls_credentials *credentials;
    int fd;
    bool done;  /* the handshake */
    bool ended; /* by us */
    int socket; /* OPEN, CLOSED, or the errno of the socket */
    int over;   /* the same of what is received: TLS has an end of its own */
    unsigned hello_seen;
    bool no_hello;
    /* What was read from the socket and not yet decrypted; NULL where there is nothing. */
    unsigned char *input;
    size_t input_at, input_len;
};

/* --- from the socket to GnuTLS ----------------------------------------------------------------- */

/* A ClientHello begins with a record of type 22, version 3.x, of at most 2^14 bytes, and message type 1 (RFC
 * 8446, 4 and 5.1). GnuTLS would wait for the whole record before it looks inside. */
static bool is_hello(struct tls_session *session, const unsigned char *bytes, size_t len)
{
    for (size_t i = 0; i < len && session->hello_seen < HELLO_HEAD; i++)
        switch (session->hello_seen++) {
        case 0: session->no_hello |= bytes[i] != 22; break;
        case 1: session->no_hello |= bytes[i] != 3; break;
        case 3: session->no_hello |= bytes[i] > RECORD_MAX >> 8; break;
        case 5: session->no_hello |= bytes[i] != 1; break;
        default: break;
        }
    return !session->no_hello;
}

/* Reads until the socket says that there is no more: nothing else is sure to bring the next edge, or tells
 * the end. */
static bool fill(struct tls_session *session)
{
    if (session->socket != OPEN || session->no_hello)
        return false;
    if (session->input == NULL && (session->input = malloc(INPUT_SIZE)) == NULL) {
        session->socket = ENOMEM;
        return false;
    }
    ssize_t n = read(session->fd, session->input, INPUT_SIZE);
    if (n == 0)
        session->socket = CLOSED;
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        session->socket = errno;
    if (n <= 0 || !is_hello(session, session->input, (size_t)n))
        return false;
    session->input_at = 0;
    session->input_len = (size_t)n;
    return true;
}

/* GnuTLS is never told of the end of the connection: it would take the session for broken, and then the
 * answer to a client that has closed its half could not be sent. */
static ssize_t pull(gnutls_transport_ptr_t context, void *out, size_t size)
{
    struct tls_session *session = context;
    if (session->input_at == session->input_len && !fill(session)) {
        gnutls_transport_set_errno(session->gnutls, EAGAIN);
        return -1;
    }
    size_t n = session->input_len - session->input_at;
    if (n > size)
        n = size;
    memcpy(out, session->input + session->input_at, n);
    session->input_at += n;
    return (ssize_t)n;
}

/* Sessions have no timeouts of GnuTLS's (connections.h), so it never asks whether waiting would help. */
static int pull_timeout(gnutls_transport_ptr_t context, unsigned ms)
{
    const struct tls_session *session = context;
    return session->input_at < session->input_len;
}

static void drop_input(struct tls_session *session)
{
    if (session->input_at < session->input_len)
        return;
    free(session->input);
    session->input = NULL;
}

/* --- a session --------------------------------------------------------------------------------- */

static int ask_for_certificate(gnutls_session_t gnutls)
{
    static char purpose[] = GNUTLS_KP_TLS_WWW_CLIENT;
    static gnutls_typed_vdata_st wanted[] = {
        {.type = GNUTLS_DT_KEY_PURPOSE_OID, .data = (unsigned char *)purpose, .size = sizeof purpose - 1}};

    gnutls_certificate_server_set_request(gnutls, GNUTLS_CERT_REQUIRE);
    gnutls_session_set_verify_cert2(gnutls, wanted, sizeof wanted / sizeof *wanted, 0);
    return 0;
}

static int set_up(struct tls_session *session, struct tls *tls)
{
    static unsigned char name[] = "http/1.1";
    static const gnutls_datum_t http = {.data = name, .size = sizeof name - 1};
    struct tls_credentials *credentials = session->credentials;
    gnutls_session_t gnutls = session->gnutls;
    int r;

    if ((r = gnutls_priority_set(gnutls, tls_priority(tls))) != 0 ||
        (r = gnutls_credentials_set(gnutls, GNUTLS_CRD_CERTIFICATE, credentials->gnutls)) != 0 ||
        (r = gnutls_alpn_set_protocols(gnutls, &http, 1, 0)) != 0)
        return r;
    if (credentials->ask_client && (r = ask_for_certificate(gnutls)) != 0)
        return r;
    if (credentials->ticket_key.data != NULL &&
        (r = gnutls_session_ticket_enable_server(gnutls, &credentials->ticket_key)) != 0)
        return r;
    gnutls_transport_set_ptr2(gnutls, session, (gnutls_transport_ptr_t)(intptr_t)session->fd);
    gnutls_transport_set_pull_function(gnutls, pull);
    gnutls_transport_set_pull_timeout_function(gnutls, pull_timeout);
    return 0;
}

int tls_session_new(struct tls *tls, int fd, struct tls_session **ret_session)
{
    struct tls_session *session = calloc(1, sizeof *session);
    if (session == NULL)
        return -ENOMEM;
    session->fd = fd;
    session->credentials = tls_current(tls);
    unsigned flags = GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL;
    if (session->credentials->ticket_key.data == NULL)
        flags |= GNUTLS_NO_TICKETS;
    if (gnutls_init(&session->gnutls, flags) != 0 || set_up(session, tls) != 0) {
        tls_session_free(session);
        return -ENOMEM;
    }
    *ret_session = session;
    return 0;
}

void tls_session_free(struct tls_session *session)
{
    if (session == NULL)
        return;
    if (session->gnutls != NULL)
        gnutls_deinit(session->gnutls);
    tls_credentials_unref(session->credentials);
    free(session->input);
    free(session);
}

void tls_session_move(struct tls_session *session, int fd)
{
    session->fd = fd;
    gnutls_transport_set_ptr2(session->gnutls, session, (gnutls_transport_ptr_t)(intptr_t)fd);
}

/* --- the handshake ----------------------------------------------------------------------------- */

static int judge_handshake(struct tls_session *session, int r)
{
    if (r == GNUTLS_E_SUCCESS)
        return 0;
    if (r == GNUTLS_E_AGAIN) {
        bool waits_for_client = gnutls_record_get_direction(session->gnutls) == 0 &&
                                session->socket == OPEN && !session->no_hello;
        /* What a handshake has to say fits into the buffer of a new connection: who makes it wait to write is
         * not in one. */
        return waits_for_client ? -EAGAIN : -EPROTO;
    }
    gnutls_alert_send_appropriate(session->gnutls, r);
    return -EPROTO;
}

int tls_session_handshake(struct tls_session *session)
{
    unsigned warnings = 0;
    int r;

    if (session->done)
        return 0;
    do
        r = gnutls_handshake(session->gnutls);
    while (r < 0 && r != GNUTLS_E_AGAIN && !gnutls_error_is_fatal(r) && ++warnings < WARNINGS_MAX);
    r = judge_handshake(session, r);
    session->done = r == 0;
    if (!session->done) /* else what the client said next is read at once */
        drop_input(session);
    return r;
}

/* --- data -------------------------------------------------------------------------------------- */

/* What GnuTLS returned instead of data; false where it is to be asked again. */
static bool judge_end(struct tls_session *session, ssize_t r, unsigned *warnings)
{
    if (r == GNUTLS_E_AGAIN) {
        session->over = session->socket;
        return true;
    }
    if (r == GNUTLS_E_INTERRUPTED || (r == GNUTLS_E_WARNING_ALERT_RECEIVED && ++*warnings < WARNINGS_MAX))
        return false;
    session->over = r == 0 ? CLOSED : ECONNRESET;
    if (r < 0)
        gnutls_alert_send_appropriate(session->gnutls, (int)r);
    return true;
}

ssize_t tls_session_receive(struct tls_session *session, void *buffer, size_t size)
{
    unsigned warnings = 0;
    size_t have = 0;
    bool more = session->over == OPEN;

    while (have < size && more) {
        ssize_t r = gnutls_record_recv(session->gnutls, (char *)buffer + have, size - have);
        if (r > 0)
            have += (size_t)r;
        else
            more = !judge_end(session, r, &warnings);
    }
    drop_input(session);
    if (have > 0) {
        if (session->over != OPEN)
            shutdown(session->fd, SHUT_RD); /* an edge, so that the end is asked for */
        return (ssize_t)have;
    }
    /* HTTP has ends of its own, so a connection that just ends cannot cut anything off unseen. */
    if (session->over == CLOSED)
        return 0;
    errno = session->over == OPEN ? EAGAIN : session->over;
    return -1;
}

/* A head and the beginning of its body leave as one record. GnuTLS wants the same bytes again after EAGAIN,
 * and gets them: they are what the caller has not got rid of. */
static struct iovec first_record(const struct iovec *pieces, size_t count, char record[RECORD_MAX])
{
    if (count == 1 || pieces[0].iov_len >= RECORD_MAX)
        return pieces[0];
    size_t len = 0;
    for (size_t i = 0; i < count && len < RECORD_MAX; i++) {
        size_t n = pieces[i].iov_len < RECORD_MAX - len ? pieces[i].iov_len : RECORD_MAX - len;
        memcpy(record + len, pieces[i].iov_base, n);
        len += n;
    }
    return (struct iovec){.iov_base = record, .iov_len = len};
}

/* The bytes from `sent` on, up to the end of their piece. */
static struct iovec rest(const struct iovec *pieces, size_t count, size_t sent)
{
    for (size_t i = 0; i < count; i++) {
        if (sent < pieces[i].iov_len)
            return (struct iovec){.iov_base = (char *)pieces[i].iov_base + sent,
                                  .iov_len = pieces[i].iov_len - sent};
        sent -= pieces[i].iov_len;
    }
    return (struct iovec){0};
}

ssize_t tls_session_send(struct tls_session *session, const struct iovec *pieces, size_t count)
{
    char record[RECORD_MAX];
    struct iovec next = first_record(pieces, count, record);
    size_t sent = 0;

    while (next.iov_len > 0) {
        ssize_t r = gnutls_record_send(session->gnutls, next.iov_base, next.iov_len);
        if (r == GNUTLS_E_INTERRUPTED)
            continue;
        if (r < 0) {
            if (sent > 0)
                break;
            errno = r == GNUTLS_E_AGAIN ? EAGAIN : EPIPE;
            return -1;
        }
        sent += (size_t)r;
        next = rest(pieces, count, sent);
    }
    return (ssize_t)sent;
}

void tls_session_end(struct tls_session *session)
{
    if (!session->done || session->ended)
        return;
    session->ended = true;
    (void)!gnutls_bye(session->gnutls, GNUTLS_SHUT_WR);
}
