/*
 * RFC 7396: the first line is the target (empty: absent), the rest the patch. The result is checked against
 * the RFC's own pseudocode over jansson's values.
 */
#include "fuzz.h"
#include "json.h"

#define DEPTH 32

static bool checked(const char *text, size_t len)
{
    return json_check(text, len, DEPTH, true, NULL) == JSON_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *rest;
    size_t patch_len, target_len = fuzz_line(data, size, &rest, &patch_len);
    char *target = fuzz_copy(data, target_len), *patch = fuzz_copy(rest, patch_len);

    if (checked(patch, patch_len) && (target_len == 0 || checked(target, target_len))) {
        struct buffer merged = {0}, again = {0};
        struct json_slice t = target_len != 0 ? json_root(target, target_len) : (struct json_slice){NULL, 0};
        struct json_slice p = json_root(patch, patch_len);
        ALWAYS(json_merge_patch(&merged, t, p) == 0 && checked(merged.data, merged.len));
        ALWAYS(oracle_merge_agrees(t.text, t.len, patch, patch_len, merged.data, merged.len));
        /* Given twice, a patch changes nothing more. */
        ALWAYS(json_merge_patch(&again, json_root(merged.data, merged.len), p) == 0);
        ALWAYS(again.len == merged.len && memcmp(again.data, merged.data, again.len) == 0);
        buffer_free(&merged);
        buffer_free(&again);
    }
    free(target);
    free(patch);
    return 0;
}
