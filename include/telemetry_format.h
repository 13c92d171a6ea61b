/*
 * telemetry_format.h - a page of readings in other formats than the store's JSON.
 *
 * A page is a JSON array `[{"data":..,"timestamp":..},..]` that a store vouches for (telemetry_store.h).
 * Pure; memory is that of the answer and of one row.
 */
#ifndef TELEMETRYD_TELEMETRY_FORMAT_H
#define TELEMETRYD_TELEMETRY_FORMAT_H

#include "buffer.h"

#include <stddef.h>

#define TELEMETRY_CSV_COLUMNS_MAX 1000

/* RFC 4180: a head row of `timestamp` (ISO 8601, UTC) and the fields of all readings in the order in which
 * they first appear, then a row for each reading. Numbers stay the bytes that they are; null and what a
 * reading lacks are empty, an empty string is ""; what is nested is JSON text. A field that is itself called
 * timestamp is a column of its own behind ours. Data that is no object stands in a column `data`.
 * A text that begins with = + - or @ is not changed, though a spreadsheet may take it for a formula: who
 * reads CSV gets what JSON would say.
 * 0; -E2BIG where there are more fields than TELEMETRY_CSV_COLUMNS_MAX; -ENOMEM. */
int telemetry_csv_append(struct buffer *out, const char *page, size_t len);

/* `{"data":..,"timestamp":..}` a line; line breaks between tokens of a stored text are left out. 0 or
 * -ENOMEM. */
int telemetry_ndjson_append(struct buffer *out, const char *page, size_t len);

#endif
