/*
 * cors.h - which browser pages of other origins may read the answers (the Fetch standard's CORS protocol),
 * without credentials.
 *
 * Pure: looks at an Origin field and the setting, and names the fields of the answer.
 */
#ifndef TELEMETRYD_CORS_H
#define TELEMETRYD_CORS_H

#include <stdbool.h>

/* origins: comma-separated serialized origins (checked by config). True when `origin` is one of them, byte by
 * byte. */
bool cors_origin_allowed(const char *origins, const char *origin);

/* A preflight: OPTIONS with Origin and Access-Control-Request-Method. */
bool cors_is_preflight(const char *method, const char *origin, const char *request_method);

/* The values of fixed fields. */
extern const char cors_exposed_headers[]; /* Access-Control-Expose-Headers */
extern const char cors_allowed_headers[]; /* Access-Control-Allow-Headers of a preflight */
extern const char cors_max_age[];         /* Access-Control-Max-Age, seconds: at most a day */

#endif
