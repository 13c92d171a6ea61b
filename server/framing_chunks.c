#include "framing_internal.h"

bool framing_chunk_byte(struct framing *f, char c)
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

bool framing_trailer_byte(struct framing *f, char c)
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
