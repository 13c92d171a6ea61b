/*
 * framing_internal.h - what the three files of the framing share; private to them.
 *
 *   framing.c         the request line, the order of things, and framing_feed()
 *   framing_fields.c  header fields, and the four that frame a message or name its host
 *   framing_chunks.c  chunk sizes and trailers
 *
 * Each *_byte function judges one byte in its states: true to go on, false with the fault set.
 */
#ifndef TELEMETRYD_FRAMING_INTERNAL_H
#define TELEMETRYD_FRAMING_INTERNAL_H

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

enum { TCHAR = 1, VALUE = 2, TARGET_CHAR = 4, HOST_CHAR = 8 };

/* Which of these classes a byte belongs to. */
extern const uint8_t framing_classes[256];

static inline bool is(unsigned char c, unsigned class)
{
    return (framing_classes[c] & class) != 0;
}

static inline char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static inline int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static inline bool refuse(struct framing *f, enum problem_code code, const char *detail)
{
    f->fault = true;
    f->code = code;
    f->detail = detail;
    return false;
}

static inline bool bad(struct framing *f, const char *detail)
{
    return refuse(f, PROBLEM_BAD_REQUEST, detail);
}

/* Keeps the token's first bytes in lower case; longer tokens are none of those that we judge. */
static inline void token_add(struct framing *f, char c)
{
    if (f->seen < sizeof f->token)
        f->token[f->seen] = lower(c);
    if (f->seen < UINT8_MAX)
        f->seen++;
}

static inline bool token_is(const struct framing *f, const char *text)
{
    size_t len = strlen(text);
    return f->seen == len && len <= sizeof f->token && memcmp(f->token, text, len) == 0;
}

static inline bool head_grows(struct framing *f)
{
    if (++f->head_len > FRAMING_HEAD_MAX)
        return refuse(f, PROBLEM_HEADERS_TOO_LARGE, "The header fields are too large");
    return true;
}

bool framing_field_byte(struct framing *f, char c);   /* FIELD_START .. FIELD_VALUE */
bool framing_chunk_byte(struct framing *f, char c);   /* CHUNK_SIZE, CHUNK_EXTENSION */
bool framing_trailer_byte(struct framing *f, char c); /* TRAILER_START .. TRAILER_VALUE */

/* A request's fields are complete: do they frame it in one way only? */
bool framing_head_complete(struct framing *f);

#endif
