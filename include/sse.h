/*
 * sse.h - the text of Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html),
 * in chunks (RFC 9112, 7.1) where the connection wants them. Writes into a buffer; nothing is allocated
 * besides.
 *
 *     size_t block = sse_begin(out, chunked);
 *     .. lines, and an empty one ..
 *     sse_end(out, chunked, block);
 */
#ifndef TELEMETRYD_SSE_H
#define TELEMETRYD_SSE_H

#include "buffer.h"

#include <stdbool.h>
#include <stddef.h>

/* A block of lines, which is one chunk. Returns what sse_end() wants to know. */
size_t sse_begin(struct buffer *out, bool chunked);
void sse_end(struct buffer *out, bool chunked, size_t block);

/* A block that listeners pass over. comment: no line break. */
void sse_comment(struct buffer *out, bool chunked, const char *comment);

/* Goes on with the line of a `data` field. A line break of the text becomes a line of its own, and the
 * listener joins them with LF again: for JSON that is white space as before. */
void sse_data(struct buffer *out, const char *text, size_t len);

/* The end of the body. */
void sse_close(struct buffer *out, bool chunked);

#endif
