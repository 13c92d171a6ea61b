#include "grants.h"

#include <errno.h>
#include <jansson.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct grant {
    const char *text; /* in the same block, behind the entries */
    size_t len;
    bool prefix;
};

struct grants {
    atomic_uint references;
    size_t count;
    struct grant entries[];
};

/* What the entries' texts take together; false where the claim is not an array of strings. */
static bool measure(const json_t *claim, size_t *ret_bytes)
{
    size_t bytes = 0;

    if (!json_is_array(claim) || json_array_size(claim) > GRANTS_MAX)
        return false;
    for (size_t i = 0; i < json_array_size(claim); i++) {
        const json_t *entry = json_array_get(claim, i);
        if (!json_is_string(entry))
            return false;
        bytes += json_string_length(entry);
    }
    *ret_bytes = bytes;
    return true;
}

int grants_new(const json_t *claim, struct grants **ret_grants)
{
    size_t bytes = 0;
    size_t count = measure(claim, &bytes) ? json_array_size(claim) : 0;
    struct grants *grants = malloc(sizeof *grants + count * sizeof(struct grant) + bytes);
    if (grants == NULL)
        return -ENOMEM;

    char *text = (char *)&grants->entries[count];
    atomic_init(&grants->references, 1);
    grants->count = count;
    for (size_t i = 0; i < count; i++) {
        const json_t *entry = json_array_get(claim, i);
        size_t len = json_string_length(entry);
        if (len != 0)
            memcpy(text, json_string_value(entry), len);
        bool prefix = len != 0 && text[len - 1] == '*';
        grants->entries[i] = (struct grant){.text = text, .len = prefix ? len - 1 : len, .prefix = prefix};
        text += len;
    }
    *ret_grants = grants;
    return 0;
}

struct grants *grants_ref(struct grants *grants)
{
    if (grants != NULL)
        atomic_fetch_add(&grants->references, 1);
    return grants;
}

void grants_unref(struct grants *grants)
{
    if (grants != NULL && atomic_fetch_sub(&grants->references, 1) == 1)
        free(grants);
}

bool grants_has(const struct grants *grants, const char *device_id)
{
    if (grants == NULL)
        return true;
    size_t len = strlen(device_id);
    for (size_t i = 0; i < grants->count; i++) {
        const struct grant *grant = &grants->entries[i];
        if ((grant->prefix ? len >= grant->len : len == grant->len) &&
            memcmp(device_id, grant->text, grant->len) == 0)
            return true;
    }
    return false;
}
