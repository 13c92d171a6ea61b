/*
 * base64.h - base64 with padding (RFC 4648 section 4) and base64url without (section 5, as RFC 7515 section 2
 * uses it), both strict: one text for one run of bytes.
 *
 * A length that no bytes have, a character outside of the alphabet (white space included, and padding where
 * it does not belong) and bits set behind the last byte are refused. EVP_DecodeBlock takes all of these, and
 * writes past its result. Pure functions; nothing is allocated. out may be the text's own memory.
 */
#ifndef TELEMETRYD_BASE64_H
#define TELEMETRYD_BASE64_H

#include <stddef.h>

#define BASE64URL_ENCODED_SIZE(bytes) (((bytes)*4 + 2) / 3 + 1) /* with a NUL */
#define BASE64URL_DECODED_SIZE(chars) ((chars) / 4 * 3 + 2)

/* Returns the number of bytes written to out, at most out_size, or -1. */
long base64_decode(const char *text, size_t len, unsigned char *out, size_t out_size);

/* Returns the number of bytes written to out, or -1 (what was written until then means nothing). out needs
 * BASE64URL_DECODED_SIZE(len) bytes. */
long base64url_decode(const char *text, size_t len, unsigned char *out);

/* Writes the text and a NUL; returns its length. */
size_t base64url_encode(const unsigned char *bytes, size_t len, char *out);

#endif
