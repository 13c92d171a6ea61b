/*
 * json_tree.h - a JSON text as jansson's tree, or not at all.
 *
 * jansson 2.14 does not always notice that memory ran out: where its token buffer cannot grow, it drops the
 * byte and goes on, so that a string comes back shorter than it was written; elsewhere it calls the text
 * wrong. So its allocations are watched, and a tree during whose making one failed is thrown away.
 *
 * Threads: any.
 */
#ifndef TELEMETRYD_JSON_TREE_H
#define TELEMETRYD_JSON_TREE_H

#include <stddef.h>

struct json_t; /* of jansson.h, whose names clash with json.h */

/* Names must be unique. 0 and a new reference; -EINVAL for a text that is not an object or array, or that
 * jansson does not take (integers past 64 bits, lone surrogates, U+0000, 2,048 levels); -ENOMEM. */
int json_tree_load(const char *text, size_t len, struct json_t **ret_json);

#endif
