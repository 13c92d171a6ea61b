#include "json.h"

#include "json_scan_inline.h"

#include <string.h>

/* The texts here were checked, so that nothing is checked again; `end` is still never passed. */

/* --- skipping ---------------------------------------------------------------------------------- */

/* From a string's opening quote to after its closing one. */
static const char *skip_string(const char *p, const char *end)
{
    p++;
    for (;;) {
        p = json_scan_plain(p, end);
        while (p < end && (unsigned char)*p >= 0x80)
            p++;
        if (p == end)
            return end;
        if (*p == '"')
            return p + 1;
        p += *p == '\\' && end - p > 1 ? 2 : 1;
    }
}

/* Over one value; ret_depth may be NULL. */
static const char *skip_value(const char *p, const char *end, unsigned *ret_depth)
{
    unsigned depth = 0, deepest = 0;

    while (p < end) {
        if (*p == '"') {
            p = skip_string(p, end);
        } else if (*p == '{' || *p == '[') {
            if (++depth > deepest)
                deepest = depth;
            p++;
            continue;
        } else if (*p == '}' || *p == ']') {
            if (depth > 0)
                depth--;
            p++;
        } else if (depth > 0) {
            p++;
            continue;
        } else {
            while (p < end && *p != ',' && *p != '}' && *p != ']' && !json_scan_is_space(*p))
                p++;
        }
        if (depth == 0)
            break;
    }
    if (ret_depth != NULL)
        *ret_depth = deepest;
    return p;
}

/* --- slices ------------------------------------------------------------------------------------ */

enum json_kind json_kind(struct json_slice value)
{
    if (value.text == NULL || value.len == 0)
        return JSON_NONE;
    switch (value.text[0]) {
    case '{': return JSON_OBJECT;
    case '[': return JSON_ARRAY;
    case '"': return JSON_STRING;
    case 't': return JSON_TRUE;
    case 'f': return JSON_FALSE;
    case 'n': return JSON_NULL;
    default: return JSON_NUMBER;
    }
}

struct json_slice json_root(const char *text, size_t len)
{
    const char *end = json_scan_trim(text, len);
    const char *start = json_scan_space(text, end);
    return (struct json_slice){start, (size_t)(end - start)};
}

struct json_iter json_iter(struct json_slice container)
{
    enum json_kind kind = json_kind(container);
    if (kind != JSON_OBJECT && kind != JSON_ARRAY)
        return (struct json_iter){.at = NULL};
    return (struct json_iter){.at = container.text, .end = container.text + container.len};
}

bool json_next(struct json_iter *it)
{
    if (it->at == it->end)
        return false;
    /* `at` is the opening bracket or a comma; of an object, name.text tells from the second member on. */
    bool object = *it->at == '{' || it->name.text != NULL;
    const char *p = json_scan_space(it->at + 1, it->end);
    struct json_slice name = {NULL, 0};
    if (object && p < it->end && *p == '"') {
        const char *after = skip_string(p, it->end);
        name = (struct json_slice){p, (size_t)(after - p)};
        p = json_scan_space(after, it->end);
        if (p < it->end)
            p = json_scan_space(p + 1, it->end);
    }
    if (p == it->end || *p == '}' || *p == ']') {
        it->at = it->end;
        return false;
    }
    const char *after = skip_value(p, it->end, NULL);
    it->name = name;
    it->value = (struct json_slice){p, (size_t)(after - p)};
    p = json_scan_space(after, it->end);
    it->at = p < it->end && *p == ',' ? p : it->end;
    return true;
}

unsigned json_depth(struct json_slice value)
{
    unsigned depth = 0;
    if (value.text != NULL)
        skip_value(value.text, value.text + value.len, &depth);
    return depth;
}

/* --- strings ----------------------------------------------------------------------------------- */

/* The inside of a string; false for what is none. */
static bool inside(struct json_slice value, struct json_bytes *ret)
{
    if (json_kind(value) != JSON_STRING || value.len < 2)
        return false;
    *ret = json_bytes(value.text + 1, value.len - 2);
    return true;
}

static bool string_equals(struct json_slice value, const char *text, size_t len)
{
    struct json_bytes bytes;
    if (!inside(value, &bytes))
        return false;
    /* An escape is longer than what it stands for. */
    if (value.len - 2 == len)
        return memcmp(bytes.at, text, len) == 0 && memchr(text, '\\', len) == NULL;
    if (value.len - 2 < len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (json_bytes_next(&bytes) != (unsigned char)text[i])
            return false;
    return json_bytes_next(&bytes) < 0;
}

bool json_string_equals(struct json_slice value, const char *text)
{
    return string_equals(value, text, strlen(text));
}

long json_string_decode(struct json_slice value, char *out, size_t size)
{
    struct json_bytes bytes;
    if (!inside(value, &bytes))
        return -1;
    struct json_bytes again = bytes; /* a first look, so that out stays untouched on failure */
    size_t len = 0;
    for (int c; (c = json_bytes_next(&again)) >= 0; len++)
        if (c == 0 || len + 1 >= size)
            return -1;
    if (again.lone_surrogate || len >= size)
        return -1;
    for (size_t i = 0; i < len; i++)
        out[i] = (char)json_bytes_next(&bytes);
    out[len] = '\0';
    return (long)len;
}

/* The three bytes that a lone surrogate decodes to (json_utf8.h) begin with this; of UTF-8 the second byte is
 * then below 0xA0. */
#define SURROGATE_LEAD 0xED

void json_string_append(struct buffer *out, struct json_slice value)
{
    struct json_bytes bytes;
    if (!inside(value, &bytes))
        return;
    const char *escape = memchr(bytes.at, '\\', value.len - 2);
    if (escape == NULL) {
        buffer_append(out, bytes.at, value.len - 2);
        return;
    }
    for (int c; (c = json_bytes_next(&bytes)) >= 0;) {
        if (c == SURROGATE_LEAD) {
            int second = json_bytes_next(&bytes), third = json_bytes_next(&bytes);
            const char as_it_is[3] = {(char)c, (char)second, (char)third};
            buffer_append(out, second < 0xA0 ? as_it_is : "\xEF\xBF\xBD", 3);
        } else {
            buffer_append_char(out, (char)c);
        }
    }
}

/* --- members, integers ------------------------------------------------------------------------- */

static struct json_slice member(struct json_slice object, const char *name, size_t len)
{
    struct json_slice found = {NULL, 0};
    struct json_iter it = json_iter(object);
    while (json_next(&it))
        if (string_equals(it.name, name, len))
            found = it.value;
    return found;
}

struct json_slice json_member(struct json_slice object, const char *name)
{
    return member(object, name, strlen(name));
}

struct json_slice json_path(struct json_slice value, const char *path)
{
    for (;;) {
        size_t len = strcspn(path, ".");
        value = member(value, path, len);
        if (path[len] == '\0')
            return value;
        path += len + 1;
    }
}

bool json_int64(struct json_slice value, int64_t *ret)
{
    if (json_kind(value) != JSON_NUMBER)
        return false;
    size_t i = value.text[0] == '-';
    bool negative = i == 1;
    int64_t sum = 0;
    if (i == value.len)
        return false;
    for (; i < value.len; i++) {
        int digit = value.text[i] - '0';
        if (digit < 0 || digit > 9)
            return false;
        if (__builtin_mul_overflow(sum, 10, &sum) ||
            __builtin_add_overflow(sum, negative ? -digit : digit, &sum))
            return false;
    }
    *ret = sum;
    return true;
}
