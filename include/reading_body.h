/*
 * reading_body.h - the body of POST telemetry: one reading or an array of them, checked and left as it is.
 */
#ifndef TELEMETRYD_READING_BODY_H
#define TELEMETRYD_READING_BODY_H

#include "buffer.h"
#include "problem.h"
#include "telemetry_store.h"

#include <stdbool.h>
#include <stddef.h>

#define READINGS_MAX      500
#define READING_DEPTH_MAX 32 /* the reading itself is level 1 */

struct reading_body {
    struct reading *readings; /* slices of the body; free() */
    size_t count;
    bool array;
    struct buffer ids; /* what the readings' ids point into */
};

/* Returns true and fills *ret, or false with *ret_problem filled (and *ret untouched). The body must outlive
 * *ret. */
bool reading_body_parse(const char *body, size_t len, const char *device_id, struct reading_body *ret,
                        struct problem *ret_problem);
void reading_body_free(struct reading_body *body);

#endif
