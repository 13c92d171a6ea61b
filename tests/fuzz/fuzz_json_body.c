/*
 * JSON from strangers: json_check() and json_valid() (both builds of it) against jansson, strings against
 * jansson's, and the body of POST telemetry.
 */
#include "../unit/json_variants.h"
#include "cosmos.h"
#include "fuzz.h"
#include "reading_body.h"

static void check_against_oracle(const char *text, size_t len)
{
    struct json_error error = {0};
    enum json_fault plain = json_check(text, len, JSON_DEPTH_MAX, false, NULL);
    enum json_fault unique = json_check(text, len, JSON_DEPTH_MAX, true, &error);
    enum oracle oracle = oracle_json(text, len, false), oracle_unique = oracle_json(text, len, true);

    ALWAYS(plain == JSON_OK || plain == JSON_SYNTAX || plain == JSON_TOO_DEEP);
    ALWAYS(json_valid(text, len, JSON_DEPTH_MAX) == (plain == JSON_OK));
    ALWAYS(json_valid_portable(text, len, JSON_DEPTH_MAX) == (plain == JSON_OK));
    ALWAYS(unique == plain || unique == JSON_DUPLICATE);
    if (unique != JSON_OK)
        ALWAYS(error.message != NULL && error.offset <= len && error.line >= 1 && error.column >= 1);
    if (plain != JSON_TOO_DEEP && oracle != ORACLE_CANNOT_SAY)
        ALWAYS((plain == JSON_OK) == (oracle == ORACLE_ACCEPTS));
    if (unique != JSON_TOO_DEEP && oracle_unique != ORACLE_CANNOT_SAY)
        ALWAYS((unique == JSON_OK) == (oracle_unique == ORACLE_ACCEPTS));
}

/* A depth of n is taken with max_depth n and refused with n - 1. */
static void check_depth(const char *text, size_t len)
{
    unsigned depth = json_depth(json_root(text, len));
    ALWAYS(depth <= JSON_DEPTH_MAX && json_valid(text, len, depth));
    ALWAYS(json_check(text, len, depth, false, NULL) == JSON_OK);
    ALWAYS(depth == 0 || json_check(text, len, depth - 1, false, NULL) == JSON_TOO_DEEP);
}

static void check_string(const char *text, size_t len)
{
    size_t expected_len = 0, room = len + 1;
    char *expected = oracle_string(text, len, &expected_len);
    char *out = malloc(room);

    ALWAYS(out != NULL);
    long n = json_string_decode(json_root(text, len), out, room);
    if (expected != NULL && memchr(expected, '\0', expected_len) == NULL) {
        ALWAYS(n == (long)expected_len && memcmp(out, expected, expected_len) == 0);
        ALWAYS(json_string_equals(json_root(text, len), out));
    } else
        ALWAYS(n < 0);
    free(expected);
    free(out);
}

/* What is stored for a reading says what was sent. */
static void check_item(const struct reading *reading)
{
    struct buffer item = {0};
    ALWAYS(cosmos_item_append(&item, "d'1*", reading, "0123456789abcdef0123456789abcdef", 1795417200000000,
                              60) == 0);
    ALWAYS(json_check(item.data, item.len, READING_DEPTH_MAX + 1, true, NULL) == JSON_OK);
    struct json_slice data = json_member(json_root(item.data, item.len), "data");
    ALWAYS(data.len == reading->data_len && memcmp(data.text, reading->data, data.len) == 0);
    ALWAYS(json_string_equals(json_member(json_root(item.data, item.len), "deviceId"), "d'1*"));
    buffer_free(&item);
}

static void check_reading(const struct reading *reading, const char *body, size_t len)
{
    ALWAYS(reading->data >= body && reading->data + reading->data_len <= body + len);
    ALWAYS(reading->data_len >= 2 && reading->data[0] == '{' && reading->data[reading->data_len - 1] == '}');
    ALWAYS(json_check(reading->data, reading->data_len, READING_DEPTH_MAX, true, NULL) == JSON_OK);
    if (reading->id != NULL)
        ALWAYS(reading->id[0] != '\0' && strpbrk(reading->id, "/\\?#") == NULL && strlen(reading->id) < 512);
    check_item(reading);
}

static void check_body(const char *text, size_t len)
{
    struct reading_body body;
    struct problem problem = {0};
    struct json_slice root;

    memset(&body, 0xA5, sizeof body);
    if (!reading_body_parse(text, len, "d'1*", &body, &problem)) {
        enum json_fault fault = json_check(text, len, JSON_DEPTH_MAX, true, NULL);
        bool json = fault == JSON_OK || fault == JSON_TOO_DEEP;
        ALWAYS(problem.code == (json ? PROBLEM_INVALID_READING : PROBLEM_INVALID_JSON));
        ALWAYS(problem.detail != NULL && (!problem.has_index || problem.index >= 0));
        return;
    }
    root = json_root(text, len);
    ALWAYS(body.array == (json_kind(root) == JSON_ARRAY));
    ALWAYS(body.count >= 1 && body.count <= READINGS_MAX && (body.array || body.count == 1));
    for (size_t i = 0; i < body.count; i++)
        check_reading(&body.readings[i], text, len);
    reading_body_free(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_copy(data, size);
    check_against_oracle(text, size);
    if (json_valid(text, size, JSON_DEPTH_MAX)) {
        check_depth(text, size);
        check_string(text, size);
    }
    check_body(text, size);
    free(text);
    return 0;
}
