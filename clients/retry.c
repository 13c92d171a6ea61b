#include "retry.h"

#include <time.h>

enum {
    FAILURE_RETRIES = 2, /* "an upstream which is down gets at most 3 requests for each of ours" */
    THROTTLE_TRIES = 9,  /* requests answered with 429 */
    GONE_RETRIES = 4,    /* 410 and 408 */
    RETRY_AFTER_MAX = 3600 * 1000,
};

/* How an outcome is asked again; RULE_STANDS ends the request. */
enum rule {
    RULE_STANDS,
    RULE_THROTTLED,
    RULE_CONTENTION,
    RULE_GONE,
    RULE_FAILURE,
    RULE_UNAVAILABLE,
    RULE_REGION,
    RULE_MOVED
};

#define ANY 0xffffffffu

/* The first row that fits decides (azure-protocols 1.10, 2.4). */
static const struct {
    enum retry_service service;
    unsigned status, substatus;
    enum rule rule;
} rules[] = {
    {RETRY_COSMOS, 403, 3, RULE_MOVED},      /* the region takes no writes */
    {RETRY_COSMOS, 403, 1008, RULE_REGION},  /* the account is not in this region */
    {RETRY_COSMOS, 404, 1002, RULE_FAILURE}, /* session not yet available here */
    {RETRY_COSMOS, 408, ANY, RULE_GONE},        {RETRY_COSMOS, 410, ANY, RULE_GONE},
    {RETRY_COSMOS, 449, ANY, RULE_CONTENTION},  {RETRY_COSMOS, 429, ANY, RULE_THROTTLED},
    {RETRY_COSMOS, 503, ANY, RULE_UNAVAILABLE}, {RETRY_IOTHUB, 429, ANY, RULE_THROTTLED},
    {RETRY_IOTHUB, 408, ANY, RULE_FAILURE},
};

static enum rule rule_of(const struct retry_input *input)
{
    switch (input->outcome) {
    case HTTP_REFUSED:
    case HTTP_BROKEN:
    case HTTP_TIMED_OUT: return RULE_REGION;
    case HTTP_TOO_LARGE:
    case HTTP_NO_MEMORY: return RULE_STANDS;
    case HTTP_ANSWERED: break;
    }
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if (rules[i].service == input->service && rules[i].status == input->status &&
            (rules[i].substatus == ANY || rules[i].substatus == input->substatus))
            return rules[i].rule == RULE_MOVED && !input->write ? RULE_STANDS : rules[i].rule;
    }
    return input->status >= 500 && input->status <= 599 ? RULE_FAILURE : RULE_STANDS;
}

/* base * 2^n, at most limit. */
static uint32_t backoff(uint32_t base, unsigned n, uint32_t limit)
{
    return n >= 16 || base << n > limit ? limit : base << n;
}

/* A header's wait is taken as it is; without one the waits grow. */
static uint32_t throttle_wait(const struct retry_state *state, const struct retry_input *input)
{
    if (input->retry_after_ms >= 0)
        return input->retry_after_ms > RETRY_AFTER_MAX ? RETRY_AFTER_MAX : (uint32_t)input->retry_after_ms;
    if (input->service == RETRY_IOTHUB)
        return backoff(1000, state->throttles - 1, 8000) + input->jitter % 250;
    return backoff(100, state->throttles - 1, 5000) + input->jitter % 50;
}

static uint32_t failure_wait(const struct retry_state *state, const struct retry_input *input)
{
    uint32_t wait = backoff(100, state->failures - 1, 1000) + input->jitter % 50;
    if (input->outcome == HTTP_ANSWERED && input->retry_after_ms > wait)
        wait = input->retry_after_ms > RETRY_AFTER_MAX ? RETRY_AFTER_MAX : (uint32_t)input->retry_after_ms;
    return wait;
}

static struct retry_decision after(uint32_t wait_ms, bool allowed)
{
    return (struct retry_decision){.action = allowed ? RETRY_AFTER : RETRY_GIVE_UP, .wait_ms = wait_ms};
}

/* A failure that another region may not have. */
static struct retry_decision elsewhere(const struct retry_state *state, const struct retry_input *input,
                                       unsigned retries_here)
{
    struct retry_decision decision = {.region_failed = true};
    if (input->another_region && state->failures <= FAILURE_RETRIES) {
        decision.action = RETRY_OTHER_REGION;
    } else {
        decision = after(failure_wait(state, input), state->failures <= retries_here);
        decision.region_failed = true;
    }
    return decision;
}

static struct retry_decision decide(struct retry_state *state, const struct retry_input *input,
                                    enum rule rule)
{
    switch (rule) {
    case RULE_THROTTLED:
        state->throttles++;
        return after(throttle_wait(state, input), state->throttles < THROTTLE_TRIES);
    case RULE_CONTENTION:
        state->contention++;
        return after(backoff(10, state->contention - 1, 1000) + input->jitter % 6, true);
    case RULE_GONE:
        state->gone++;
        return after(backoff(50, state->gone - 1, 1000) + input->jitter % 25, state->gone <= GONE_RETRIES);
    case RULE_FAILURE:
        state->failures++;
        return after(failure_wait(state, input), state->failures <= FAILURE_RETRIES);
    case RULE_UNAVAILABLE: state->failures++; return elsewhere(state, input, 1);
    case RULE_REGION:
        state->failures++;
        /* An account that is not in its only region will not come back while one request waits. */
        return elsewhere(state, input, input->outcome == HTTP_ANSWERED ? 0 : FAILURE_RETRIES);
    case RULE_MOVED: {
        state->failures++;
        /* The account document may lag behind the move: the second time it is given a second. */
        struct retry_decision decision =
            after(state->failures == 1 ? 0 : 1000, state->failures <= FAILURE_RETRIES);
        if (decision.action == RETRY_AFTER)
            decision.action = RETRY_REFRESH_ACCOUNT;
        return decision;
    }
    case RULE_STANDS: break;
    }
    return (struct retry_decision){.action = RETRY_NO};
}

struct retry_decision retry_decide(struct retry_state *state, const struct retry_input *input)
{
    state->attempts++;
    enum rule rule = rule_of(input);
    struct retry_decision decision = decide(state, input, rule);
    uint64_t left = input->deadline_ms > input->now_ms ? input->deadline_ms - input->now_ms : 0;
    if (decision.action != RETRY_NO && decision.wait_ms >= left)
        decision.action = RETRY_GIVE_UP;
    if (decision.action == RETRY_GIVE_UP && rule == RULE_THROTTLED) {
        decision.retry_after_s = (decision.wait_ms + 999) / 1000;
        if (decision.retry_after_s == 0)
            decision.retry_after_s = 1;
    }
    return decision;
}

/* A decimal number of units of `scale` milliseconds; digits after the point round up. -1 for anything else.
 */
static int64_t decimal_ms(const char *text, int64_t scale)
{
    if (*text < '0' || *text > '9')
        return -1;
    int64_t value = 0;
    while (*text >= '0' && *text <= '9') {
        value = value * 10 + (*text++ - '0');
        if (value > RETRY_AFTER_MAX)
            value = RETRY_AFTER_MAX;
    }
    if (*text == '.') {
        bool fraction = false;
        while (*++text >= '0' && *text <= '9')
            fraction |= *text != '0';
        value += fraction;
    }
    if (*text != '\0')
        return -1;
    value *= scale;
    return value > RETRY_AFTER_MAX ? RETRY_AFTER_MAX : value;
}

/* IMF-fixdate of RFC 9110, 5.6.7, the only form that senders may write. */
static int64_t date_ms(const char *text, int64_t now_s)
{
    struct tm tm = {0};
    const char *end = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    if (end == NULL || *end != '\0')
        return -1;
    int64_t wait_s = (int64_t)timegm(&tm) - now_s;
    if (wait_s <= 0)
        return 0;
    return wait_s > RETRY_AFTER_MAX / 1000 ? RETRY_AFTER_MAX : wait_s * 1000;
}

int64_t retry_after_from_headers(const char *retry_after_ms, const char *retry_after, int64_t now_s)
{
    int64_t wait = retry_after_ms != NULL ? decimal_ms(retry_after_ms, 1) : -1;
    if (wait < 0 && retry_after != NULL)
        wait = decimal_ms(retry_after, 1000);
    if (wait < 0 && retry_after != NULL)
        wait = date_ms(retry_after, now_s);
    return wait;
}
