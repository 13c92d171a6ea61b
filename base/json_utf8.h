/*
 * json_utf8.h - the bytes of JSON strings: strict UTF-8, and strings compared by what they mean.
 *
 * Internal to base/json_*.c and to scanners that name members (clients/cosmos_page.c).
 *
 * The decoded form of a string is its UTF-8 after escapes; a lone surrogate escape, which RFC 8259 allows,
 * becomes the three bytes that UTF-8 would give it if it could (ED A0 80 .. ED BF BF). No raw text holds
 * those, so two strings are equal exactly when their decoded bytes are.
 */
#ifndef TELEMETRYD_JSON_UTF8_H
#define TELEMETRYD_JSON_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the non-ASCII character at p, or 0 where it is not UTF-8 (RFC 3629, section 4: no overlong forms,
 * no surrogates, nothing past U+10FFFF, not cut off by end). p < end. */
static inline size_t json_utf8_length(const char *p, const char *end)
{
    const unsigned char *s = (const unsigned char *)p;
    size_t left = (size_t)(end - p);

    if (s[0] < 0xC2 || s[0] > 0xF4 || left < 2)
        return 0;
    if (s[0] < 0xE0)
        return (s[1] & 0xC0) == 0x80 ? 2 : 0;
    if (left < 3 || (s[1] & 0xC0) != 0x80 || (s[2] & 0xC0) != 0x80)
        return 0;
    if (s[0] < 0xF0) {
        bool overlong = s[0] == 0xE0 && s[1] < 0xA0;
        bool surrogate = s[0] == 0xED && s[1] >= 0xA0;
        return overlong || surrogate ? 0 : 3;
    }
    bool overlong = s[0] == 0xF0 && s[1] < 0x90;
    bool too_large = s[0] == 0xF4 && s[1] >= 0x90;
    return left < 4 || (s[3] & 0xC0) != 0x80 || overlong || too_large ? 0 : 4;
}

/* Yields the decoded bytes of a string's inside (without its quotes), one at a time. The text was checked. */
struct json_bytes {
    const char *at, *end;
    unsigned char pending[4]; /* what an escape decoded to */
    unsigned char count, next;
    bool lone_surrogate; /* one was met */
};

static inline struct json_bytes json_bytes(const char *text, size_t len)
{
    return (struct json_bytes){.at = text, .end = text + len};
}

/* The next byte, 0 to 255; -1 at the end, and where an escape is broken (in a checked text none is). */
int json_bytes_next(struct json_bytes *bytes);

/* Orders two insides by their decoded bytes: negative, 0 or positive as memcmp. */
int json_bytes_compare(struct json_bytes a, struct json_bytes b);

#endif
