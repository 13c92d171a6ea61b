#include "params.h"

#include "percent.h"
#include "time_text.h"

#include <stdlib.h>
#include <string.h>

#define TARGET_MAX 64 /* bytes of an unknown name that are repeated to the caller */

/* Digits, optionally a point and digits: what strtod() would also take (hex, exponents, inf, blanks) is
 * refused. */
static bool plain_number(const char *text, double *ret)
{
    size_t whole = strspn(text, "0123456789");
    const char *rest = text + whole;
    size_t fraction = 0;
    if (*rest == '.') {
        fraction = strspn(rest + 1, "0123456789");
        rest += 1 + fraction;
        if (fraction == 0)
            return false;
    }
    if (whole == 0 || *rest != '\0' || whole + fraction > 32)
        return false;
    *ret = strtod(text, NULL);
    return true;
}

static bool integer(const char *text, int64_t *ret)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 18 || text[digits] != '\0')
        return false;
    *ret = strtoll(text, NULL, 10);
    return true;
}

static bool base64url_text(const char *text, double max)
{
    size_t len = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_");
    return len > 0 && text[len] == '\0' && (double)len <= max;
}

static bool device_list(const char *text, double max)
{
    for (double count = 1; count <= max; count++) {
        size_t len = strcspn(text, ",");
        if (!device_id_valid(text, len))
            return false;
        if (text[len] == '\0')
            return true;
        text += len + 1;
    }
    return false;
}

static bool parse_value(const struct param *param, int64_t now_us, struct param_value *value)
{
    const char *text = value->text;

    switch (param->type) {
    case PARAM_NUMBER:
        return plain_number(text, &value->number) && value->number > param->min &&
               value->number <= param->max;
    case PARAM_INTEGER:
        return integer(text, &value->integer) && (double)value->integer >= param->min &&
               (double)value->integer <= param->max;
    case PARAM_POINT: return time_parse_point(text, strlen(text), now_us, &value->integer);
    case PARAM_CHOICE:
        for (size_t i = 0; param->choices[i] != NULL; i++)
            if (strcmp(param->choices[i], text) == 0) {
                value->integer = (int64_t)i;
                return true;
            }
        return false;
    case PARAM_DEVICES: return device_list(text, param->max);
    case PARAM_CURSOR: return base64url_text(text, param->max);
    }
    return false;
}

static bool fault(struct problem *ret, enum problem_code code, const char *target, const char *detail)
{
    *ret = (struct problem){.code = code, .target = target, .detail = detail};
    return false;
}

static const struct param *find(const struct param *params, const char *name, size_t *ret_index)
{
    for (size_t i = 0; params != NULL && params[i].name != NULL; i++)
        if (strcmp(params[i].name, name) == 0) {
            *ret_index = i;
            return &params[i];
        }
    return NULL;
}

/* One name=value; `raw` is NUL-terminated and is decoded in place. */
static bool parse_pair(char *raw, const struct param *params, int64_t now_us, struct param_value *values,
                       struct problem *ret)
{
    char *equals = strchr(raw, '=');
    if (equals != NULL)
        *equals = '\0';
    char name[TARGET_MAX + 1];
    size_t raw_len = strlen(raw), index = 0;
    const struct param *param = NULL;
    if (raw_len <= TARGET_MAX && percent_decode(raw, raw_len, name) >= 0)
        param = find(params, name, &index);
    if (param == NULL) {
        if (raw_len > TARGET_MAX)
            raw[TARGET_MAX] = '\0';
        return fault(ret, PROBLEM_UNKNOWN_PARAMETER, raw, "This route does not know the parameter");
    }

    struct param_value *value = &values[index];
    if (value->given)
        return fault(ret, PROBLEM_DUPLICATE_PARAMETER, param->name, "The parameter is given twice");
    value->given = true;
    enum problem_code bad_value =
        param->type == PARAM_CURSOR ? PROBLEM_INVALID_CURSOR : PROBLEM_INVALID_PARAMETER;
    if (equals == NULL || percent_decode(equals + 1, strlen(equals + 1), equals + 1) < 0)
        return fault(ret, bad_value, param->name, param->accepts);
    value->text = equals + 1;
    if (!parse_value(param, now_us, value))
        return fault(ret, bad_value, param->name, param->accepts);
    return true;
}

bool params_parse(const char *query, const struct param *params, int64_t now_us, char *scratch,
                  struct param_value *values, struct problem *ret_problem)
{
    memset(values, 0, PARAMS_MAX * sizeof *values);
    if (query == NULL)
        return true;
    memcpy(scratch, query, strlen(query) + 1);

    for (char *pair = scratch; pair != NULL;) {
        char *next = strchr(pair, '&');
        if (next != NULL)
            *next++ = '\0';
        if (*pair != '\0' && !parse_pair(pair, params, now_us, values, ret_problem))
            return false;
        pair = next;
    }
    return true;
}
