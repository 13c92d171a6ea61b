#include "http_client_internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEADER_BYTES_MAX   (64 * 1024) /* all header blocks of an answer and its trailers */
#define KEPT_BYTES_MAX     (16 * 1024)
#define CONTINUATION_MAX   (12 * 1024)
#define KEPT_MEMORY_MAX    (4 * 1024) /* what an idle reader holds on to */
#define CONTENT_LENGTH_MAX 18         /* digits; what is longer is refused, so that no sum overflows */

enum { CONTENT_LENGTH = KEPT_COUNT, TRANSFER_ENCODING };

/* The headers that somebody looks at: of which length is the name, and what is it for. */
static const struct {
    const char *name;
    size_t len;
    unsigned what;
} known_headers[] = {
    {"content-length", 14, CONTENT_LENGTH},       {"transfer-encoding", 17, TRANSFER_ENCODING},
    {"x-ms-continuation", 17, KEPT_CONTINUATION}, {"x-ms-request-charge", 19, KEPT_REQUEST_CHARGE},
    {"x-ms-substatus", 14, KEPT_SUBSTATUS},       {"x-ms-retry-after-ms", 19, KEPT_RETRY_AFTER_MS},
    {"retry-after", 11, KEPT_RETRY_AFTER},        {"etag", 4, KEPT_ETAG},
    {"content-type", 12, KEPT_CONTENT_TYPE},
};

static bool broken(struct answer_reader *reader) {
    reader->verdict = HTTP_BROKEN;
    return false;
}

static void begin_block(struct answer_reader *reader) {
    reader->content_lengths = reader->transfer_encodings = 0;
    reader->content_length = 0;
    memset(reader->kept_at, 0, sizeof reader->kept_at);
    buffer_clear(&reader->kept_text);
}

void answer_begin(struct answer_reader *reader, bool head, size_t max_body, size_t headroom) {
    reader->head = head;
    reader->max_body = max_body;
    reader->headroom = headroom;
    reader->verdict = HTTP_ANSWERED;
    reader->block = BLOCK_EXPECTED;
    reader->status = 0;
    reader->header_bytes = 0;
    if (reader->kept_text.failed || reader->kept_text.cap > KEPT_MEMORY_MAX)
        buffer_free(&reader->kept_text);
    begin_block(reader);
    buffer_free(&reader->body);
}

void answer_free(struct answer_reader *reader) {
    buffer_free(&reader->kept_text);
    buffer_free(&reader->body);
}

const char *answer_kept(const struct answer_reader *reader, enum kept_header which) {
    size_t at = reader->kept_at[which];
    return at == 0 ? NULL : reader->kept_text.data + at - 1;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* "HTTP/1.1 200 OK". Only 1.0 and 1.1 were asked for. */
static bool status_line(struct answer_reader *reader, const char *line, size_t len) {
    if (len < 12 || memcmp(line, "HTTP/1.", 7) != 0 || (line[7] != '0' && line[7] != '1') || line[8] != ' ')
        return broken(reader);
    if (!is_digit(line[9]) || !is_digit(line[10]) || !is_digit(line[11]) || (len > 12 && line[12] != ' '))
        return broken(reader);
    reader->http_1_0 = line[7] == '0';
    reader->status = (unsigned)((line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0'));
    if (reader->status < 100)
        return broken(reader);
    begin_block(reader);
    reader->block = BLOCK_OPEN;
    return true;
}

static bool content_length(struct answer_reader *reader, const char *value, size_t len) {
    if (len == 0 || len > CONTENT_LENGTH_MAX || ++reader->content_lengths > 1)
        return broken(reader);
    uint64_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (!is_digit(value[i]))
            return broken(reader);
        n = n * 10 + (uint64_t)(value[i] - '0');
    }
    reader->content_length = n;
    return true;
}

static bool keep(struct answer_reader *reader, enum kept_header which, const char *value, size_t len) {
    if (reader->kept_at[which] != 0)
        return true;
    if (reader->kept_text.len + len > KEPT_BYTES_MAX ||
        (which == KEPT_CONTINUATION && len > CONTINUATION_MAX))
        return broken(reader);
    /* A value may be sent back in a header of ours. */
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)value[i] < ' ' || value[i] == 0x7f)
            return broken(reader);
    size_t at = reader->kept_text.len;
    buffer_append(&reader->kept_text, value, len);
    buffer_append_char(&reader->kept_text, '\0');
    if (reader->kept_text.failed) {
        reader->verdict = HTTP_NO_MEMORY;
        return false;
    }
    reader->kept_at[which] = at + 1;
    return true;
}

static bool header_line(struct answer_reader *reader, const char *line, size_t len) {
    const char *colon = memchr(line, ':', len);
    /* No name, a folded line or a blank before the colon: two readers could take it for two different things.
     */
    if (colon == NULL || colon == line || line[0] == ' ' || line[0] == '\t' || colon[-1] == ' ' ||
        colon[-1] == '\t')
        return broken(reader);

    size_t name_len = (size_t)(colon - line);
    for (size_t i = 0; i < sizeof known_headers / sizeof known_headers[0]; i++) {
        if (known_headers[i].len != name_len || strncasecmp(line, known_headers[i].name, name_len) != 0)
            continue;
        const char *value = colon + 1, *end = line + len;
        while (value < end && (*value == ' ' || *value == '\t'))
            value++;
        while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
            end--;
        size_t value_len = (size_t)(end - value);
        if (known_headers[i].what == CONTENT_LENGTH)
            return content_length(reader, value, value_len);
        if (known_headers[i].what == TRANSFER_ENCODING) {
            /* HTTP/1.0 knows no chunks (RFC 9112, 6.1). */
            if (++reader->transfer_encodings > 1 || reader->http_1_0 || value_len != 7 ||
                strncasecmp(value, "chunked", 7) != 0)
                return broken(reader);
            return true;
        }
        return keep(reader, (enum kept_header)known_headers[i].what, value, value_len);
    }
    return true;
}

static bool has_body(const struct answer_reader *reader) {
    return !reader->head && reader->status != 204 && reader->status != 304;
}

/* A final header block is whole: is the body's end told, and in one way only? */
static bool end_block(struct answer_reader *reader) {
    if (reader->status < 200) {
        reader->block = BLOCK_EXPECTED;
        return true;
    }
    reader->block = BLOCK_CLOSED;
    unsigned framings = reader->content_lengths + reader->transfer_encodings;
    if (framings > 1 || (framings == 0 && has_body(reader)))
        return broken(reader);
    size_t expect = 0;
    if (has_body(reader) && reader->content_lengths == 1) {
        if (reader->content_length > reader->max_body) {
            reader->verdict = HTTP_TOO_LARGE;
            return false;
        }
        expect = (size_t)reader->content_length;
    }
    if (buffer_reserve(&reader->body, reader->headroom + expect + 1) != 0) {
        reader->verdict = HTTP_NO_MEMORY;
        return false;
    }
    reader->body.len = reader->headroom;
    return true;
}

bool answer_header(struct answer_reader *reader, const char *line, size_t len) {
    reader->header_bytes += len;
    if (reader->header_bytes > HEADER_BYTES_MAX || memchr(line, '\0', len) != NULL)
        return broken(reader);
    if (len > 0 && line[len - 1] == '\n')
        len--;
    if (len > 0 && line[len - 1] == '\r')
        len--;

    switch (reader->block) {
    case BLOCK_EXPECTED: return status_line(reader, line, len);
    case BLOCK_OPEN: return len == 0 ? end_block(reader) : header_line(reader, line, len);
    case BLOCK_CLOSED: break;
    }
    return true;
}

bool answer_body(struct answer_reader *reader, const char *bytes, size_t len) {
    if (reader->block != BLOCK_CLOSED || !has_body(reader))
        return broken(reader);
    if (len > reader->max_body - (reader->body.len - reader->headroom)) {
        reader->verdict = HTTP_TOO_LARGE;
        return false;
    }
    buffer_append(&reader->body, bytes, len);
    if (reader->body.failed) {
        reader->verdict = HTTP_NO_MEMORY;
        return false;
    }
    return true;
}

void answer_end(struct answer_reader *reader) {
    if (reader->verdict != HTTP_ANSWERED)
        return;
    if (reader->block != BLOCK_CLOSED) {
        reader->verdict = HTTP_BROKEN;
        return;
    }
    size_t body_len = reader->body.len - reader->headroom;
    if (has_body(reader) && reader->content_lengths == 1 && body_len != reader->content_length)
        reader->verdict = HTTP_BROKEN;
    else if (buffer_terminate(&reader->body) == NULL)
        reader->verdict = HTTP_NO_MEMORY;
}
