#include "permission.h"

#include <string.h>

static const struct {
    const char *name;
    enum permission permission;
} permissions[] = {
    {"Telemetry.Read", PERMISSION_TELEMETRY_READ},
    {"Telemetry.Write", PERMISSION_TELEMETRY_WRITE},
    {"Device.Read", PERMISSION_DEVICE_READ},
    {"Device.Write", PERMISSION_DEVICE_WRITE},
    {"Ops.Read", PERMISSION_OPS_READ},
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum permission permission_from_name(const char *name, size_t len)
{
    for (size_t i = 0; i < COUNT(permissions); i++) {
        if (strlen(permissions[i].name) == len && memcmp(permissions[i].name, name, len) == 0)
            return permissions[i].permission;
    }
    return PERMISSION_NONE;
}

const char *permission_name(enum permission permission)
{
    for (size_t i = 0; i < COUNT(permissions); i++) {
        if (permissions[i].permission == permission)
            return permissions[i].name;
    }
    return "";
}
