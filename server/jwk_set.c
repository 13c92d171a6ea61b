#include "jwk_set.h"

#include "json_tree.h"
#include "jwk_key.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct jwk_set {
    atomic_uint references;
    size_t count, usable;
    struct jwk keys[]; /* by kid, each once; one that cannot be used has no key */
};

static bool same_kid(const struct jwk *a, const struct jwk *b)
{
    return strcmp(a->kid, b->kid) == 0;
}

/* Of one kid the keys that can be used come first. */
static int by_kid(const void *a, const void *b)
{
    const struct jwk *left = a, *right = b;
    int order = strcmp(left->kid, right->kid);
    return order != 0 ? order : (left->key == NULL) - (right->key == NULL);
}

/* Leaves one entry for each kid. Where two keys have it, which of them a token means cannot be known: none.
 */
static void settle(struct jwk_set *set)
{
    size_t kept = 0;

    qsort(set->keys, set->count, sizeof set->keys[0], by_kid);
    for (size_t i = 0, end; i < set->count; i = end) {
        struct jwk *first = &set->keys[kept++];
        *first = set->keys[i];
        for (end = i + 1; end < set->count && same_kid(first, &set->keys[end]); end++) {
            if (set->keys[end].key != NULL) {
                EVP_PKEY_free(first->key);
                first->key = NULL;
            }
            jwk_key_clear(&set->keys[end]);
        }
        set->usable += first->key != NULL;
    }
    set->count = kept;
}

/* A key that was refused keeps its kid in the set: a token that names it is no reason to fetch the set again.
 */
static int read_key(const json_t *json, struct jwk_set *set)
{
    struct jwk *next = &set->keys[set->count];
    int r = jwk_key_read(json, next);
    if (r == -EINVAL)
        r = jwk_key_read_refused(json, next);
    if (r == 0)
        set->count++;
    return r == -EINVAL ? 0 : r;
}

static int read_keys(const json_t *keys, struct jwk_set **ret_set)
{
    int r = 0;
    size_t count = json_array_size(keys);
    if (!json_is_array(keys) || count == 0 || count > JWK_SET_KEYS_MAX)
        return -EINVAL;
    struct jwk_set *set = calloc(1, sizeof *set + count * sizeof set->keys[0]);
    if (set == NULL)
        return -ENOMEM;
    atomic_init(&set->references, 1);
    for (size_t i = 0; i < count && r == 0; i++)
        r = read_key(json_array_get(keys, i), set);
    if (r == 0)
        settle(set);
    if (r == 0 && set->usable == 0)
        r = -EINVAL;
    if (r != 0) {
        jwk_set_unref(set);
        return r;
    }
    *ret_set = set;
    return 0;
}

int jwk_set_parse(const char *text, size_t len, struct jwk_set **ret_set)
{
    if (len > JWK_SET_TEXT_MAX)
        return -EINVAL;
    json_t *json;
    int r = json_tree_load(text, len, &json);
    if (r != 0)
        return r;
    r = read_keys(json_object_get(json, "keys"), ret_set);
    json_decref(json);
    return r;
}

struct jwk_set *jwk_set_ref(struct jwk_set *set)
{
    atomic_fetch_add_explicit(&set->references, 1, memory_order_relaxed);
    return set;
}

void jwk_set_unref(struct jwk_set *set)
{
    if (set == NULL || atomic_fetch_sub_explicit(&set->references, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < set->count; i++)
        jwk_key_clear(&set->keys[i]);
    free(set);
}

static const struct jwk *find_entry(const struct jwk_set *set, const char *kid, size_t len)
{
    size_t low = 0, high = memchr(kid, '\0', len) == NULL ? set->count : 0;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct jwk *key = &set->keys[middle];
        int order = strncmp(kid, key->kid, len);
        if (order == 0 && key->kid[len] == '\0')
            return key;
        if (order <= 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const struct jwk *jwk_set_find(const struct jwk_set *set, const char *kid, size_t len)
{
    const struct jwk *key = find_entry(set, kid, len);
    return key != NULL && key->key != NULL ? key : NULL;
}

bool jwk_set_names(const struct jwk_set *set, const char *kid, size_t len)
{
    return find_entry(set, kid, len) != NULL;
}

size_t jwk_set_count(const struct jwk_set *set)
{
    return set->usable;
}
