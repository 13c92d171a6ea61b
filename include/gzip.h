/*
 * gzip.h - the gzip coding (RFC 1952) of whole bodies, by zlib.
 *
 * A compressor's quarter of a megabyte is made once and used again. Threads: one at a time.
 */
#ifndef TELEMETRYD_GZIP_H
#define TELEMETRYD_GZIP_H

#include "buffer.h"

struct gzip;

struct gzip *gzip_new(void);       /* NULL: out of memory */
void gzip_free(struct gzip *gzip); /* accepts NULL */

/* Appends the coding of len bytes. 0 or -ENOMEM, and then out holds nothing useful. */
int gzip_append(struct gzip *gzip, const char *bytes, size_t len, struct buffer *out);

#endif
