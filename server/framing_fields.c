#include "framing_internal.h"

enum field { OTHER, HOST, CONTENT_LENGTH, TRANSFER_ENCODING, EXPECT };

static const struct {
    const char *name;
    enum field field;
} judged_fields[] = {
    {"host", HOST},
    {"content-length", CONTENT_LENGTH},
    {"transfer-encoding", TRANSFER_ENCODING},
    {"expect", EXPECT},
};

bool framing_head_complete(struct framing *f)
{
    if (!f->host && !f->http_1_0)
        return bad(f, "The Host header is missing");
    if (f->te && f->cl)
        return bad(f, "Content-Length and Transfer-Encoding exclude each other");
    if (f->te && f->http_1_0)
        return bad(f, "HTTP/1.0 has no Transfer-Encoding");
    f->line_len = 0;
    f->seen = 0;
    if (f->te) {
        f->state = CHUNK_SIZE;
        f->body_left = 0;
    } else
        f->state = f->body_left > 0 ? BODY : START;
    return true;
}

static bool field_name_done(struct framing *f)
{
    static const char *const twice[] = {
        [HOST] = "There is more than one Host header",
        [CONTENT_LENGTH] = "There is more than one Content-Length header",
        [TRANSFER_ENCODING] = "There is more than one Transfer-Encoding header",
        [EXPECT] = "There is more than one Expect header",
    };
    bool *const present[] = {
        [HOST] = &f->host, [CONTENT_LENGTH] = &f->cl, [TRANSFER_ENCODING] = &f->te, [EXPECT] = &f->expect};

    f->field = OTHER;
    for (size_t i = 0; i < sizeof judged_fields / sizeof *judged_fields; i++)
        if (token_is(f, judged_fields[i].name))
            f->field = (uint8_t)judged_fields[i].field;
    if (f->field != OTHER) {
        if (*present[f->field])
            return bad(f, twice[f->field]);
        *present[f->field] = true;
    }
    f->judged = f->field != OTHER;
    f->state = FIELD_SPACE;
    f->seen = 0;
    f->matched = 0;
    f->line_len = 0;
    return true;
}

/* uri-host [ ":" port ] (RFC 9110, 7.2); where it stands is kept in line_len. */
static bool host_byte(struct framing *f, char c)
{
    enum { BEGIN, NAME, ADDRESS, AFTER_ADDRESS, PORT };
    unsigned char byte = (unsigned char)c;

    switch (f->line_len) {
    case BEGIN:
        f->line_len = c == '[' ? ADDRESS : NAME;
        return c == '[' || is(byte, HOST_CHAR) || bad(f, "The Host header is malformed");
    case NAME:
        if (c == ':')
            f->line_len = PORT;
        return c == ':' || is(byte, HOST_CHAR) || bad(f, "The Host header is malformed");
    case ADDRESS:
        if (c == ']')
            f->line_len = AFTER_ADDRESS;
        return c == ']' || c == ':' || c == '.' || hex_digit(c) >= 0 ||
               bad(f, "The Host header is malformed");
    case AFTER_ADDRESS: f->line_len = PORT; return c == ':' || bad(f, "The Host header is malformed");
    default: return (c >= '0' && c <= '9') || bad(f, "The Host header is malformed");
    }
}

static bool length_byte(struct framing *f, char c)
{
    if (c < '0' || c > '9')
        return bad(f, "The Content-Length header is malformed");
    if (f->body_left > (UINT64_MAX / 2 - 9) / 10)
        return refuse(f, PROBLEM_PAYLOAD_TOO_LARGE, "The Content-Length is too large");
    f->body_left = f->body_left * 10 + (unsigned)(c - '0');
    return true;
}

/* One byte of a judged value, trailing white space included. */
static bool judged_value_byte(struct framing *f, char c)
{
    if (c == ' ' || c == '\t') {
        f->matched = 1;
        return true;
    }
    if (f->matched && (f->field == HOST || f->field == CONTENT_LENGTH))
        return bad(f, "A header that frames the message is malformed");
    if (f->matched)
        token_add(f, ' '); /* inside a list: none of the values that are known */
    f->matched = 0;
    if (f->field == HOST ? !host_byte(f, c) : f->field == CONTENT_LENGTH && !length_byte(f, c))
        return false;
    token_add(f, c);
    return true;
}

static bool judged_value_done(struct framing *f)
{
    switch (f->field) {
    case HOST: return (f->seen > 0 && f->line_len != 2) || bad(f, "The Host header is empty or cut off");
    case CONTENT_LENGTH: return f->seen > 0 || bad(f, "The Content-Length header is empty");
    case TRANSFER_ENCODING:
        return token_is(f, "chunked") ||
               refuse(f, PROBLEM_NOT_IMPLEMENTED, "The only transfer coding this server knows is chunked");
    case EXPECT:
        return token_is(f, "100-continue") ||
               refuse(f, PROBLEM_EXPECTATION_FAILED,
                      "The only expectation this server meets is 100-continue");
    default: return true;
    }
}

bool framing_field_byte(struct framing *f, char c)
{
    switch (f->state) {
    case FIELD_START:
        if (c == '\r') {
            f->state = HEAD_LF;
            return true;
        }
        if (++f->fields > FRAMING_FIELDS_MAX)
            return refuse(f, PROBLEM_HEADERS_TOO_LARGE, "There are too many header fields");
        f->state = FIELD_NAME;
        f->seen = 0;
        /* fall through */
    case FIELD_NAME:
        if (c == ':')
            return f->seen > 0 ? field_name_done(f) : bad(f, "A header has no name");
        if (!is((unsigned char)c, TCHAR))
            return bad(f, "A header name is malformed");
        token_add(f, c);
        return true;
    case FIELD_SPACE:
        if (c == ' ' || c == '\t')
            return true;
        f->state = FIELD_VALUE;
        /* fall through */
    default: /* FIELD_VALUE */
        if (c == '\r') {
            f->state = FIELD_LF;
            return !f->judged || judged_value_done(f);
        }
        if (!is((unsigned char)c, VALUE))
            return bad(f, "A header value is malformed");
        return !f->judged || judged_value_byte(f, c);
    }
}
