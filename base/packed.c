#include "packed.h"

#include <errno.h>
#include <string.h>

void packed_put_varint(struct buffer *out, uint64_t value)
{
    for (; value >= 128; value >>= 7)
        buffer_append_char(out, (char)(value | 128));
    buffer_append_char(out, (char)value);
}

void packed_put_word(struct buffer *out, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        buffer_append_char(out, (char)(value >> (8 * i)));
}

int packed_append_text(struct buffer *out, const struct buffer *bytes)
{
    if (bytes->failed || buffer_reserve(out, BASE64URL_ENCODED_SIZE(bytes->len)) != 0)
        return -ENOMEM;
    out->len += base64url_encode((const unsigned char *)bytes->data, bytes->len, out->data + out->len);
    return 0;
}

struct packed packed_read_text(const char *text, size_t max, unsigned char *bytes)
{
    size_t len = strnlen(text, max + 1);
    long decoded = len <= max ? base64url_decode(text, len, bytes) : -1;

    if (decoded < 0)
        return (struct packed){.failed = true};
    return (struct packed){.at = bytes, .end = bytes + decoded};
}

unsigned packed_byte(struct packed *in)
{
    if (in->failed || in->at == in->end) {
        in->failed = true;
        return 0;
    }
    return *in->at++;
}

uint64_t packed_varint(struct packed *in, uint64_t max)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 63; shift += 7) {
        unsigned byte = packed_byte(in);
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) {
            if (in->failed || value > max || (byte == 0 && shift > 0))
                break;
            return value;
        }
    }
    in->failed = true;
    return 0;
}

uint32_t packed_word(struct packed *in)
{
    uint32_t value = 0;

    for (int i = 0; i < 4; i++)
        value |= (uint32_t)packed_byte(in) << (8 * i);
    return in->failed ? 0 : value;
}

bool packed_ends(const struct packed *in)
{
    return !in->failed && in->at == in->end;
}
