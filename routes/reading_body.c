#include "reading_body.h"

#include "json.h"
#include "percent.h"
#include "time_text.h"

#include <stdlib.h>
#include <string.h>

#define CHECK_DEPTH   1024 /* how deep a body is checked at all; what is deeper is too deep in any case */
#define TIMESTAMP_MAX 64

static bool refuse(struct problem *ret, const char *detail, long index)
{
    *ret = (struct problem){.code = PROBLEM_INVALID_READING,
                            .detail = detail,
                            .has_index = index >= 0,
                            .index = index >= 0 ? index : 0};
    return false;
}

/* Which element of a top-level array an offset lies in; -1 where the text is no array. The text is valid up
 * to the offset. */
static long element_at(const char *text, size_t offset)
{
    size_t i = strspn(text, " \t\r\n");
    long index = 0, depth = 0;
    bool string = false;

    if (text[i] != '[')
        return -1;
    for (; i < offset; i++) {
        if (string) {
            if (text[i] == '\\')
                i++;
            else if (text[i] == '"')
                string = false;
        } else if (text[i] == '"')
            string = true;
        else if (text[i] == '[' || text[i] == '{')
            depth++;
        else if (text[i] == ']' || text[i] == '}')
            depth--;
        else if (text[i] == ',' && depth == 1)
            index++;
    }
    return index;
}

static bool check(const char *text, size_t len, struct problem *ret)
{
    struct json_error error = {0};

    switch (json_check(text, len, CHECK_DEPTH, true, &error)) {
    case JSON_OK: return true;
    case JSON_TOO_DEEP: return refuse(ret, "The reading is nested too deep", element_at(text, error.offset));
    case JSON_NO_MEMORY:
        *ret = (struct problem){.code = PROBLEM_OVERLOADED, .retry_after_s = 1};
        return false;
    default:
        *ret = (struct problem){.code = PROBLEM_INVALID_JSON,
                                .detail = error.message,
                                .line = error.line,
                                .column = error.column};
        return false;
    }
}

/* Vets one reading and appends its id (with a NUL) where its timestamp gives it one. ret->id is the offset of
 * the id for now: the buffer may still move. */
static bool take(struct json_slice value, long index, const char *device_id, struct reading_body *body,
                 size_t *ret_id, struct problem *ret)
{
    char timestamp[TIMESTAMP_MAX + 1];
    int64_t when;

    if (json_kind(value) != JSON_OBJECT)
        return refuse(ret, "A reading must be a JSON object", index);
    if (json_depth(value) > READING_DEPTH_MAX)
        return refuse(ret, "The reading is nested too deep", index);
    struct json_slice member = json_member(value, "timestamp");
    *ret_id = SIZE_MAX;
    if (member.text == NULL)
        return true;
    long len = json_string_decode(member, timestamp, sizeof timestamp);
    if (len < 0 || !time_parse_rfc3339(timestamp, (size_t)len, &when))
        return refuse(ret, "timestamp must be an RFC 3339 time of at most 64 characters", index);
    *ret_id = body->ids.len;
    item_id_append(&body->ids, device_id, timestamp);
    buffer_append_char(&body->ids, '\0');
    return true;
}

static bool take_all(struct json_slice root, const char *device_id, struct reading_body *body,
                     struct problem *ret)
{
    size_t offsets[READINGS_MAX];
    struct json_iter it = json_iter(root);
    bool more = body->array ? json_next(&it) : true;

    for (size_t n = 0; n < body->count && more; n++) {
        struct json_slice value = body->array ? it.value : root;
        if (!take(value, body->array ? (long)n : -1, device_id, body, &offsets[n], ret))
            return false;
        body->readings[n] = (struct reading){.data = value.text, .data_len = value.len};
        more = body->array && json_next(&it);
    }
    if (body->ids.failed) {
        *ret = (struct problem){.code = PROBLEM_OVERLOADED, .retry_after_s = 1};
        return false;
    }
    for (size_t n = 0; n < body->count; n++)
        if (offsets[n] != SIZE_MAX)
            body->readings[n].id = body->ids.data + offsets[n];
    return true;
}

static size_t count_elements(struct json_slice array)
{
    size_t count = 0;
    for (struct json_iter it = json_iter(array); count <= READINGS_MAX && json_next(&it);)
        count++;
    return count;
}

bool reading_body_parse(const char *text, size_t len, const char *device_id, struct reading_body *ret,
                        struct problem *ret_problem)
{
    if (!check(text, len, ret_problem))
        return false;
    struct json_slice root = json_root(text, len);
    enum json_kind kind = json_kind(root);
    if (kind != JSON_OBJECT && kind != JSON_ARRAY)
        return refuse(ret_problem, "The body must be a reading (a JSON object) or an array of readings", -1);

    struct reading_body body = {.array = kind == JSON_ARRAY,
                                .count = kind == JSON_ARRAY ? count_elements(root) : 1};
    if (body.count == 0)
        return refuse(ret_problem, "The array holds no reading", -1);
    if (body.count > READINGS_MAX)
        return refuse(ret_problem, "The array holds more than 500 readings", -1);
    body.readings = calloc(body.count, sizeof *body.readings);
    if (body.readings == NULL) {
        *ret_problem = (struct problem){.code = PROBLEM_OVERLOADED, .retry_after_s = 1};
        return false;
    }
    if (!take_all(root, device_id, &body, ret_problem)) {
        reading_body_free(&body);
        return false;
    }
    *ret = body;
    return true;
}

void reading_body_free(struct reading_body *body)
{
    free(body->readings);
    buffer_free(&body->ids);
    *body = (struct reading_body){0};
}
