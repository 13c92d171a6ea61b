/*
 * params.h - typed query parameters. Each route's row names the parameters it takes; each parameter is typed
 * once, in a table, and checked before a handler runs.
 */
#ifndef TELEMETRYD_PARAMS_H
#define TELEMETRYD_PARAMS_H

#include "problem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PARAMS_MAX 8 /* a row's parameters */

enum param_type {
    PARAM_NUMBER,  /* a decimal number > min, <= max; fractions allowed */
    PARAM_INTEGER, /* min..max */
    PARAM_POINT,   /* a point in time, time_parse_point() */
    PARAM_CHOICE,  /* one of `choices`, exactly */
    PARAM_DEVICES, /* 1..max device ids, separated by commas */
    PARAM_CURSOR   /* 1..max bytes of A-Za-z0-9-_ (base64url); a bad one is InvalidCursor */
};

struct param {
    const char *name;
    enum param_type type;
    double min, max;
    const char *const *choices; /* PARAM_CHOICE: NULL-terminated */
    const char *accepts;        /* for the problem's detail: "must be .." */
};

struct param_value {
    bool given;
    double number;    /* PARAM_NUMBER */
    int64_t integer;  /* PARAM_INTEGER; PARAM_POINT: microseconds since 1970; PARAM_CHOICE: its index */
    const char *text; /* the decoded text, NUL-terminated, inside scratch */
};

/* Parses a raw query (without '?', may be NULL). params ends with a row without a name; values has PARAMS_MAX
 * entries and is zeroed first. scratch needs strlen(query) + 1 bytes and must live as long as values. Returns
 * true, or false with *ret_problem filled; its target then points into scratch or at a row's name. */
bool params_parse(const char *query, const struct param *params, int64_t now_us, char *scratch,
                  struct param_value *values, struct problem *ret_problem);

#endif
