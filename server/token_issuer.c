#include "token_internal.h"

#include <string.h>

#define GUID_LEN 36
#define HOLE     "{tenantid}"

/* 8-4-4-4-12 hexadecimal digits; what follows is not looked at. */
static bool starts_with_guid(const char *text)
{
    for (size_t i = 0; i < GUID_LEN; i++) {
        bool hyphen = i == 8 || i == 13 || i == 18 || i == 23;
        if (hyphen ? text[i] != '-' : text[i] == '\0' || strchr("0123456789abcdefABCDEF", text[i]) == NULL)
            return false;
    }
    return true;
}

static bool is_guid(const char *text)
{
    return starts_with_guid(text) && text[GUID_LEN] == '\0';
}

/* The one path segment that is a GUID; NULL where there is none, or more than one. */
static const char *tenant_of(const char *iss)
{
    const char *found = NULL, *authority = strstr(iss, "://");

    if (authority == NULL)
        return NULL;
    for (const char *slash = authority + 3; (slash = strchr(slash, '/')) != NULL; slash++) {
        if (!starts_with_guid(slash + 1) || (slash[1 + GUID_LEN] != '/' && slash[1 + GUID_LEN] != '\0'))
            continue;
        if (found != NULL)
            return NULL;
        found = slash + 1;
    }
    return found;
}

bool token_issuer_fits(const char *pattern, const char *iss, const char *tid)
{
    bool has_guid = tid != NULL && is_guid(tid);

    for (const char *hole; (hole = strstr(pattern, HOLE)) != NULL; pattern = hole + strlen(HOLE)) {
        size_t before = (size_t)(hole - pattern);
        if (!has_guid || strncmp(iss, pattern, before) != 0 || strncmp(iss + before, tid, GUID_LEN) != 0)
            return false;
        iss += before + GUID_LEN;
    }
    return strcmp(iss, pattern) == 0;
}

bool token_tenant_fits(const char *iss, const char *tid)
{
    const char *tenant = tenant_of(iss);

    return tenant == NULL || tid == NULL || (is_guid(tid) && strncmp(tid, tenant, GUID_LEN) == 0);
}

bool token_version_fits(const char *iss, const char *ver)
{
    static const struct {
        const char *after_tenant, *ver;
    } forms[] = {{"/", "1.0"}, {"/v2.0", "2.0"}};

    const char *tenant = tenant_of(iss);
    if (tenant == NULL || ver == NULL)
        return true;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (strcmp(tenant + GUID_LEN, forms[i].after_tenant) == 0)
            return strcmp(ver, forms[i].ver) == 0;
    }
    return true;
}
