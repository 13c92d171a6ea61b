/*
 * cursor.h - the opaque text of a nextLink: where a list goes on, for one list and unchanged parameters.
 *
 * A cursor is base64url of "1.<fingerprint>.<after>.<until>.<position>". The fingerprint stands for
 * everything that must not change between two pages (the device, the parameters); after and until keep a
 * window still that was given relative to now. It is not signed: whoever forges one can only ask what they
 * could have asked anyway (the device comes from the path, and a store vets the position it is given).
 */
#ifndef TELEMETRYD_CURSOR_H
#define TELEMETRYD_CURSOR_H

#include "buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CURSOR_MAX 5000 /* bytes of a cursor's text; a longer position is not handed out */

struct cursor {
    uint64_t fingerprint;
    int64_t after, until; /* seconds; 0 where the list has no window */
    const char *position; /* the store's own, NUL-terminated */
};

/* Adds one part of what must not change; start with 0. NULL differs from "". */
uint64_t cursor_fingerprint(uint64_t fingerprint, const char *part);

/* Appends the cursor's text (A-Za-z0-9-_). Returns 0, or -E2BIG or -ENOMEM. */
int cursor_write(struct buffer *out, const struct cursor *cursor);

/* Reads one back; false where the text is not a cursor or its fingerprint is another. ret->position points
 * into scratch, which needs strlen(text) + 1 bytes. */
bool cursor_read(const char *text, uint64_t fingerprint, char *scratch, struct cursor *ret);

#endif
