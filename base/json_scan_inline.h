/*
 * json_scan_inline.h - the fast scanner that json_valid() and cosmos_page_scan() share: RFC 8259 and UTF-8,
 * strictly.
 *
 * Every function takes where it starts and where the text ends, reads nothing at or past `end`, and returns
 * where it stopped: the first byte after what it scanned, or NULL where the text breaks the grammar. They are
 * inline because the call itself would cost as much as the few bytes that most of them look at.
 *
 * A text with containers must end with a closing bracket: end[-1] is '}' or ']', for the caller to see to.
 * Nothing else can then be the last thing of the text, so that between tokens p == end needs asking only
 * after such a bracket.
 *
 * What makes it fast besides: strings and numbers are classified 16 bytes at once, and json_scan_advance().
 * SSE2 is part of every x86-64; other machines, and a build with -DJSON_SCAN_PORTABLE, take words of 8 bytes
 * and plain loops.
 */
#ifndef TELEMETRYD_JSON_SCAN_INLINE_H
#define TELEMETRYD_JSON_SCAN_INLINE_H

#include "json.h"
#include "json_utf8.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__) && !defined(JSON_SCAN_PORTABLE)
#define JSON_SCAN_SSE2 1
#include <emmintrin.h>
#endif

#define JSON_SCAN_LIKELY(x)   __builtin_expect(!!(x), 1)
#define JSON_SCAN_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* --- white space, literals --------------------------------------------------------------------- */

static inline bool json_scan_is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline const char *json_scan_space(const char *p, const char *end)
{
    while (p < end && json_scan_is_space(*p))
        p++;
    return p;
}

/* Skips white space from p < end to the byte after it, which is there: white space is never last in the text.
 */
static inline const char *json_scan_gap(const char *p)
{
    while (JSON_SCAN_UNLIKELY((unsigned char)*p <= ' ') && json_scan_is_space(*p))
        p++;
    return p;
}

static inline const char *json_scan_literal(const char *p, const char *end)
{
    if (end - p >= 4 && (memcmp(p, "true", 4) == 0 || memcmp(p, "null", 4) == 0))
        return p + 4;
    return end - p >= 5 && memcmp(p, "false", 5) == 0 ? p + 5 : NULL;
}

/* --- strings ----------------------------------------------------------------------------------- */

static inline bool json_scan_is_hex(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* The escape at p, which is a backslash. */
static inline const char *json_scan_escape(const char *p, const char *end)
{
    if (end - p < 2)
        return NULL;
    if (p[1] != 'u')
        return p[1] != '\0' && strchr("\"\\/bfnrt", p[1]) != NULL ? p + 2 : NULL;
    if (end - p < 6)
        return NULL;
    for (int i = 2; i < 6; i++)
        if (!json_scan_is_hex(p[i]))
            return NULL;
    return p + 6;
}

#ifdef JSON_SCAN_SSE2
/* p += n for n < 16, by a jump instead of an addition: the branch predictor then guesses n (members of the
 * same name come again and again), and the next load need not wait until this block is classified. The empty
 * asm keeps the compiler from folding the cases back into one addition. */
#define JSON_SCAN_STEP(n)                                                                                    \
    case n:                                                                                                  \
        p += n;                                                                                              \
        __asm__("" : "+r"(p));                                                                               \
        return p

static inline __attribute__((always_inline)) const char *json_scan_advance(const char *p, unsigned n)
{
    switch (n) {
        JSON_SCAN_STEP(0);
        JSON_SCAN_STEP(1);
        JSON_SCAN_STEP(2);
        JSON_SCAN_STEP(3);
        JSON_SCAN_STEP(4);
        JSON_SCAN_STEP(5);
        JSON_SCAN_STEP(6);
        JSON_SCAN_STEP(7);
        JSON_SCAN_STEP(8);
        JSON_SCAN_STEP(9);
        JSON_SCAN_STEP(10);
        JSON_SCAN_STEP(11);
        JSON_SCAN_STEP(12);
        JSON_SCAN_STEP(13);
        JSON_SCAN_STEP(14);
        JSON_SCAN_STEP(15);
    default: __builtin_unreachable();
    }
}

/* A bit for each of the 16 bytes at p that is a quote, a backslash, a control character or non-ASCII. */
static inline unsigned json_scan_block(const char *p)
{
    __m128i block = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i quote = _mm_cmpeq_epi8(block, _mm_set1_epi8('"'));
    __m128i backslash = _mm_cmpeq_epi8(block, _mm_set1_epi8('\\'));
    /* As signed bytes, control characters and non-ASCII are both less than a space: their difference is
     * negative. */
    __m128i outside = _mm_subs_epi8(block, _mm_set1_epi8(' '));
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), outside));
}
#endif

/* The first byte from p on that is a quote, a backslash, a control character or non-ASCII; end where there is
 * none. */
static inline const char *json_scan_plain(const char *p, const char *end)
{
#ifdef JSON_SCAN_SSE2
    while (end - p >= 16) {
        unsigned special = json_scan_block(p);
        if (special != 0)
            return p + __builtin_ctz(special);
        p += 16;
    }
#else
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = UINT64_C(0x8080808080808080);
    while (end - p >= 8) {
        uint64_t word;
        memcpy(&word, p, sizeof word);
        uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
        /* A byte's high bit gets set where it is less than a space, zero after its xor, or non-ASCII. Borrows
         * may mark a byte too many, never one too few: the loop below looks again. */
        if ((((word - ones * ' ') | (quote - ones) | (backslash - ones) | word) & highs) != 0)
            break;
        p += 8;
    }
#endif
    while (p < end && (signed char)*p >= ' ' && *p != '"' && *p != '\\')
        p++;
    return p;
}

/* A string as below that is not plain all through: escapes, characters that are not ASCII. */
static inline const char *json_scan_string_mixed(const char *p, const char *end)
{
    for (;;) {
        p = json_scan_plain(p, end);
        if (p == end)
            return NULL;
        if (*p == '"')
            return p + 1;
        if ((unsigned char)*p < ' ')
            return NULL;
        if (*p == '\\') {
            p = json_scan_escape(p, end);
            if (p == NULL)
                return NULL;
        }
        while (p < end && (unsigned char)*p >= 0x80) {
            size_t len = json_utf8_length(p, end);
            if (len == 0)
                return NULL;
            p += len;
        }
    }
}

/* A string from after its opening quote to after its closing one. */
static inline __attribute__((always_inline)) const char *json_scan_string(const char *p, const char *end)
{
#ifdef JSON_SCAN_SSE2
    while (JSON_SCAN_LIKELY(end - p >= 16)) {
        unsigned special = json_scan_block(p);
        if (special != 0) {
            p = json_scan_advance(p, (unsigned)__builtin_ctz(special));
            if (JSON_SCAN_LIKELY(*p == '"'))
                return p + 1;
            break;
        }
        p += 16;
    }
#endif
    return json_scan_string_mixed(p, end);
}

/* --- numbers ----------------------------------------------------------------------------------- */

static inline bool json_scan_is_digit(char c)
{
    return (unsigned char)(c - '0') < 10;
}

static inline const char *json_scan_digits(const char *p, const char *end)
{
    const char *start = p;
    while (p < end && json_scan_is_digit(*p))
        p++;
    return p > start ? p : NULL;
}

/* A number of any size, byte by byte. */
static inline const char *json_scan_number_plain(const char *p, const char *end, bool integer_only)
{
    p += p < end && *p == '-';
    if (p < end && *p == '0')
        p++;
    else if ((p = json_scan_digits(p, end)) == NULL)
        return NULL;
    if (p < end && *p == '.') {
        if (integer_only || (p = json_scan_digits(p + 1, end)) == NULL)
            return NULL;
    }
    if (p < end && (*p | 0x20) == 'e') {
        p++;
        p += p < end && (*p == '+' || *p == '-');
        return integer_only ? NULL : json_scan_digits(p, end);
    }
    return p;
}

/* A number: of the usual size and without exponent in one look. With integer_only, NULL for one with fraction
 * or exponent. The length is added, not jumped over: unlike a name's, a reading's number of digits cannot be
 * guessed. */
static inline __attribute__((always_inline)) const char *json_scan_number(const char *p, const char *end,
                                                                          bool integer_only)
{
#ifdef JSON_SCAN_SSE2
    if (JSON_SCAN_LIKELY(end - p > 17)) {
        const char *first = p;
        if (*first == '-') {
            first++;
            __asm__("" : "+r"(first)); /* keeps the compiler from adding the comparison's result */
        }
        __m128i block = _mm_loadu_si128((const __m128i *)(const void *)first);
        /* Digits become 0x76 to 0x7F, all else more: the sign bit tells. Bits 16 and 17 end every search. */
        __m128i value = _mm_sub_epi8(block, _mm_set1_epi8('0'));
        __m128i above = _mm_adds_epu8(value, _mm_set1_epi8(0x7F - 9));
        unsigned other = (unsigned)_mm_movemask_epi8(above) | 0x30000;
        bool leading_zero = *first == '0' && (other & 2) == 0;
        if (JSON_SCAN_UNLIKELY((other & 1) != 0 || leading_zero))
            return NULL;
        unsigned stop = (unsigned)__builtin_ctz(other); /* 16 when all are digits */
        if (first[stop] == '.') {
            unsigned whole = stop;
            stop = (unsigned)__builtin_ctz(other & (other - 1));
            if (JSON_SCAN_UNLIKELY(integer_only || stop == whole + 1))
                return json_scan_number_plain(p, end, integer_only);
        }
        if (JSON_SCAN_LIKELY(stop < 16 && (first[stop] | 0x20) != 'e'))
            return first + stop;
    }
#endif
    return json_scan_number_plain(p, end, integer_only);
}

/* --- values ------------------------------------------------------------------------------------ */

/* The kinds of the open containers, a bit each (1: an object): the innermost 64 in a register, the rest on
 * the stack. */
struct json_scan_stack {
    uint64_t bits;
    unsigned depth;
    uint64_t saved[JSON_DEPTH_MAX / 64];
};

static inline void json_scan_push(struct json_scan_stack *stack, bool object)
{
    if (stack->depth % 64 == 0)
        stack->saved[stack->depth / 64] = stack->bits;
    stack->bits = stack->bits << 1 | object;
    stack->depth++;
}

static inline void json_scan_pop(struct json_scan_stack *stack)
{
    stack->depth--;
    stack->bits = stack->depth % 64 == 0 ? stack->saved[stack->depth / 64] : stack->bits >> 1;
}

/* What stands between a member's name and its value, from after the name's closing quote. */
static inline const char *json_scan_colon(const char *p)
{
    if (JSON_SCAN_UNLIKELY(*p != ':')) {
        p = json_scan_gap(p);
        if (*p != ':')
            return NULL;
    }
    return json_scan_gap(p + 1);
}

/* A member's name and its colon, white space before and after it included. */
static inline __attribute__((always_inline)) const char *json_scan_name(const char *p, const char *end)
{
    if (JSON_SCAN_UNLIKELY(*p != '"')) {
        p = json_scan_gap(p);
        if (*p != '"')
            return NULL;
    }
    p = json_scan_string(p + 1, end);
    return p != NULL ? json_scan_colon(p) : NULL;
}

static inline __attribute__((always_inline)) const char *json_scan_scalar(const char *p, const char *end)
{
    if (*p == '"')
        return json_scan_string(p + 1, end);
    return *p <= '9' ? json_scan_number(p, end, false) : json_scan_literal(p, end);
}

/* The object or array at p, at most max_depth deep. */
static inline const char *json_scan_container(const char *p, const char *end, unsigned max_depth)
{
    struct json_scan_stack stack;
    stack.bits = 0;
    stack.depth = 0;
    if (max_depth > JSON_DEPTH_MAX)
        max_depth = JSON_DEPTH_MAX;

    for (;;) {
        char c = *p;
        if (c == '{' || c == '[') {
            if (stack.depth == max_depth)
                return NULL;
            bool object = c == '{';
            json_scan_push(&stack, object);
            p = json_scan_gap(p + 1);
            if (*p != (object ? '}' : ']')) {
                if (object && (p = json_scan_name(p, end)) == NULL)
                    return NULL;
                continue;
            }
        } else {
            p = json_scan_scalar(p, end);
            if (p == NULL)
                return NULL;
        }
        /* after a scalar, or at the end of an empty container: containers end until one goes on */
        while (*p != ',') {
            p = json_scan_gap(p);
            if (*p == ',')
                break;
            if (*p != (stack.bits & 1 ? '}' : ']'))
                return NULL;
            json_scan_pop(&stack);
            p++;
            if (stack.depth == 0)
                return p;
            if (p == end)
                return NULL;
        }
        p++;
        p = stack.bits & 1 ? json_scan_name(p, end) : json_scan_gap(p);
        if (p == NULL)
            return NULL;
    }
}

/* The value at p, which is no white space; at most max_depth deep. */
static inline const char *json_scan_value(const char *p, const char *end, unsigned max_depth)
{
    return *p == '{' || *p == '[' ? json_scan_container(p, end, max_depth) : json_scan_scalar(p, end);
}

/* The end of a text without the white space there. */
static inline const char *json_scan_trim(const char *text, size_t len)
{
    while (len > 0 && json_scan_is_space(text[len - 1]))
        len--;
    return len > 0 ? text + len : text; /* an empty text may be NULL */
}

#endif
