#include "cursor.h"

#include "base64.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

uint64_t cursor_fingerprint(uint64_t fingerprint, const char *part)
{
    /* FNV-1a; it guards against mistakes, not against malice. */
    uint64_t hash = fingerprint != 0 ? fingerprint : 0xcbf29ce484222325u;
    for (const char *c = part != NULL ? part : "\x01"; *c != '\0'; c++)
        hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
    return (hash ^ 0xff) * 0x100000001b3u;
}

static int append_base64url(struct buffer *out, const struct buffer *plain)
{
    if (buffer_reserve(out, BASE64URL_ENCODED_SIZE(plain->len)) != 0)
        return -ENOMEM;
    out->len += base64url_encode((const unsigned char *)plain->data, plain->len, out->data + out->len);
    return 0;
}

int cursor_write(struct buffer *out, const struct cursor *cursor)
{
    struct buffer plain = {0};
    buffer_printf(&plain, "1.%016" PRIx64 ".%" PRId64 ".%" PRId64 ".%s", cursor->fingerprint, cursor->after,
                  cursor->until, cursor->position);
    int r = plain.failed ? -ENOMEM : plain.len > CURSOR_MAX / 4 * 3 ? -E2BIG : 0;
    if (r == 0)
        r = append_base64url(out, &plain);
    buffer_free(&plain);
    return r;
}

bool cursor_read(const char *text, uint64_t fingerprint, char *scratch, struct cursor *ret)
{
    struct cursor cursor;
    int position = 0;
    long len = base64url_decode(text, strlen(text), (unsigned char *)scratch);

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
