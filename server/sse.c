#include "sse.h"

#include <stdio.h>
#include <string.h>

#define CHUNK_HEAD      "00000000\r\n"
#define CHUNK_HEAD_SIZE (sizeof CHUNK_HEAD - 1)

size_t sse_begin(struct buffer *out, bool chunked)
{
    size_t block = out->len;
    if (chunked)
        buffer_append(out, CHUNK_HEAD, CHUNK_HEAD_SIZE);
    return block;
}

void sse_end(struct buffer *out, bool chunked, size_t block)
{
    char head[CHUNK_HEAD_SIZE + 1];
    if (!chunked || out->failed)
        return;
    snprintf(head, sizeof head, "%08zx\r\n", out->len - block - CHUNK_HEAD_SIZE);
    memcpy(out->data + block, head, CHUNK_HEAD_SIZE);
    buffer_append_text(out, "\r\n");
}

void sse_comment(struct buffer *out, bool chunked, const char *comment)
{
    size_t block = sse_begin(out, chunked);
    buffer_printf(out, ": %s\n\n", comment);
    sse_end(out, chunked, block);
}

void sse_data(struct buffer *out, const char *text, size_t len)
{
    for (const char *end = text + len;;) {
        size_t line = 0;
        while (text + line < end && text[line] != '\n' && text[line] != '\r')
            line++;
        buffer_append(out, text, line);
        text += line;
        if (text == end)
            return;
        text += *text == '\r' && end - text > 1 && text[1] == '\n' ? 2 : 1;
        buffer_append_text(out, "\ndata: ");
    }
}

void sse_close(struct buffer *out, bool chunked)
{
    if (chunked)
        buffer_append_text(out, "0\r\n\r\n");
}
