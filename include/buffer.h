/*
 * buffer.h - a growing run of bytes.
 *
 * Errors are sticky: the first allocation that fails frees the text and sets `failed`, and every later append
 * does nothing. A builder appends all it has and looks at `failed` once, at the end.
 *
 * Ownership: the buffer owns `data` until buffer_free() or buffer_take(). A zeroed struct is an empty buffer.
 * Threads: none of its own; one owner at a time.
 */
#ifndef TELEMETRYD_BUFFER_H
#define TELEMETRYD_BUFFER_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct buffer {
    char *data; /* NULL until the first append */
    size_t len; /* bytes in use; the text is not NUL-terminated unless buffer_terminate() was called */
    size_t cap;
    bool failed;
};

/* Makes room for `extra` bytes past len. Returns 0 or -ENOMEM (then failed is set). */
int buffer_reserve(struct buffer *b, size_t extra);

void buffer_append(struct buffer *b, const void *bytes, size_t len);
void buffer_append_text(struct buffer *b, const char *text);
void buffer_append_char(struct buffer *b, char c);
void buffer_printf(struct buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Appends `text` as a JSON string with its quotes: ", \ and control characters escaped, other bytes as they
 * are. */
void buffer_append_json_string(struct buffer *b, const char *text, size_t len);

/* Puts a NUL after the text (not counted in len). Returns the text, or NULL when the buffer failed. */
const char *buffer_terminate(struct buffer *b);

/* Hands the bytes (NUL-terminated) over to the caller, who frees them with free(); the buffer is empty again.
 * Returns NULL when the buffer failed. ret_len may be NULL. */
char *buffer_take(struct buffer *b, size_t *ret_len);

void buffer_clear(struct buffer *b); /* forgets the text, keeps the memory, keeps failed */
void buffer_free(struct buffer *b);  /* frees; the struct is zeroed and may be used again */

#endif
