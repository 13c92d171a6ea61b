/*
 * framing.h - vets the raw bytes of HTTP/1.x requests before libmicrohttpd parses them.
 *
 * libmicrohttpd 0.9.75 is lax about framing (two Content-Lengths, Content-Length beside Transfer-Encoding,
 * white space before the colon, bare LF, NUL, unknown codings, ...), and what it refuses it refuses in HTML.
 * So every byte read from a client passes through framing_feed() first; bytes that are not beyond doubt are
 * never seen by the parser behind it.
 *
 * Source: RFC 9112 (sections 2.2, 3, 5, 6, 7.1), RFC 9110 (5.5, 7.2, 10.1.1), strictly: CRLF only, no
 * obs-fold, one Host.
 *
 * Pure: no allocation, no I/O, no clock. One struct per connection, zeroed at its start.
 */
#ifndef TELEMETRYD_FRAMING_H
#define TELEMETRYD_FRAMING_H

#include "problem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAMING_TARGET_MAX 8192  /* bytes of the request target; more is 414 */
#define FRAMING_HEAD_MAX   18432 /* bytes of request line and header fields; more is 431 */
#define FRAMING_FIELDS_MAX 100   /* header fields; more is 431 */
#define FRAMING_LINE_MAX   1024  /* bytes of a chunk-size line */

struct framing {
    uint8_t state;          /* private: what the next byte belongs to */
    bool fault;             /* nothing more is let through */
    enum problem_code code; /* with fault: what to answer */
    const char *detail;     /* with fault: static text */

    /* private: the request under way */
    uint8_t field; /* which of the fields we judge */
    bool judged;   /* it is one of them */
    bool http_1_0, te, cl, host, expect;
    uint8_t matched, seen; /* how far a fixed text is matched; bytes of the token so far (saturating) */
    uint16_t fields;
    uint32_t target_len, head_len, line_len;
    uint64_t body_left; /* of the body, or of the chunk */
    char token[24];     /* method or field name, lower-case */
};

/* Judges bytes in the order they came. Returns how many may be passed on; fewer than len only with f->fault
 * set, and then bytes of the request at fault that lie in this piece are held back as well. */
size_t framing_feed(struct framing *f, const char *bytes, size_t len);

/* Between requests: not one byte of the next head has come. */
bool framing_idle(const struct framing *f);
/* The head of a request has begun and is not complete. */
bool framing_in_head(const struct framing *f);

#endif
