#include "buffer.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fail(struct buffer *b)
{
    free(b->data);
    *b = (struct buffer){.failed = true};
}

int buffer_reserve(struct buffer *b, size_t extra)
{
    if (b->failed)
        return -ENOMEM;
    if (b->cap - b->len >= extra)
        return 0;
    if (extra > SIZE_MAX / 4 || b->len > SIZE_MAX / 4) {
        fail(b);
        return -ENOMEM;
    }
    size_t want = b->len + extra;
    size_t cap = b->cap < 64 ? 64 : b->cap;
    while (cap < want)
        cap *= 2;
    char *data = realloc(b->data, cap);
    if (data == NULL) {
        fail(b);
        return -ENOMEM;
    }
    b->data = data;
    b->cap = cap;
    return 0;
}

void buffer_append(struct buffer *b, const void *bytes, size_t len)
{
    if (len == 0 || buffer_reserve(b, len) != 0)
        return;
    memcpy(b->data + b->len, bytes, len);
    b->len += len;
}

void buffer_append_text(struct buffer *b, const char *text)
{
    buffer_append(b, text, strlen(text));
}

void buffer_append_char(struct buffer *b, char c)
{
    buffer_append(b, &c, 1);
}

void buffer_printf(struct buffer *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int need = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (need < 0)
        fail(b);
    else if (buffer_reserve(b, (size_t)need + 1) == 0) {
        vsnprintf(b->data + b->len, (size_t)need + 1, format, again);
        b->len += (size_t)need;
    }
    va_end(again);
}

void buffer_append_json_string(struct buffer *b, const char *text, size_t len)
{
    static const char hex[] = "0123456789abcdef";

    buffer_append_char(b, '"');
    size_t plain = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        buffer_append(b, text + plain, i - plain);
        plain = i + 1;
        if (c >= 0x20) {
            const char escape[2] = {'\\', (char)c};
            buffer_append(b, escape, sizeof escape);
        } else {
            const char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
            buffer_append(b, escape, sizeof escape);
        }
    }
    buffer_append(b, text + plain, len - plain);
    buffer_append_char(b, '"');
}

const char *buffer_terminate(struct buffer *b)
{
    if (buffer_reserve(b, 1) != 0)
        return NULL;
    b->data[b->len] = '\0';
    return b->data;
}

char *buffer_take(struct buffer *b, size_t *ret_len)
{
    if (buffer_terminate(b) == NULL)
        return NULL;
    char *data = b->data;
    if (ret_len != NULL)
        *ret_len = b->len;
    *b = (struct buffer){0};
    return data;
}

void buffer_clear(struct buffer *b)
{
    b->len = 0;
}

void buffer_free(struct buffer *b)
{
    free(b->data);
    *b = (struct buffer){0};
}
