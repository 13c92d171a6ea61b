#include "cursor.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void base64url_append(struct buffer *out, const char *bytes, size_t len)
{
    const unsigned char *in = (const unsigned char *)bytes;
    for (size_t i = 0; i < len; i += 3) {
        uint32_t word = (uint32_t)in[i] << 16;
        if (i + 1 < len)
            word |= (uint32_t)in[i + 1] << 8;
        if (i + 2 < len)
            word |= in[i + 2];
        size_t digits = len - i >= 3 ? 4 : len - i + 1;
        for (size_t d = 0; d < digits; d++)
            buffer_append_char(out, alphabet[word >> (18 - 6 * d) & 63]);
    }
}

/* Strict: no padding, no stray bits. Returns the length or -1. */
static long base64url_decode(const char *text, char *out)
{
    uint32_t word = 0;
    unsigned bits = 0;
    long n = 0;
    for (; *text != '\0'; text++) {
        const char *digit = strchr(alphabet, *text);
        if (digit == NULL)
            return -1;
        word = word << 6 | (uint32_t)(digit - alphabet);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[n++] = (char)(word >> bits);
            word &= (1u << bits) - 1;
        }
    }
    return bits < 6 && word == 0 ? n : -1;
}

uint64_t cursor_fingerprint(uint64_t fingerprint, const char *part)
{
    /* FNV-1a; it guards against mistakes, not against malice. */
    uint64_t hash = fingerprint != 0 ? fingerprint : 0xcbf29ce484222325u;
    for (const char *c = part != NULL ? part : "\x01"; *c != '\0'; c++)
        hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
    return (hash ^ 0xff) * 0x100000001b3u;
}

int cursor_write(struct buffer *out, const struct cursor *cursor)
{
    struct buffer plain = {0};
    buffer_printf(&plain, "1.%016" PRIx64 ".%" PRId64 ".%" PRId64 ".%s", cursor->fingerprint, cursor->after,
                  cursor->until, cursor->position);
    int r = plain.failed ? -ENOMEM : plain.len > CURSOR_MAX / 4 * 3 ? -E2BIG : 0;
    if (r == 0)
        base64url_append(out, plain.data, plain.len);
    buffer_free(&plain);
    return r != 0 ? r : out->failed ? -ENOMEM : 0;
}

bool cursor_read(const char *text, uint64_t fingerprint, char *scratch, struct cursor *ret)
{
    struct cursor cursor;
    int position = 0;
    long len = base64url_decode(text, scratch);

    if (len <= 0 || memchr(scratch, '\0', (size_t)len) != NULL)
        return false;
    scratch[len] = '\0';
    if (strspn(scratch, "0123456789abcdef.-") < 20 ||
        sscanf(scratch, "1.%16" SCNx64 ".%18" SCNd64 ".%18" SCNd64 ".%n", &cursor.fingerprint, &cursor.after,
               &cursor.until, &position) != 3 ||
        position == 0)
        return false;
    if (cursor.fingerprint != fingerprint || cursor.after < 0 || cursor.until < cursor.after ||
        scratch[position] == '\0')
        return false;
    cursor.position = scratch + position;
    *ret = cursor;
    return true;
}
