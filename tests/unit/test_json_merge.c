#include "buffer.h"
#include "json.h"

#include <stdlib.h>
#include <string.h>

/* json_merge_patch once more, with allocations that fail when the test says so. */
static int allocations_left = -1; /* -1: all of them work */

static bool allocation_fails(void)
{
    if (allocations_left == 0)
        return true;
    if (allocations_left > 0)
        allocations_left--;
    return false;
}

static void *test_calloc(size_t count, size_t size)
{
    return allocation_fails() ? NULL : calloc(count, size);
}

static void *test_realloc(void *block, size_t size)
{
    return allocation_fails() ? NULL : realloc(block, size);
}

int failing_merge_patch(struct buffer *, struct json_slice, struct json_slice);
#define calloc(count, size)       test_calloc(count, size)
#define realloc(block, size)      test_realloc(block, size)
#define json_merge_patch          failing_merge_patch
#define buffer_reserve            failing_reserve
#define buffer_append             failing_append
#define buffer_append_text        failing_append_text
#define buffer_append_char        failing_append_char
#define buffer_append_json_string failing_append_json_string
#define buffer_printf             failing_printf
#define buffer_terminate          failing_terminate
#define buffer_take               failing_take
#define buffer_clear              failing_clear
#define buffer_free               failing_free
int buffer_reserve(struct buffer *, size_t);
void buffer_append(struct buffer *, const void *, size_t);
void buffer_append_text(struct buffer *, const char *);
void buffer_append_char(struct buffer *, char);
void buffer_printf(struct buffer *, const char *, ...) __attribute__((format(printf, 2, 3)));
void buffer_append_json_string(struct buffer *, const char *, size_t);
const char *buffer_terminate(struct buffer *);
char *buffer_take(struct buffer *, size_t *);
void buffer_clear(struct buffer *);
void buffer_free(struct buffer *);
#include "../../base/buffer.c"
#undef fail
#include "../../base/json_merge.c"
#undef calloc
#undef realloc
#undef json_merge_patch
#undef buffer_reserve
#undef buffer_append
#undef buffer_append_text
#undef buffer_append_char
#undef buffer_append_json_string
#undef buffer_printf
#undef buffer_terminate
#undef buffer_take
#undef buffer_clear
#undef buffer_free

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>
