/*
 * grants.h - the devices that a token is limited to: ids and `prefix*` patterns from one claim.
 *
 * Only a final `*` is a pattern ("*" alone is every device); elsewhere it is a character of an id. Comparison
 * is by bytes. Immutable after it was made.
 */
#ifndef TELEMETRYD_GRANTS_H
#define TELEMETRYD_GRANTS_H

#include <stdbool.h>
#include <stddef.h>

#define GRANTS_MAX 4096 /* entries; a token of 8 kB cannot hold more */

struct grants;
struct json_t; /* of jansson.h, whose names clash with json.h */

/* From the claim's value. An array of strings grants what they name; an empty array, an array with anything
 * but strings in it, one of more than GRANTS_MAX and every other type grant no device at all. 0; -ENOMEM. */
int grants_new(const struct json_t *claim, struct grants **ret_grants);
/* Shared by reference, by any thread: a list may be read on another one. Both accept NULL. */
struct grants *grants_ref(struct grants *grants);
void grants_unref(struct grants *grants);

/* grants NULL: every device. */
bool grants_has(const struct grants *grants, const char *device_id);

#endif
