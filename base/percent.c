#include "percent.h"

#include <string.h>

/* What a byte may be: a bit for each alphabet. */
enum { UNRESERVED = 1, DEVICE_ID = 2, ITEM_ID_FORBIDDEN = 4 };

static const unsigned char alphabet[256] = {
    ['0' ... '9'] = UNRESERVED | DEVICE_ID,
    ['A' ... 'Z'] = UNRESERVED | DEVICE_ID,
    ['a' ... 'z'] = UNRESERVED | DEVICE_ID,
    ['-'] = UNRESERVED | DEVICE_ID,
    ['.'] = UNRESERVED | DEVICE_ID,
    ['_'] = UNRESERVED | DEVICE_ID,
    ['~'] = UNRESERVED | DEVICE_ID,
    [':'] = DEVICE_ID,
    ['*'] = DEVICE_ID,
    ['!'] = DEVICE_ID,
    ['('] = DEVICE_ID,
    [')'] = DEVICE_ID,
    [','] = DEVICE_ID,
    ['='] = DEVICE_ID,
    ['@'] = DEVICE_ID,
    [';'] = DEVICE_ID,
    ['$'] = DEVICE_ID,
    ['\''] = DEVICE_ID,
    ['+'] = DEVICE_ID,
    ['%'] = DEVICE_ID | ITEM_ID_FORBIDDEN,
    ['?'] = DEVICE_ID | ITEM_ID_FORBIDDEN,
    ['#'] = DEVICE_ID | ITEM_ID_FORBIDDEN,
    ['/'] = ITEM_ID_FORBIDDEN,
    ['\\'] = ITEM_ID_FORBIDDEN,
};

/* Appends text; a byte is escaped when its `bit` in the alphabet equals `escaped`. */
static void encode(struct buffer *out, const char *text, size_t len, unsigned bit, bool escaped)
{
    static const char hex[] = "0123456789ABCDEF";

    size_t plain = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (((alphabet[c] & bit) != 0) != escaped)
            continue;
        const char escape[3] = {'%', hex[c >> 4], hex[c & 15]};
        buffer_append(out, text + plain, i - plain);
        buffer_append(out, escape, sizeof escape);
        plain = i + 1;
    }
    buffer_append(out, text + plain, len - plain);
}

void percent_encode(struct buffer *out, const char *text, size_t len)
{
    encode(out, text, len, UNRESERVED, false);
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

long percent_decode(const char *text, size_t len, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '%') {
            if (len - i < 3)
                return -1;
            int high = hex_value(text[i + 1]);
            int low = hex_value(text[i + 2]);
            if (high < 0 || low < 0)
                return -1;
            c = (char)(high << 4 | low);
            i += 2;
        }
        if (c == '\0')
            return -1;
        out[n++] = c;
    }
    out[n] = '\0';
    return (long)n;
}

bool device_id_valid(const char *id, size_t len)
{
    if (len == 0 || len > DEVICE_ID_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        if ((alphabet[(unsigned char)id[i]] & DEVICE_ID) == 0)
            return false;
    }
    bool dots = id[0] == '.' && (len == 1 || (len == 2 && id[1] == '.'));
    return !dots;
}

bool device_id_from_segment(const char *segment, size_t len, char out[DEVICE_ID_MAX + 1])
{
    char id[3 * DEVICE_ID_MAX + 1]; /* the longest segment that can hold a device id, every byte escaped */

    if (len >= sizeof id)
        return false;
    long id_len = percent_decode(segment, len, id);
    if (id_len < 0 || !device_id_valid(id, (size_t)id_len))
        return false;
    memcpy(out, id, (size_t)id_len + 1);
    return true;
}

void item_id_append(struct buffer *out, const char *device_id, const char *timestamp)
{
    encode(out, device_id, strlen(device_id), ITEM_ID_FORBIDDEN, true);
    buffer_append_char(out, '-');
    encode(out, timestamp, strlen(timestamp), ITEM_ID_FORBIDDEN, true);
}
