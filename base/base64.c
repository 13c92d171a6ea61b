#include "base64.h"

#include <stdint.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* last_two: the characters of 62 and 63, in which the alphabets differ. */
static int value_of(char c, const char *last_two)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == last_two[0] ? 62 : c == last_two[1] ? 63 : -1;
}

static long decode(const char *text, size_t len, const char *last_two, unsigned char *out)
{
    uint32_t bits = 0;
    unsigned waiting = 0; /* bits that are not a byte yet */
    size_t written = 0;

    if (len % 4 == 1)
        return -1;
    for (size_t i = 0; i < len; i++) {
        int value = value_of(text[i], last_two);
        if (value < 0)
            return -1;
        bits = bits << 6 | (uint32_t)value;
        waiting += 6;
        if (waiting >= 8) {
            waiting -= 8;
            out[written++] = (unsigned char)(bits >> waiting);
        }
    }
    return (bits & ((1u << waiting) - 1)) == 0 ? (long)written : -1;
}

long base64_decode(const char *text, size_t len, unsigned char *out, size_t out_size)
{
    size_t padding = 0;
    while (padding < 2 && padding < len && text[len - 1 - padding] == '=')
        padding++;
    if (len % 4 != 0 || len / 4 * 3 - padding > out_size)
        return -1;
    return decode(text, len - padding, "+/", out);
}

long base64url_decode(const char *text, size_t len, unsigned char *out)
{
    return decode(text, len, "-_", out);
}

size_t base64url_encode(const unsigned char *bytes, size_t len, char *out)
{
    uint32_t bits = 0;
    unsigned waiting = 0;
    size_t written = 0;

    for (size_t i = 0; i < len; i++) {
        bits = bits << 8 | bytes[i];
        for (waiting += 8; waiting >= 6;) {
            waiting -= 6;
            out[written++] = alphabet[bits >> waiting & 63];
        }
    }
    if (waiting > 0)
        out[written++] = alphabet[bits << (6 - waiting) & 63];
    out[written] = '\0';
    return written;
}
