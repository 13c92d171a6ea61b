/*
 * percent.h - percent-encoding (RFC 3986) and the device id that a path carries. Pure functions.
 */
#ifndef TELEMETRYD_PERCENT_H
#define TELEMETRYD_PERCENT_H

#include "buffer.h"

#include <stdbool.h>
#include <stddef.h>

/* Appends text with every byte outside A-Za-z0-9-._~ as %XX (upper-case hex). */
void percent_encode(struct buffer *out, const char *text, size_t len);

/* Decodes %XX; a malformed escape or a decoded NUL is refused. '+' is a plus sign. out needs len + 1 bytes
 * and gets a NUL. Returns the decoded length or -1. */
long percent_decode(const char *text, size_t len, char *out);

#define DEVICE_ID_MAX 128

/* IoT Hub's alphabet: 1 to 128 of A-Za-z0-9 and -._~:%*?!(),=@;$'#+ ; neither "." nor "..". */
bool device_id_valid(const char *id, size_t len);

/* Decodes one raw path segment into a device id. Returns false for a malformed escape or what is not a device
 * id. */
bool device_id_from_segment(const char *segment, size_t len, char out[DEVICE_ID_MAX + 1]);

/* The id of a stored item: deviceId-timestamp with / \ % ? # percent-encoded, as Cosmos forbids them in ids.
 */
void item_id_append(struct buffer *out, const char *device_id, const char *timestamp);

#endif
