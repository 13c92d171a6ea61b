#include "framing_internal.h"

/* clang-format off */
#define ALNUM_CLASS (TCHAR | VALUE | TARGET_CHAR | HOST_CHAR)
const uint8_t framing_classes[256] = {
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

/* The LF that must follow a CR, and what comes after it. */
static bool line_feed(struct framing *f, char c)
{
    if (c != '\n')
        return bad(f, "A line does not end with CR LF");
    switch (f->state) {
    case START_LF: f->state = START; return true;
    case VERSION_LF:
    case FIELD_LF: f->state = FIELD_START; return true;
    case HEAD_LF: return framing_head_complete(f);
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
    case FIELD_VALUE: return head_grows(f) && framing_field_byte(f, c);
    case CHUNK_SIZE:
    case CHUNK_EXTENSION: return framing_chunk_byte(f, c);
    case CHUNK_DATA_CR:
        f->state = CHUNK_DATA_LF;
        return c == '\r' || bad(f, "A chunk is longer than its size");
    case TRAILER_START:
    case TRAILER_NAME:
    case TRAILER_VALUE: return framing_trailer_byte(f, c);
    default: return line_feed(f, c);
    }
}

/* True when none of eight bytes is a control character: then all are of the class VALUE. */
static bool eight_of_a_value(const char *bytes)
{
    const uint64_t each = 0x0101010101010101, top = 0x80 * each;
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    uint64_t delete = word ^ (0x7f * each); /* zero where the byte is DEL */
    return ((((word - 0x20 * each) & ~word) | ((delete - each) & ~delete)) & top) == 0;
}

/* How many of the first bytes are of the class. A bearer token is a thousand bytes long, hence the steps of
 * eight. */
static size_t span(const char *bytes, size_t most, unsigned class)
{
    size_t n = 0;
    if (class == VALUE)
        while (n + 8 <= most && eight_of_a_value(bytes + n))
            n += 8;
    while (n < most && is((unsigned char)bytes[n], class))
        n++;
    return n;
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
    if (f->state == TARGET || (f->state == FIELD_VALUE && !f->judged)) {
        bool target = f->state == TARGET;
        uint32_t room = FRAMING_HEAD_MAX - f->head_len;
        if (target && FRAMING_TARGET_MAX - f->target_len < room)
            room = FRAMING_TARGET_MAX - f->target_len;
        unsigned class = target ? TARGET_CHAR : VALUE;
        if (target && f->target_len == 0)
            return 0; /* the first byte is judged alone */
        size_t n = span(bytes, len < room ? len : room, class);
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
