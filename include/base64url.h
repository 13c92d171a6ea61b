/*
 * base64url.h - base64url without padding (RFC 4648 section 5, as RFC 7515 section 2 uses it), strict: one
 * text for one run of bytes.
 *
 * A length that no bytes have, a character outside A-Za-z0-9-_ (padding and white space included) and bits
 * set behind the last byte are refused. Pure functions; nothing is allocated.
 */
#ifndef TELEMETRYD_BASE64URL_H
#define TELEMETRYD_BASE64URL_H

#include <stddef.h>

#define BASE64URL_ENCODED_SIZE(bytes) (((bytes)*4 + 2) / 3 + 1) /* with a NUL */
#define BASE64URL_DECODED_SIZE(chars) ((chars) / 4 * 3 + 2)

/* Returns the number of bytes written to out, or -1 (what was written until then means nothing). out needs
 * BASE64URL_DECODED_SIZE(len) bytes. */
long base64url_decode(const char *text, size_t len, unsigned char *out);

/* Writes the text and a NUL; returns its length. */
size_t base64url_encode(const unsigned char *bytes, size_t len, char *out);

#endif
