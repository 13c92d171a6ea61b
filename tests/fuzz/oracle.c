#include "fuzz.h"

#include <jansson.h>

static json_t *load(const char *text, size_t len, size_t flags, json_error_t *error)
{
    return json_loadb(text, len, JSON_DECODE_ANY | JSON_ALLOW_NUL | flags, error);
}

enum oracle oracle_json(const char *text, size_t len, bool unique)
{
    static const char *const own_reasons[] = {"too big",          "overflow", "surrogate",
                                              "\\u0000",          "NUL byte", "maximum parsing depth",
                                              "invalid Unicode '"};
    json_error_t error;
    json_t *root = load(text, len, unique ? JSON_REJECT_DUPLICATES : 0, &error);
    if (root != NULL) {
        json_decref(root);
        /* jansson takes a NUL byte behind the value for the end of the text. */
        return memchr(text, '\0', len) == NULL ? ORACLE_ACCEPTS : ORACLE_CANNOT_SAY;
    }
    for (size_t i = 0; i < sizeof own_reasons / sizeof *own_reasons; i++)
        if (strstr(error.text, own_reasons[i]) != NULL)
            return ORACLE_CANNOT_SAY;
    return ORACLE_REFUSES;
}

char *oracle_string(const char *text, size_t len, size_t *ret_len)
{
    json_error_t error;
    json_t *root = load(text, len, 0, &error);
    char *copy = NULL;
    if (json_is_string(root)) {
        *ret_len = json_string_length(root);
        copy = fuzz_copy(json_string_value(root), *ret_len);
    }
    json_decref(root);
    return copy;
}

static const json_t *walk(const json_t *value, const char *path)
{
    while (value != NULL && *path != '\0') {
        char name[64];
        size_t len = strcspn(path, ".");
        ALWAYS(len < sizeof name);
        memcpy(name, path, len);
        name[len] = '\0';
        value = json_is_array(value) ? json_array_get(value, strtoul(name, NULL, 10))
                                     : json_object_get(value, name);
        path += len + (path[len] == '.');
    }
    return value;
}

char *oracle_string_at(const char *text, size_t len, const char *path)
{
    json_error_t error;
    json_t *root = load(text, len, 0, &error);
    const char *found = json_string_value(walk(root, path));
    char *copy = found != NULL ? strdup(found) : NULL;
    json_decref(root);
    return copy;
}

long oracle_count_at(const char *text, size_t len, const char *path)
{
    json_error_t error;
    json_t *root = load(text, len, 0, &error);
    const json_t *value = walk(root, path);
    long count = json_is_array(value)    ? (long)json_array_size(value)
                 : json_is_object(value) ? (long)json_object_size(value)
                                         : -1;
    json_decref(root);
    return count;
}

/* RFC 7396, section 2, word for word. Takes target over, and returns a reference. */
static json_t *merge(json_t *target, const json_t *patch)
{
    if (!json_is_object(patch)) {
        json_decref(target);
        return json_deep_copy(patch);
    }
    if (!json_is_object(target)) {
        json_decref(target);
        target = json_object();
    }
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)patch, name, value)
    {
        if (json_is_null(value))
            json_object_del(target, name);
        else
            json_object_set_new(target, name, merge(json_incref(json_object_get(target, name)), value));
    }
    return target;
}

bool oracle_merge_agrees(const char *target, size_t target_len, const char *patch, size_t patch_len,
                         const char *merged, size_t merged_len)
{
    json_error_t error;
    json_t *t = target != NULL ? load(target, target_len, 0, &error) : NULL;
    json_t *p = load(patch, patch_len, 0, &error);
    json_t *m = load(merged, merged_len, 0, &error);
    bool agrees = true;
    if (p != NULL && m != NULL && (t != NULL || target == NULL)) {
        t = merge(t, p);
        agrees = json_equal(t, m) != 0;
    }
    json_decref(t);
    json_decref(p);
    json_decref(m);
    return agrees;
}
