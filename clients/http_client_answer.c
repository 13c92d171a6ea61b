#include "http_client_internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEADER_BYTES_MAX   (64 * 1024) /* all header blocks of an answer and its trailers */
#define KEPT_BYTES_MAX     (16 * 1024)
#define CONTINUATION_MAX   (12 * 1024)
#define MEMORY_KEPT        (4 * 1024) /* what an idle reader holds on to, of each buffer */
#define CONTENT_LENGTH_MAX 18         /* digits; what is longer is refused, so that no sum overflows */
#define CHUNK_DIGITS_MAX   15
#define CHUNK_LINE_MAX     256 /* with extensions, which nobody uses */

enum { CONTENT_LENGTH = KEPT_COUNT, TRANSFER_ENCODING, CONNECTION };

/* The headers that somebody looks at. */
static const struct {
    const char *name;
    size_t len;
    unsigned what;
} known_headers[] = {
    {"content-length", 14, CONTENT_LENGTH},
    {"transfer-encoding", 17, TRANSFER_ENCODING},
    {"connection", 10, CONNECTION},
    {"x-ms-continuation", 17, KEPT_CONTINUATION},
    {"x-ms-request-charge", 19, KEPT_REQUEST_CHARGE},
    {"x-ms-substatus", 14, KEPT_SUBSTATUS},
    {"x-ms-retry-after-ms", 19, KEPT_RETRY_AFTER_MS},
    {"retry-after", 11, KEPT_RETRY_AFTER},
    {"etag", 4, KEPT_ETAG},
    {"content-type", 12, KEPT_CONTENT_TYPE},
};

static bool refuse(struct answer_reader *reader, enum http_outcome verdict)
{
    reader->verdict = verdict;
    return false;
}

static void begin_block(struct answer_reader *reader)
{
    reader->content_lengths = reader->transfer_encodings = 0;
    reader->content_length = 0;
    memset(reader->kept_at, 0, sizeof reader->kept_at);
    buffer_clear(&reader->kept_text);
}

static void shrink(struct buffer *b)
{
    if (b->failed || b->cap > MEMORY_KEPT)
        buffer_free(b);
    buffer_clear(b);
}

void answer_begin(struct answer_reader *reader, bool head, size_t max_body, size_t headroom)
{
    reader->head = head;
    reader->max_body = max_body;
    reader->headroom = headroom;
    reader->verdict = HTTP_ANSWERED;
    reader->state = ANSWER_STATUS_LINE;
    reader->any = reader->close = false;
    reader->status = 0;
    reader->header_bytes = 0;
    reader->left = 0;
    shrink(&reader->line);
    shrink(&reader->kept_text);
    begin_block(reader);
    buffer_free(&reader->body);
}

void answer_free(struct answer_reader *reader)
{
    buffer_free(&reader->line);
    buffer_free(&reader->kept_text);
    buffer_free(&reader->body);
}

const char *answer_kept(const struct answer_reader *reader, enum kept_header which)
{
    size_t at = reader->kept_at[which];
    return at == 0 ? NULL : reader->kept_text.data + at - 1;
}

/* --- lines ------------------------------------------------------------------------------------- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "HTTP/1.1 200 OK". Only 1.0 and 1.1 were asked for, and no other protocol to switch to. */
static bool status_line(struct answer_reader *reader, const char *line, size_t len)
{
    if (len < 12 || memcmp(line, "HTTP/1.", 7) != 0 || (line[7] != '0' && line[7] != '1') || line[8] != ' ')
        return refuse(reader, HTTP_BROKEN);
    if (!is_digit(line[9]) || !is_digit(line[10]) || !is_digit(line[11]) || (len > 12 && line[12] != ' '))
        return refuse(reader, HTTP_BROKEN);
    reader->http_1_0 = line[7] == '0';
    reader->status = (unsigned)((line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0'));
    if (reader->status < 100 || reader->status == 101)
        return refuse(reader, HTTP_BROKEN);
    begin_block(reader);
    reader->close = reader->http_1_0;
    reader->state = ANSWER_HEADERS;
    return true;
}

static bool content_length(struct answer_reader *reader, const char *value, size_t len)
{
    if (len == 0 || len > CONTENT_LENGTH_MAX || ++reader->content_lengths > 1)
        return refuse(reader, HTTP_BROKEN);
    uint64_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (!is_digit(value[i]))
            return refuse(reader, HTTP_BROKEN);
        n = n * 10 + (uint64_t)(value[i] - '0');
    }
    reader->content_length = n;
    return true;
}

/* Is `close` one of a list of tokens? */
static bool says_close(const char *value, size_t len)
{
    const char *end = value + len;
    while (value < end) {
        const char *comma = memchr(value, ',', (size_t)(end - value));
        const char *stop = comma != NULL ? comma : end;
        const char *last = stop;
        while (value < last && (*value == ' ' || *value == '\t'))
            value++;
        while (last > value && (last[-1] == ' ' || last[-1] == '\t'))
            last--;
        if (last - value == 5 && strncasecmp(value, "close", 5) == 0)
            return true;
        value = comma != NULL ? comma + 1 : end;
    }
    return false;
}

static bool keep(struct answer_reader *reader, enum kept_header which, const char *value, size_t len)
{
    if (reader->kept_at[which] != 0)
        return true;
    if (reader->kept_text.len + len > KEPT_BYTES_MAX ||
        (which == KEPT_CONTINUATION && len > CONTINUATION_MAX))
        return refuse(reader, HTTP_BROKEN);
    /* A value may be sent back in a header of ours. */
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)value[i] < ' ' || value[i] == 0x7f)
            return refuse(reader, HTTP_BROKEN);
    size_t at = reader->kept_text.len;
    buffer_append(&reader->kept_text, value, len);
    buffer_append_char(&reader->kept_text, '\0');
    if (reader->kept_text.failed)
        return refuse(reader, HTTP_NO_MEMORY);
    reader->kept_at[which] = at + 1;
    return true;
}

static bool known_header(struct answer_reader *reader, unsigned what, const char *value, size_t len)
{
    switch (what) {
    case CONTENT_LENGTH: return content_length(reader, value, len);
    case TRANSFER_ENCODING:
        /* HTTP/1.0 knows no chunks (RFC 9112, 6.1). */
        if (++reader->transfer_encodings > 1 || reader->http_1_0 || len != 7 ||
            strncasecmp(value, "chunked", 7) != 0)
            return refuse(reader, HTTP_BROKEN);
        return true;
    case CONNECTION: reader->close |= says_close(value, len); return true;
    default: return keep(reader, (enum kept_header)what, value, len);
    }
}

static bool header_line(struct answer_reader *reader, const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len);
    /* No name, a folded line or a blank before the colon: two readers could take it for two different things.
     */
    if (colon == NULL || colon == line || line[0] == ' ' || line[0] == '\t' || colon[-1] == ' ' ||
        colon[-1] == '\t')
        return refuse(reader, HTTP_BROKEN);

    size_t name_len = (size_t)(colon - line);
    for (size_t i = 0; i < sizeof known_headers / sizeof known_headers[0]; i++) {
        if (known_headers[i].len != name_len || strncasecmp(line, known_headers[i].name, name_len) != 0)
            continue;
        const char *value = colon + 1, *end = line + len;
        while (value < end && (*value == ' ' || *value == '\t'))
            value++;
        while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
            end--;
        return known_header(reader, known_headers[i].what, value, (size_t)(end - value));
    }
    return true;
}

/* A header block is whole: is the body's end told, and in one way only? */
static bool end_block(struct answer_reader *reader)
{
    if (reader->status < 200) {
        reader->state = ANSWER_STATUS_LINE;
        return true;
    }
    bool has_body = !reader->head && reader->status != 204 && reader->status != 304;
    unsigned framings = reader->content_lengths + reader->transfer_encodings;
    if (framings > 1 || (framings == 0 && has_body))
        return refuse(reader, HTTP_BROKEN);
    if (has_body)
        reader->left = reader->content_length;
    if (reader->left > reader->max_body)
        return refuse(reader, HTTP_TOO_LARGE);
    if (buffer_reserve(&reader->body, reader->headroom + (size_t)reader->left + 1) != 0)
        return refuse(reader, HTTP_NO_MEMORY);
    reader->body.len = reader->headroom;
    if (has_body && reader->transfer_encodings > 0)
        reader->state = ANSWER_CHUNK_SIZE;
    else
        reader->state = reader->left > 0 ? ANSWER_BODY : ANSWER_COMPLETE;
    return true;
}

/* "1f4" or "1f4;name=value", line end included. */
static bool chunk_size(struct answer_reader *reader, const char *line, size_t len)
{
    uint64_t size = 0;
    size_t digits = 0;
    while (digits < len && digits <= CHUNK_DIGITS_MAX) {
        char c = line[digits], low = (char)(c | 0x20);
        if (is_digit(c))
            size = size * 16 + (uint64_t)(c - '0');
        else if (low >= 'a' && low <= 'f')
            size = size * 16 + (uint64_t)(low - 'a' + 10);
        else
            break;
        digits++;
    }
    if (digits == 0 || digits > CHUNK_DIGITS_MAX || len > CHUNK_LINE_MAX || len < digits + 2 ||
        memcmp(line + len - 2, "\r\n", 2) != 0)
        return refuse(reader, HTTP_BROKEN);
    if (len > digits + 2 && line[digits] != ';' && line[digits] != ' ' && line[digits] != '\t')
        return refuse(reader, HTTP_BROKEN);
    if (size > reader->max_body - (reader->body.len - reader->headroom))
        return refuse(reader, HTTP_TOO_LARGE);
    reader->left = size;
    reader->state = size > 0 ? ANSWER_CHUNK : ANSWER_TRAILERS;
    return true;
}

/* One line, its end included. */
static bool take_line(struct answer_reader *reader, const char *line, size_t len)
{
    if (reader->state == ANSWER_CHUNK_SIZE)
        return chunk_size(reader, line, len);
    if (reader->state == ANSWER_CHUNK_END) {
        reader->state = ANSWER_CHUNK_SIZE;
        return (len == 2 && line[0] == '\r') || refuse(reader, HTTP_BROKEN);
    }
    reader->header_bytes += len;
    if (reader->header_bytes > HEADER_BYTES_MAX || memchr(line, '\0', len) != NULL)
        return refuse(reader, HTTP_BROKEN);
    len--;
    if (len > 0 && line[len - 1] == '\r')
        len--;
    if (reader->state == ANSWER_STATUS_LINE)
        return status_line(reader, line, len);
    if (reader->state == ANSWER_HEADERS)
        return len == 0 ? end_block(reader) : header_line(reader, line, len);
    if (len == 0) /* trailers are passed over */
        reader->state = ANSWER_COMPLETE;
    return true;
}

/* Takes a line, or the start of one. Returns the bytes taken. */
static size_t feed_line(struct answer_reader *reader, const char *bytes, size_t len)
{
    const char *end = memchr(bytes, '\n', len);
    size_t n = end != NULL ? (size_t)(end - bytes) + 1 : len;
    if (end != NULL && reader->line.len == 0) {
        take_line(reader, bytes, n);
        return n;
    }
    if (reader->line.len + n > HEADER_BYTES_MAX) {
        refuse(reader, HTTP_BROKEN);
        return n;
    }
    buffer_append(&reader->line, bytes, n);
    if (reader->line.failed)
        refuse(reader, HTTP_NO_MEMORY);
    else if (end != NULL) {
        take_line(reader, reader->line.data, reader->line.len);
        buffer_clear(&reader->line);
    }
    return n;
}

/* --- bodies ------------------------------------------------------------------------------------ */

static void end_body(struct answer_reader *reader)
{
    if (reader->left == 0)
        reader->state = reader->state == ANSWER_BODY ? ANSWER_COMPLETE : ANSWER_CHUNK_END;
}

/* max_body was held against the length before. */
static size_t feed_body(struct answer_reader *reader, const char *bytes, size_t len)
{
    size_t n = len < reader->left ? len : (size_t)reader->left;
    buffer_append(&reader->body, bytes, n);
    if (reader->body.failed)
        refuse(reader, HTTP_NO_MEMORY);
    reader->left -= n;
    end_body(reader);
    return n;
}

char *answer_room(struct answer_reader *reader, size_t *ret_len)
{
    if (reader->state != ANSWER_BODY && reader->state != ANSWER_CHUNK)
        return NULL;
    if (buffer_reserve(&reader->body, (size_t)reader->left + 1) != 0) {
        refuse(reader, HTTP_NO_MEMORY);
        return NULL;
    }
    *ret_len = (size_t)reader->left;
    return reader->body.data + reader->body.len;
}

void answer_filled(struct answer_reader *reader, size_t len)
{
    reader->body.len += len;
    reader->left -= len;
    end_body(reader);
}

size_t answer_feed(struct answer_reader *reader, const char *bytes, size_t len)
{
    size_t used = 0;
    reader->any |= len > 0;
    while (used < len && reader->state != ANSWER_COMPLETE && reader->verdict == HTTP_ANSWERED) {
        if (reader->state == ANSWER_BODY || reader->state == ANSWER_CHUNK)
            used += feed_body(reader, bytes + used, len - used);
        else
            used += feed_line(reader, bytes + used, len - used);
    }
    if (reader->state == ANSWER_COMPLETE && reader->verdict == HTTP_ANSWERED &&
        buffer_terminate(&reader->body) == NULL)
        refuse(reader, HTTP_NO_MEMORY);
    return used;
}
