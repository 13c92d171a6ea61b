/*
 * packed.h - numbers one after the other in few bytes: what the opaque texts that callers keep are made of.
 *
 * A varint has seven bits in a byte, the lowest first, the eighth set in all but the last (as protocol
 * buffers have it); a word has four bytes, the lowest first. Reading is strict: one text for one run of
 * numbers.
 */
#ifndef TELEMETRYD_PACKED_H
#define TELEMETRYD_PACKED_H

#include "base64.h"
#include "buffer.h"

#include <stdbool.h>
#include <stdint.h>

void packed_put_varint(struct buffer *out, uint64_t value); /* up to INT64_MAX */
void packed_put_word(struct buffer *out, uint32_t value);

/* Appends the bytes as base64url. 0 or -ENOMEM, also where the bytes themselves ran out of memory. */
int packed_append_text(struct buffer *out, const struct buffer *bytes);

/* What is still to be read; after a failure everything reads as 0. */
struct packed {
    const unsigned char *at, *end;
    bool failed;
};

/* Of a text of at most `max` characters, decoded into bytes[PACKED_SIZE(max)]; has failed already where it is
 * longer, or no base64url. */
#define PACKED_SIZE(max) BASE64URL_DECODED_SIZE(max)
struct packed packed_read_text(const char *text, size_t max, unsigned char *bytes);

unsigned packed_byte(struct packed *in);
uint64_t packed_varint(struct packed *in, uint64_t max); /* a larger one is a failure */
uint32_t packed_word(struct packed *in);
/* Whether everything was read, and nothing failed. */
bool packed_ends(const struct packed *in);

#endif
