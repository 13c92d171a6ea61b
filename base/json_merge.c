#include "json.h"

#include "json_utf8.h"

#include <errno.h>
#include <stdlib.h>

/* RFC 7396. A merged object has the members of the target in their order, then the new ones in the order of
 * the patch. The recursion is as deep as the patch, which the caller's check bounds; every level walks its
 * part of both texts. */

struct patch_member {
    struct json_slice name;
    struct json_slice value;
    bool in_target;
};

struct patch_index {
    struct patch_member *members; /* in the patch's order */
    struct patch_member **sorted; /* by decoded name */
    size_t count;
};

/* --- the index of a patch's names -------------------------------------------------------------- */

static int compare_names(struct json_slice a, struct json_slice b)
{
    return json_bytes_compare(json_bytes(a.text + 1, a.len - 2), json_bytes(b.text + 1, b.len - 2));
}

static int compare_members(const void *a, const void *b)
{
    const struct patch_member *const *x = a, *const *y = b;
    return compare_names((*x)->name, (*y)->name);
}

static int compare_to_member(const void *name, const void *member)
{
    const struct json_slice *x = name;
    const struct patch_member *const *y = member;
    return compare_names(*x, (*y)->name);
}

static void index_free(struct patch_index *index)
{
    free(index->members);
    free(index->sorted);
}

static int index_build(struct patch_index *index, struct json_slice patch)
{
    size_t count = 0;

    *index = (struct patch_index){0};
    for (struct json_iter it = json_iter(patch); json_next(&it);)
        count++;
    if (count == 0)
        return 0;
    index->members = calloc(count, sizeof *index->members);
    index->sorted = calloc(count, sizeof(struct patch_member *));
    if (index->members == NULL || index->sorted == NULL) {
        index_free(index);
        return -ENOMEM;
    }
    for (struct json_iter it = json_iter(patch); json_next(&it); index->count++) {
        index->members[index->count] = (struct patch_member){.name = it.name, .value = it.value};
        index->sorted[index->count] = &index->members[index->count];
    }
    qsort(index->sorted, count, sizeof(struct patch_member *), compare_members);
    return 0;
}

static struct patch_member *index_find(const struct patch_index *index, struct json_slice name)
{
    if (index->count == 0)
        return NULL;
    struct patch_member **found =
        bsearch(&name, index->sorted, index->count, sizeof(struct patch_member *), compare_to_member);
    return found != NULL ? *found : NULL;
}

/* --- merging ----------------------------------------------------------------------------------- */

static void append_slice(struct buffer *out, struct json_slice slice)
{
    buffer_append(out, slice.text, slice.len);
}

/* A member's name with what stands before and after it. */
static void append_name(struct buffer *out, struct json_slice name, bool *first)
{
    if (!*first)
        buffer_append_char(out, ',');
    *first = false;
    append_slice(out, name);
    buffer_append_char(out, ':');
}

static int merge_value(struct buffer *out, struct json_slice target, struct json_slice patch);

static int merge_object(struct buffer *out, struct json_slice target, struct json_slice patch)
{
    const struct json_slice absent = {NULL, 0};
    struct patch_index index;
    bool first = true;
    int result = index_build(&index, patch);

    if (result != 0)
        return result;
    buffer_append_char(out, '{');
    for (struct json_iter it = json_iter(target); result == 0 && json_next(&it);) {
        struct patch_member *change = index_find(&index, it.name);
        if (change != NULL)
            change->in_target = true;
        if (change != NULL && json_kind(change->value) == JSON_NULL)
            continue;
        append_name(out, it.name, &first);
        if (change != NULL)
            result = merge_value(out, it.value, change->value);
        else
            append_slice(out, it.value);
    }
    for (size_t i = 0; result == 0 && i < index.count; i++) {
        const struct patch_member *change = &index.members[i];
        if (change->in_target || json_kind(change->value) == JSON_NULL)
            continue;
        append_name(out, change->name, &first);
        result = merge_value(out, absent, change->value);
    }
    buffer_append_char(out, '}');
    index_free(&index);
    return result;
}

static int merge_value(struct buffer *out, struct json_slice target, struct json_slice patch)
{
    const struct json_slice absent = {NULL, 0};

    if (json_kind(patch) != JSON_OBJECT) {
        append_slice(out, patch);
        return 0;
    }
    return merge_object(out, json_kind(target) == JSON_OBJECT ? target : absent, patch);
}

int json_merge_patch(struct buffer *out, struct json_slice target, struct json_slice patch)
{
    int result = merge_value(out, target, patch);
    return result == 0 && out->failed ? -ENOMEM : result;
}
