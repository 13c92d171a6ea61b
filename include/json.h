/*
 * json.h - RFC 8259 text that is checked and kept, never parsed into a tree and dumped again, so that
 * numbers, member order and escapes stay as their author wrote them. (jansson reads what we need as values;
 * see design in CONTRIBUTING.)
 *
 * Nothing here allocates unless it says so. Threads: pure functions.
 */
#ifndef TELEMETRYD_JSON_H
#define TELEMETRYD_JSON_H

#include "buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- checking (base/json_check.c) -------------------------------------------------------------- */

enum { JSON_DEPTH_MAX = 1024 }; /* the most that any max_depth can ask for: more is taken as this */

enum json_fault {
    JSON_OK = 0,
    JSON_SYNTAX,    /* not RFC 8259, or not UTF-8, or text after the value, or it ends too early */
    JSON_DUPLICATE, /* a member name stands twice in one object (compared after its escapes are decoded) */
    JSON_TOO_DEEP,  /* nested deeper than asked for */
    JSON_NO_MEMORY
};

struct json_error {
    size_t offset;       /* bytes from the start of the text */
    unsigned line;       /* from 1 */
    unsigned column;     /* from 1, in bytes */
    const char *message; /* static; what was expected */
};

/* Strict check of one whole text: grammar, UTF-8 (no surrogates, no overlong forms), surrogate pairs in \u
 * escapes need not match (RFC 8259 allows it), depth (a scalar is 0, `[]` is 1). With `unique`, member names
 * must be unique at every depth; the memory it needs for that is bounded by the text and its hashing is
 * keyed, so that no caller can make it slow. ret_error may be NULL; it is written only on a fault. */
enum json_fault json_check(const char *text, size_t len, unsigned max_depth, bool unique,
                           struct json_error *ret_error);

/* The same without uniqueness, made for speed (2 GB/s on telemetry): true when the text is one valid JSON
 * value. */
bool json_valid(const char *text, size_t len, unsigned max_depth);

/* --- slices of a text that was checked (base/json_slice.c) ------------------------------------- */

/* A value inside a checked text: its bytes without white space around them. */
struct json_slice {
    const char *text; /* NULL: no such value */
    size_t len;
};

enum json_kind {
    JSON_NONE,
    JSON_OBJECT,
    JSON_ARRAY,
    JSON_STRING,
    JSON_NUMBER,
    JSON_TRUE,
    JSON_FALSE,
    JSON_NULL
};

enum json_kind json_kind(struct json_slice value);

/* The whole text as a slice. */
struct json_slice json_root(const char *text, size_t len);

/* Walks the members of an object or the elements of an array:
 *     struct json_iter it = json_iter(value);
 *     while (json_next(&it)) use(it.name, it.value);
 * name is the raw string with its quotes (JSON_NONE in arrays). A value that is neither has no members. */
struct json_iter {
    struct json_slice name;
    struct json_slice value;
    const char *at, *end; /* private */
};
struct json_iter json_iter(struct json_slice container);
bool json_next(struct json_iter *it);

/* The member of an object by its decoded name; {NULL, 0} where there is none or `object` is no object. Of
 * duplicates the last. json_path takes names separated by '.', e.g. "properties.reported.status". */
struct json_slice json_member(struct json_slice object, const char *name);
struct json_slice json_path(struct json_slice value, const char *path);

/* True when the string slice, decoded, equals text (NUL-terminated). False for what is not a string. */
bool json_string_equals(struct json_slice value, const char *text);

/* Decodes a string slice into out as UTF-8 with a NUL. Returns its length; -1 when it is not a string, does
 * not fit into size, or holds U+0000 or a lone surrogate. */
long json_string_decode(struct json_slice value, char *out, size_t size);

/* Appends a string slice, decoded; a lone surrogate becomes U+FFFD. Nothing for what is not a string. */
void json_string_append(struct buffer *out, struct json_slice value);

/* The slice as an integer. Returns false where it is not a number without fraction and exponent within int64.
 */
bool json_int64(struct json_slice value, int64_t *ret);

unsigned json_depth(struct json_slice value); /* a scalar is 0 */

/* --- merge patch (base/json_merge.c) ----------------------------------------------------------- */

/* RFC 7396 over checked texts (unique names): appends the merge of patch into target. target {NULL,0} stands
 * for an absent one. Values keep their bytes. Allocates through out and for an index of the names, O(n log
 * n). Both texts at most max_depth deep by the caller's check. Returns 0 or -ENOMEM. */
int json_merge_patch(struct buffer *out, struct json_slice target, struct json_slice patch);

#endif
