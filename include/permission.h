/*
 * permission.h - what a caller may do. A row of the route table needs one of these or none; a token carries
 * several.
 *
 * The names are those of the app's scopes and roles ("Telemetry.Read"), compared case-sensitively.
 */
#ifndef TELEMETRYD_PERMISSION_H
#define TELEMETRYD_PERMISSION_H

#include <stddef.h>

enum permission {
    PERMISSION_NONE = 0, /* open to everybody */
    PERMISSION_TELEMETRY_READ = 1,
    PERMISSION_TELEMETRY_WRITE = 2,
    PERMISSION_DEVICE_READ = 4,
    PERMISSION_DEVICE_WRITE = 8,
    PERMISSION_OPS_READ = 16,
};

/* The bit of one name, or PERMISSION_NONE for a name that is not ours. */
enum permission permission_from_name(const char *name, size_t len);

/* "Telemetry.Read"; "" for none. */
const char *permission_name(enum permission permission);

#endif
