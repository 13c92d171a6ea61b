#include "json_utf8.h"

#include <string.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The code unit of the \uXXXX at p; -1 where there is none. */
static long code_unit(const char *p, const char *end)
{
    if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
        return -1;
    long unit = 0;
    for (int i = 2; i < 6; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0)
            return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

static void encode(struct json_bytes *bytes, long code)
{
    unsigned char *out = bytes->pending;
    unsigned char n = 0;

    if (code < 0x80) {
        out[n++] = (unsigned char)code;
    } else if (code < 0x800) {
        out[n++] = (unsigned char)(0xC0 | code >> 6);
        out[n++] = (unsigned char)(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        out[n++] = (unsigned char)(0xE0 | code >> 12);
        out[n++] = (unsigned char)(0x80 | (code >> 6 & 0x3F));
        out[n++] = (unsigned char)(0x80 | (code & 0x3F));
    } else {
        out[n++] = (unsigned char)(0xF0 | code >> 18);
        out[n++] = (unsigned char)(0x80 | (code >> 12 & 0x3F));
        out[n++] = (unsigned char)(0x80 | (code >> 6 & 0x3F));
        out[n++] = (unsigned char)(0x80 | (code & 0x3F));
    }
    bytes->count = n;
    bytes->next = 0;
}

/* Decodes the escape at bytes->at, which is a backslash. False where it is broken. */
static bool unescape(struct json_bytes *bytes)
{
    static const char short_names[] = "\"\\/bfnrt";
    static const char short_values[] = "\"\\/\b\f\n\r\t";

    if (bytes->end - bytes->at < 2)
        return false;
    if (bytes->at[1] != 'u') {
        const char *found = memchr(short_names, bytes->at[1], sizeof short_names - 1);
        if (found == NULL)
            return false;
        encode(bytes, short_values[found - short_names]);
        bytes->at += 2;
        return true;
    }
    long code = code_unit(bytes->at, bytes->end);
    if (code < 0)
        return false;
    bytes->at += 6;
    if (code >= 0xD800 && code <= 0xDFFF) {
        long low = code_unit(bytes->at, bytes->end);
        if (code <= 0xDBFF && low >= 0xDC00 && low <= 0xDFFF) {
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
            bytes->at += 6;
        } else {
            bytes->lone_surrogate = true;
        }
    }
    encode(bytes, code);
    return true;
}

int json_bytes_next(struct json_bytes *bytes)
{
    if (bytes->next == bytes->count) {
        if (bytes->at == bytes->end)
            return -1;
        if (*bytes->at != '\\')
            return (unsigned char)*bytes->at++;
        if (!unescape(bytes))
            return -1;
    }
    return bytes->pending[bytes->next++];
}

int json_bytes_compare(struct json_bytes a, struct json_bytes b)
{
    /* What both begin with and has no escape needs no decoding. */
    while (a.at < a.end && b.at < b.end && *a.at == *b.at && *a.at != '\\') {
        a.at++;
        b.at++;
    }
    for (;;) {
        int x = json_bytes_next(&a);
        int y = json_bytes_next(&b);
        if (x != y)
            return x < y ? -1 : 1;
        if (x < 0)
            return 0;
    }
}
