#include "negotiate.h"

#include <string.h>
#include <strings.h>

/* One element of a comma-separated list: a name and its quality. */
struct preference {
    const char *name;
    size_t len;
    unsigned quality; /* thousandths; 1000 where none is given */
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static void trim(const char **text, size_t *len)
{
    while (*len > 0 && is_blank(**text)) {
        ++*text;
        --*len;
    }
    while (*len > 0 && is_blank((*text)[*len - 1]))
        --*len;
}

/* qvalue of RFC 9110, 12.4.2: 0 or 1 with up to three digits behind the point. */
static bool parse_quality(const char *text, size_t len, unsigned *ret)
{
    unsigned value = 0, weight = 1000;
    if (len == 0 || len > 5 || (text[0] != '0' && text[0] != '1') || (len > 1 && text[1] != '.'))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (i == 1)
            continue;
        if (text[i] < '0' || text[i] > '9')
            return false;
        value += (unsigned)(text[i] - '0') * weight;
        weight /= 10;
    }
    if (value > 1000)
        return false;
    *ret = value;
    return true;
}

/* `name;parameter=..;q=0.5`. Other parameters than q are passed over: no format that we have takes any. */
static bool parse_element(const char *text, size_t len, struct preference *ret)
{
    const char *end = text + len, *semicolon = memchr(text, ';', len);
    *ret = (struct preference){text, semicolon != NULL ? (size_t)(semicolon - text) : len, 1000};
    trim(&ret->name, &ret->len);
    while (semicolon != NULL) {
        const char *parameter = semicolon + 1;
        semicolon = memchr(parameter, ';', (size_t)(end - parameter));
        size_t parameter_len = (size_t)((semicolon != NULL ? semicolon : end) - parameter);
        trim(&parameter, &parameter_len);
        if (parameter_len >= 2 && strncasecmp(parameter, "q=", 2) == 0 &&
            !parse_quality(parameter + 2, parameter_len - 2, &ret->quality))
            return false;
    }
    return ret->len > 0;
}

/* The next element that can be understood, from *at on. */
static bool next_preference(const char **at, struct preference *ret)
{
    while (**at != '\0') {
        const char *text = *at;
        size_t len = strcspn(text, ",");
        *at = text[len] == ',' ? text + len + 1 : text + len;
        trim(&text, &len);
        if (len > 0 && parse_element(text, len, ret))
            return true;
    }
    return false;
}

static bool is(const struct preference *preference, const char *name)
{
    return strlen(name) == preference->len && strncasecmp(preference->name, name, preference->len) == 0;
}

/* How exactly an element names a type: 3 itself, 2 its kind, 1 everything, 0 not. */
static unsigned exactness(const struct preference *preference, const char *type)
{
    if (is(preference, type))
        return 3;
    if (is(preference, "*/*"))
        return 1;
    size_t kind = strcspn(type, "/") + 1;
    return preference->len == kind + 1 && preference->name[kind] == '*' &&
                   strncasecmp(preference->name, type, kind) == 0
               ? 2
               : 0;
}

/* The most exact element decides about a type, whatever its quality (RFC 9110, 12.5.1). */
static unsigned type_quality(const char *accept, const char *type)
{
    struct preference preference;
    unsigned best = 0, quality = 0;
    while (next_preference(&accept, &preference)) {
        unsigned exact = exactness(&preference, type);
        if (exact > best) {
            best = exact;
            quality = preference.quality;
        }
    }
    return quality;
}

int negotiate_media_type(const char *accept, const char *const *offered)
{
    if (accept == NULL || accept[strspn(accept, " \t,")] == '\0')
        return 0;
    int chosen = -1;
    unsigned best = 0;
    for (int i = 0; offered[i] != NULL; i++) {
        unsigned quality = type_quality(accept, offered[i]);
        if (quality > best) {
            best = quality;
            chosen = i;
        }
    }
    return chosen;
}

bool negotiate_gzip(const char *accept_encoding)
{
    struct preference preference;
    int gzip = -1, identity = -1, any = -1;

    if (accept_encoding == NULL)
        return false;
    while (next_preference(&accept_encoding, &preference)) {
        if (is(&preference, "gzip") || is(&preference, "x-gzip"))
            gzip = (int)preference.quality;
        else if (is(&preference, "identity"))
            identity = (int)preference.quality;
        else if (is(&preference, "*"))
            any = (int)preference.quality;
    }
    if (gzip < 0)
        gzip = any;
    /* What is not named may be sent, but ranks below whatever is. */
    return gzip > 0 && gzip >= identity;
}

bool negotiate_etag_matches(const char *if_none_match, const char *etag)
{
    if (if_none_match == NULL)
        return false;
    size_t len = strlen(etag);
    const char *at = if_none_match + strspn(if_none_match, " \t,");
    if (*at == '*' && at[1 + strspn(at + 1, " \t")] == '\0')
        return true;
    while (*at != '\0') {
        if (strncmp(at, "W/", 2) == 0)
            at += 2;
        if (*at != '"')
            return false;
        const char *end = strchr(at + 1, '"');
        if (end == NULL)
            return false;
        if ((size_t)(end + 1 - at) == len && memcmp(at, etag, len) == 0)
            return true;
        at = end + 1;
        at += strspn(at, " \t,");
    }
    return false;
}
