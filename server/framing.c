#include "framing.h"

#include <string.h>

/* What the next byte belongs to. */
enum {
    START, /* between requests; a stray CRLF is skipped */
    START_LF,
    METHOD,
    TARGET,
    VERSION,
    VERSION_LF,
    FIELD_START,
    FIELD_NAME,
    FIELD_SPACE, /* optional white space before the value */
    FIELD_VALUE,
    FIELD_LF,
    HEAD_LF, /* the LF of the empty line */
    BODY,
    CHUNK_SIZE,
    CHUNK_EXTENSION,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    TRAILER_START,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    END_LF,
};

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

enum { TCHAR = 1, VALUE = 2, TARGET_CHAR = 4, HOST_CHAR = 8 };

/* clang-format off */
#define ALNUM_CLASS (TCHAR | VALUE | TARGET_CHAR | HOST_CHAR)
static const uint8_t classes[256] = {
    ['\t'] = VALUE, [' '] = VALUE,
    ['!'] = TCHAR | VALUE | TARGET_CHAR | HOST_CHAR, ['"'] = VALUE | TARGET_CHAR,
    ['#'] = TCHAR | VALUE, /* a fragment is never sent */
    ['$'] = TCHAR | VALUE | TARGET_CHAR | HOST_CHAR, ['%'] = TCHAR | VALUE | TARGET_CHAR | HOST_CHAR,
    ['&'] = TCHAR | VALUE | TARGET_CHAR | HOST_CHAR, ['\''] = TCHAR | VALUE | TARGET_CHAR | HOST_CHAR,
    ['('] = VALUE | TARGET_CHAR | HOST_CHAR, [')'] = VALUE | TARGET_CHAR | HOST_CHAR,
    ['*'] = TCHAR | VALUE | TARGET_CHAR | HOST_CHAR, ['+'] = TCHAR | VALUE | TARGET_CHAR | HOST_CHAR,
    [','] = VALUE | TARGET_CHAR | HOST_CHAR, ['-'] = ALNUM_CLASS, ['.'] = ALNUM_CLASS,
    ['/'] = VALUE | TARGET_CHAR, ['0' ... '9'] = ALNUM_CLASS, [':'] = VALUE | TARGET_CHAR,
    [';'] = VALUE | TARGET_CHAR | HOST_CHAR, ['<'] = VALUE | TARGET_CHAR,
    ['='] = VALUE | TARGET_CHAR | HOST_CHAR, ['>'] = VALUE | TARGET_CHAR, ['?'] = VALUE | TARGET_CHAR,
    ['@'] = VALUE | TARGET_CHAR, ['A' ... 'Z'] = ALNUM_CLASS, ['['] = VALUE | TARGET_CHAR,
    ['\\'] = VALUE | TARGET_CHAR, [']'] = VALUE | TARGET_CHAR,
    ['^'] = TCHAR | VALUE | TARGET_CHAR, ['_'] = ALNUM_CLASS, ['`'] = TCHAR | VALUE | TARGET_CHAR,
    ['a' ... 'z'] = ALNUM_CLASS, ['{'] = VALUE | TARGET_CHAR, ['|'] = TCHAR | VALUE | TARGET_CHAR,
    ['}'] = VALUE | TARGET_CHAR, ['~'] = TCHAR | VALUE | TARGET_CHAR | HOST_CHAR,
    [0x80 ... 0xff] = VALUE,
};
/* clang-format on */

static bool is(unsigned char c, unsigned class)
{
    return (classes[c] & class) != 0;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool refuse(struct framing *f, enum problem_code code, const char *detail)
{
    f->fault = true;
    f->code = code;
    f->detail = detail;
    return false;
}

static bool bad(struct framing *f, const char *detail)
{
    return refuse(f, PROBLEM_BAD_REQUEST, detail);
}

/* Keeps the token's first bytes in lower case; longer tokens are none of those that we judge. */
static void token_add(struct framing *f, char c)
{
    if (f->seen < sizeof f->token)
        f->token[f->seen] = lower(c);
    if (f->seen < UINT8_MAX)
        f->seen++;
}

static bool token_is(const struct framing *f, const char *text)
{
    size_t len = strlen(text);
    return f->seen == len && len <= sizeof f->token && memcmp(f->token, text, len) == 0;
}

static bool head_grows(struct framing *f)
{
    if (++f->head_len > FRAMING_HEAD_MAX)
        return refuse(f, PROBLEM_HEADERS_TOO_LARGE, "The header fields are too large");
    return true;
}

static bool method_byte(struct framing *f, char c)
{
    if (is((unsigned char)c, TCHAR)) {
        token_add(f, c);
        return f->seen <= sizeof f->token || bad(f, "The method is too long");
    }
    if (c != ' ')
        return bad(f, "The request line is malformed");
    f->state = TARGET;
    return true;
}

static bool target_byte(struct framing *f, char c)
{
    if (is((unsigned char)c, TARGET_CHAR)) {
        if (f->target_len == 0 && c != '/' && !(c == '*' && token_is(f, "options")) && lower(c) != 'h')
            return bad(f, "The request target must begin with a slash");
        if (++f->target_len > FRAMING_TARGET_MAX)
            return refuse(f, PROBLEM_URI_TOO_LONG, "The request target is too long");
        return true;
    }
    if (c != ' ' || f->target_len == 0)
        return bad(f, "The request line is malformed");
    f->state = VERSION;
    f->matched = 0;
    return true;
}

/* "HTTP/1.1" or "HTTP/1.0"; another version in the right form is a version we do not speak. */
static bool version_byte(struct framing *f, char c)
{
    static const char prefix[] = "HTTP/";

    if (f->matched < 5) {
        if (c != prefix[f->matched])
            return bad(f, "The request line is malformed");
    } else if (f->matched == 6) {
        if (c != '.')
            return bad(f, "The HTTP version is malformed");
    } else if (f->matched == 8) {
        if (c != '\r')
            return bad(f, "The request line is malformed");
        if (f->token[0] != '1' || (f->token[1] != '1' && f->token[1] != '0'))
            return refuse(f, PROBLEM_VERSION_NOT_SUPPORTED, "This server speaks HTTP/1.1 and HTTP/1.0");
        f->http_1_0 = f->token[1] == '0';
        f->state = VERSION_LF;
    } else {
        if (c < '0' || c > '9')
            return bad(f, "The HTTP version is malformed");
        f->token[f->matched == 5 ? 0 : 1] = c;
    }
    f->matched++;
    return true;
}

static bool head_complete(struct framing *f)
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

static bool field_byte(struct framing *f, char c)
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
            return f->field == OTHER || judged_value_done(f);
        }
        if (!is((unsigned char)c, VALUE))
            return bad(f, "A header value is malformed");
        return f->field == OTHER || judged_value_byte(f, c);
    }
}

static bool chunk_size_byte(struct framing *f, char c)
{
    if (++f->line_len > FRAMING_LINE_MAX)
        return bad(f, "A chunk size line is too long");
    if (f->state == CHUNK_EXTENSION) {
        if (c == '\r')
            f->state = CHUNK_SIZE_LF;
        else if (!is((unsigned char)c, VALUE))
            return bad(f, "A chunk extension is malformed");
        return true;
    }
    int digit = hex_digit(c);
    if (digit >= 0) {
        if (++f->seen > 15)
            return bad(f, "A chunk size is too large");
        f->body_left = f->body_left << 4 | (unsigned)digit;
        return true;
    }
    if (f->seen == 0 || (c != ';' && c != '\r'))
        return bad(f, "A chunk size is malformed");
    f->state = c == '\r' ? CHUNK_SIZE_LF : CHUNK_EXTENSION;
    return true;
}

static bool trailer_byte(struct framing *f, char c)
{
    if (!head_grows(f))
        return false;
    switch (f->state) {
    case TRAILER_START:
        if (c == '\r') {
            f->state = END_LF;
            return true;
        }
        if (++f->fields > FRAMING_FIELDS_MAX)
            return refuse(f, PROBLEM_HEADERS_TOO_LARGE, "There are too many trailer fields");
        f->state = TRAILER_NAME;
        f->seen = 0;
        /* fall through */
    case TRAILER_NAME:
        if (c == ':' && f->seen > 0) {
            f->state = TRAILER_VALUE;
            return true;
        }
        token_add(f, c);
        return is((unsigned char)c, TCHAR) || bad(f, "A trailer name is malformed");
    default: /* TRAILER_VALUE */
        if (c == '\r') {
            f->state = TRAILER_LF;
            return true;
        }
        return is((unsigned char)c, VALUE) || bad(f, "A trailer value is malformed");
    }
}

/* The LF that must follow a CR, and what comes after it. */
static bool line_feed(struct framing *f, char c)
{
    if (c != '\n')
        return bad(f, "A line does not end with CR LF");
    switch (f->state) {
    case START_LF: f->state = START; return true;
    case VERSION_LF:
    case FIELD_LF: f->state = FIELD_START; return true;
    case HEAD_LF: return head_complete(f);
    case CHUNK_SIZE_LF: f->state = f->body_left > 0 ? CHUNK_DATA : TRAILER_START; return true;
    case CHUNK_DATA_LF:
        f->state = CHUNK_SIZE;
        f->line_len = 0;
        f->seen = 0;
        f->body_left = 0;
        return true;
    case TRAILER_LF: f->state = TRAILER_START; return true;
    default: /* END_LF */
        f->state = START;
        f->line_len = 0;
        return true;
    }
}

static bool start_byte(struct framing *f, char c)
{
    uint32_t blank_lines = f->state == START ? f->line_len : 0;

    /* RFC 9112, 2.2: one empty line before a request line is forgiven. */
    if (c == '\r' && blank_lines == 0) {
        f->state = START_LF;
        f->line_len = 1;
        return true;
    }
    *f = (struct framing){.state = METHOD, .head_len = 1};
    if (!is((unsigned char)c, TCHAR))
        return bad(f, "The request line is malformed");
    token_add(f, c);
    return true;
}

static bool byte(struct framing *f, char c)
{
    switch (f->state) {
    case START: return start_byte(f, c);
    case METHOD: return head_grows(f) && method_byte(f, c);
    case TARGET: return head_grows(f) && target_byte(f, c);
    case VERSION: return head_grows(f) && version_byte(f, c);
    case FIELD_START:
    case FIELD_NAME:
    case FIELD_SPACE:
    case FIELD_VALUE: return head_grows(f) && field_byte(f, c);
    case CHUNK_SIZE:
    case CHUNK_EXTENSION: return chunk_size_byte(f, c);
    case CHUNK_DATA_CR:
        f->state = CHUNK_DATA_LF;
        return c == '\r' || bad(f, "A chunk is longer than its size");
    case TRAILER_START:
    case TRAILER_NAME:
    case TRAILER_VALUE: return trailer_byte(f, c);
    default: return line_feed(f, c);
    }
}

/* Bytes of a body or a chunk, and of a value that nobody judges, are passed in runs. Returns how many. */
static size_t run(struct framing *f, const char *bytes, size_t len)
{
    if (f->state == BODY || f->state == CHUNK_DATA) {
        size_t n = f->body_left < len ? (size_t)f->body_left : len;
        f->body_left -= n;
        if (f->body_left == 0)
            f->state = f->state == BODY ? START : CHUNK_DATA_CR;
        return n;
    }
    if (f->state == TARGET || (f->state == FIELD_VALUE && f->field == OTHER)) {
        bool target = f->state == TARGET;
        uint32_t room = FRAMING_HEAD_MAX - f->head_len;
        if (target && FRAMING_TARGET_MAX - f->target_len < room)
            room = FRAMING_TARGET_MAX - f->target_len;
        unsigned class = target ? TARGET_CHAR : VALUE;
        size_t most = len < room ? len : room, n = 0;
        if (target && f->target_len == 0)
            return 0; /* the first byte is judged alone */
        while (n < most && is((unsigned char)bytes[n], class))
            n++;
        f->head_len += (uint32_t)n;
        if (target)
            f->target_len += (uint32_t)n;
        return n;
    }
    return 0;
}

size_t framing_feed(struct framing *f, const char *bytes, size_t len)
{
    size_t whole = 0; /* up to here the requests in this piece are complete */

    if (f->fault)
        return 0;
    for (size_t i = 0; i < len;) {
        size_t n = run(f, bytes + i, len - i);
        if (n == 0) {
            if (!byte(f, bytes[i]))
                return whole;
            n = 1;
        }
        i += n;
        if (f->state == START)
            whole = i;
    }
    return len;
}

bool framing_idle(const struct framing *f)
{
    return f->state == START || f->state == START_LF;
}

bool framing_in_head(const struct framing *f)
{
    return f->state > START_LF && f->state <= HEAD_LF;
}
