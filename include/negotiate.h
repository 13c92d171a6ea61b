/*
 * negotiate.h - what a caller accepts: media types and codings (RFC 9110, 12.5), and entity tags (13.1.2).
 * Pure.
 */
#ifndef TELEMETRYD_NEGOTIATE_H
#define TELEMETRYD_NEGOTIATE_H

#include <stdbool.h>
#include <stddef.h>

/* The entry of `offered` (full types without parameters, ends with NULL, the server's preference first) that
 * an Accept field likes best, by its quality and how exactly it names the type; -1 where it takes none.
 * accept NULL or empty: the first. A malformed element is skipped. Several field lines are given joined by
 * commas. */
int negotiate_media_type(const char *accept, const char *const *offered);

/* Whether a gzip coding is wanted: it has a quality above 0 and not below identity's. NULL: no. */
bool negotiate_gzip(const char *accept_encoding);

/* Whether If-None-Match names `etag` (quotes included), by weak comparison; "*" names all. NULL: no. */
bool negotiate_etag_matches(const char *if_none_match, const char *etag);

#endif
