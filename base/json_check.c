#include "json.h"

#include "json_names.h"
#include "json_utf8.h"

#include <errno.h>
#include <string.h>

/* One pass, byte by byte, that knows what it expected where the text breaks off. It is a second
 * implementation beside json_scan_inline.h on purpose: the tests hold each against the other. */

struct check {
    const char *at;
    const char *end;
    unsigned depth, max_depth;
    uint64_t objects[JSON_DEPTH_MAX / 64]; /* of the open containers, which are objects */
    struct json_names *names;              /* NULL: names need not be unique */
    const char *where;                     /* of the fault */
    const char *message;
};

static enum json_fault fail(struct check *check, enum json_fault fault, const char *where,
                            const char *message)
{
    check->where = where;
    check->message = message;
    return fault;
}

static enum json_fault syntax(struct check *check, const char *message)
{
    return fail(check, JSON_SYNTAX, check->at, message);
}

/* The byte at hand; -1 at the end. */
static int peek(const struct check *check)
{
    return check->at < check->end ? (unsigned char)*check->at : -1;
}

static void skip_space(struct check *check)
{
    int c = peek(check);
    while (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        check->at++;
        c = peek(check);
    }
}

/* --- scalars ----------------------------------------------------------------------------------- */

static bool is_hex(int c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static enum json_fault check_escape(struct check *check)
{
    check->at++;
    int c = peek(check);
    switch (c) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't': check->at++; return JSON_OK;
    case 'u': break;
    default: return syntax(check, c < 0 ? "the text ends inside a string" : "no such escape");
    }
    check->at++;
    for (int i = 0; i < 4; i++, check->at++)
        if (!is_hex(peek(check)))
            return syntax(check, "expected four hexadecimal digits after \\u");
    return JSON_OK;
}

static enum json_fault check_string(struct check *check)
{
    check->at++;
    for (;;) {
        int c = peek(check);
        if (c < 0)
            return syntax(check, "the text ends inside a string");
        if (c == '"') {
            check->at++;
            return JSON_OK;
        }
        if (c < 0x20)
            return syntax(check, "a control character in a string must be escaped");
        if (c == '\\') {
            enum json_fault fault = check_escape(check);
            if (fault != JSON_OK)
                return fault;
        } else if (c < 0x80) {
            check->at++;
        } else {
            size_t len = json_utf8_length(check->at, check->end);
            if (len == 0)
                return syntax(check, "not UTF-8");
            check->at += len;
        }
    }
}

static bool skip_digits(struct check *check)
{
    const char *start = check->at;
    while (peek(check) >= '0' && peek(check) <= '9')
        check->at++;
    return check->at > start;
}

static enum json_fault check_number(struct check *check)
{
    if (peek(check) == '-')
        check->at++;
    if (peek(check) == '0') {
        check->at++;
        if (peek(check) >= '0' && peek(check) <= '9')
            return syntax(check, "a number must not begin with a zero");
    } else if (!skip_digits(check)) {
        return syntax(check, "expected a digit");
    }
    if (peek(check) == '.') {
        check->at++;
        if (!skip_digits(check))
            return syntax(check, "expected a digit after the point");
    }
    if (peek(check) == 'e' || peek(check) == 'E') {
        check->at++;
        if (peek(check) == '+' || peek(check) == '-')
            check->at++;
        if (!skip_digits(check))
            return syntax(check, "expected a digit in the exponent");
    }
    return JSON_OK;
}

static enum json_fault check_word(struct check *check, const char *word)
{
    const char *start = check->at;
    for (; *word != '\0'; word++, check->at++)
        if (peek(check) != (unsigned char)*word)
            return fail(check, JSON_SYNTAX, start, "expected a value");
    return JSON_OK;
}

static enum json_fault check_scalar(struct check *check)
{
    int c = peek(check);
    if (c == '"')
        return check_string(check);
    if (c == '-' || (c >= '0' && c <= '9'))
        return check_number(check);
    if (c == 't')
        return check_word(check, "true");
    if (c == 'f')
        return check_word(check, "false");
    return c == 'n' ? check_word(check, "null") : syntax(check, "expected a value");
}

/* --- containers -------------------------------------------------------------------------------- */

static bool in_object(const struct check *check)
{
    unsigned level = check->depth - 1;
    return check->objects[level / 64] >> level % 64 & 1;
}

static enum json_fault open_container(struct check *check, bool object)
{
    if (check->depth == check->max_depth)
        return fail(check, JSON_TOO_DEEP, check->at, "nested too deep");
    unsigned level = check->depth++;
    uint64_t bit = UINT64_C(1) << level % 64;
    if (object)
        check->objects[level / 64] |= bit;
    else
        check->objects[level / 64] &= ~bit;
    if (object && check->names != NULL && json_names_open(check->names) != 0)
        return fail(check, JSON_NO_MEMORY, check->at, "out of memory");
    check->at++;
    skip_space(check);
    return JSON_OK;
}

static void close_container(struct check *check)
{
    if (in_object(check) && check->names != NULL)
        json_names_close(check->names);
    check->depth--;
    check->at++;
}

/* A member's name and its colon. */
static enum json_fault check_name(struct check *check)
{
    if (peek(check) != '"')
        return syntax(check, "expected a member name in quotes");
    const char *start = check->at;
    enum json_fault fault = check_string(check);
    if (fault != JSON_OK)
        return fault;
    if (check->names != NULL) {
        int result = json_names_add(check->names, start + 1, (size_t)(check->at - start - 2));
        if (result == -EEXIST)
            return fail(check, JSON_DUPLICATE, start, "this member name stands twice in its object");
        if (result != 0)
            return fail(check, JSON_NO_MEMORY, start, "out of memory");
    }
    skip_space(check);
    if (peek(check) != ':')
        return syntax(check, "expected ':' after the member name");
    check->at++;
    skip_space(check);
    return JSON_OK;
}

/* After a value: closes the containers that end here, and passes the comma (and the name) before the next
 * value. Depth 0 after it: the outermost value is over. */
static enum json_fault check_after_value(struct check *check)
{
    for (;; close_container(check)) {
        if (check->depth == 0)
            return JSON_OK;
        skip_space(check);
        bool object = in_object(check);
        int c = peek(check);
        if (c == ',') {
            check->at++;
            skip_space(check);
            return object ? check_name(check) : JSON_OK;
        }
        if (c != (object ? '}' : ']'))
            return syntax(check, object ? "expected ',' or '}'" : "expected ',' or ']'");
    }
}

static enum json_fault check_text(struct check *check)
{
    enum json_fault fault;

    skip_space(check);
    do {
        int c = peek(check);
        if (c == '{' || c == '[') {
            fault = open_container(check, c == '{');
            if (fault != JSON_OK)
                return fault;
            if (peek(check) != (c == '{' ? '}' : ']')) {
                fault = c == '{' ? check_name(check) : JSON_OK;
                continue;
            }
            close_container(check);
        } else if ((fault = check_scalar(check)) != JSON_OK) {
            return fault;
        }
        fault = check_after_value(check);
    } while (fault == JSON_OK && check->depth > 0);
    if (fault != JSON_OK)
        return fault;
    skip_space(check);
    return check->at == check->end ? JSON_OK : syntax(check, "text after the value");
}

/* --- the check --------------------------------------------------------------------------------- */

static void locate(const char *text, const struct check *check, struct json_error *ret_error)
{
    const char *line = text;
    unsigned number = 1;
    for (const char *p = text; p < check->where; p++) {
        if (*p == '\n') {
            number++;
            line = p + 1;
        }
    }
    ret_error->offset = (size_t)(check->where - text);
    ret_error->line = number;
    ret_error->column = (unsigned)(check->where - line) + 1;
    ret_error->message = check->message;
}

enum json_fault json_check(const char *text, size_t len, unsigned max_depth, bool unique,
                           struct json_error *ret_error)
{
    struct json_names names;
    struct check check;

    check.at = text;
    check.end = len > 0 ? text + len : text; /* an empty text may be NULL */
    check.depth = 0;
    check.max_depth = max_depth < JSON_DEPTH_MAX ? max_depth : JSON_DEPTH_MAX;
    check.names = NULL;
    if (unique) {
        json_names_init(&names);
        check.names = &names;
    }
    enum json_fault fault = check_text(&check);
    if (unique)
        json_names_free(&names);
    if (fault != JSON_OK && ret_error != NULL)
        locate(text, &check, ret_error);
    return fault;
}
