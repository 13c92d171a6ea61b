#include "time_text.h"

#include <string.h>

#define US_PER_S   INT64_C(1000000)
#define S_PER_DAY  INT64_C(86400)
#define YEAR_1     INT64_C(-62135596800) /* 0001-01-01T00:00:00Z in seconds */
#define YEAR_10000 INT64_C(253402300800) /* 10000-01-01T00:00:00Z */
#define FIRST_EPOCH_MS                                                                                       \
    UINT64_C(100000000000) /* a number from here on counts milliseconds: 1973 as ms, 5138 as s */

struct unit {
    const char *name;
    uint64_t ms;
};

static const struct unit duration_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000},
};

/* What may follow `now-N`. */
static const struct unit now_units[] = {
    {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}, {"w", 604800000},
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* --- the calendar ------------------------------------------------------------------------------ */

static bool is_leap(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int days_in_month(int year, int month)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

/* Days from 1970-01-01 to a date of the proleptic Gregorian calendar. Years are counted from March, so that
 * the leap day is a year's last one, in eras of 400 years (Howard Hinnant, "chrono-Compatible Low-Level Date
 * Algorithms"). */
static int64_t days_from_date(int year, int month, int day)
{
    int y = month <= 2 ? year - 1 : year; /* >= 0 here: years from 1 on */
    int era = y / 400;
    int year_of_era = y - era * 400;
    int day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return (int64_t)era * 146097 + day_of_era - 719468;
}

struct date {
    unsigned year, month, day, weekday; /* weekday from Sunday, 0 */
};

/* days from 0001-01-01 to 9999-12-31, counted from 1970. */
static struct date date_from_days(int64_t days)
{
    int64_t z = days + 719468; /* from 0000-03-01, so never negative */
    unsigned era = (unsigned)(z / 146097);
    unsigned day_of_era = (unsigned)(z % 146097);
    unsigned year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned shifted = (5 * day_of_year + 2) / 153; /* months from March */
    struct date date;
    date.day = day_of_year - (153 * shifted + 2) / 5 + 1;
    date.month = shifted < 10 ? shifted + 3 : shifted - 9;
    date.year = era * 400 + year_of_era + (date.month <= 2 ? 1 : 0);
    date.weekday = (unsigned)((z + 3) % 7); /* 0000-03-01 was a Wednesday */
    return date;
}

/* --- reading ----------------------------------------------------------------------------------- */

/* What is left of a text. */
struct cursor {
    const char *at, *end;
};

static bool take_char(struct cursor *c, char lower, char upper)
{
    if (c->at == c->end || (*c->at != lower && *c->at != upper))
        return false;
    c->at++;
    return true;
}

/* Exactly `count` digits. */
static bool take_digits(struct cursor *c, int count, int *ret)
{
    if (c->end - c->at < count)
        return false;
    int value = 0;
    for (int i = 0; i < count; i++) {
        if (c->at[i] < '0' || c->at[i] > '9')
            return false;
        value = value * 10 + (c->at[i] - '0');
    }
    c->at += count;
    *ret = value;
    return true;
}

/* One digit or more. */
static bool take_number(struct cursor *c, uint64_t *ret)
{
    const char *start = c->at;
    uint64_t value = 0;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (unsigned)(*c->at - '0'), &value))
            return false;
    }
    if (c->at == start)
        return false;
    *ret = value;
    return true;
}

/* `.` and digits, in microseconds; nothing is 0. */
static bool take_fraction(struct cursor *c, int64_t *ret_us)
{
    *ret_us = 0;
    if (!take_char(c, '.', '.'))
        return true;
    const char *start = c->at;
    int64_t scale = US_PER_S / 10;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++) {
        *ret_us += (*c->at - '0') * scale;
        scale /= 10;
    }
    return c->at > start;
}

/* Z or +hh:mm, in seconds east of UTC. */
static bool take_offset(struct cursor *c, int *ret_s)
{
    int hour, minute;

    if (take_char(c, 'z', 'Z')) {
        *ret_s = 0;
        return true;
    }
    bool west = take_char(c, '-', '-');
    if (!west && !take_char(c, '+', '+'))
        return false;
    if (!take_digits(c, 2, &hour) || !take_char(c, ':', ':') || !take_digits(c, 2, &minute))
        return false;
    if (hour > 23 || minute > 59)
        return false;
    *ret_s = (hour * 3600 + minute * 60) * (west ? -1 : 1);
    return true;
}

/* Whether `seconds`, which a second 60 rolled over to, is the UTC midnight after the last day of June or of
 * December: only there does RFC 3339 (5.7) know a leap second. */
static bool ends_half_year(int64_t seconds)
{
    if (seconds % S_PER_DAY != 0 || seconds <= YEAR_1 || seconds > YEAR_10000)
        return false;
    if (seconds == YEAR_10000)
        return true;
    struct date date = date_from_days(seconds / S_PER_DAY);
    return date.day == 1 && (date.month == 1 || date.month == 7);
}

bool time_parse_rfc3339(const char *text, size_t len, int64_t *ret_us)
{
    struct cursor c = {text, text + len};
    int year, month, day, hour, minute, second, offset;
    int64_t fraction;

    if (!take_digits(&c, 4, &year) || !take_char(&c, '-', '-') || !take_digits(&c, 2, &month) ||
        !take_char(&c, '-', '-') || !take_digits(&c, 2, &day) || !take_char(&c, 't', 'T'))
        return false;
    if (!take_digits(&c, 2, &hour) || !take_char(&c, ':', ':') || !take_digits(&c, 2, &minute) ||
        !take_char(&c, ':', ':') || !take_digits(&c, 2, &second))
        return false;
    if (!take_fraction(&c, &fraction) || !take_offset(&c, &offset) || c.at != c.end)
        return false;
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
        return false;
    if (hour > 23 || minute > 59 || second > 60)
        return false;

    int64_t seconds =
        days_from_date(year, month, day) * S_PER_DAY + hour * 3600 + minute * 60 + second - offset;
    if (second == 60 && !ends_half_year(seconds))
        return false;
    *ret_us = seconds * US_PER_S + fraction;
    return true;
}

static const struct unit *find_unit(const struct unit *units, size_t count, const struct cursor *c)
{
    size_t len = (size_t)(c->end - c->at);
    for (size_t i = 0; i < count; i++) {
        if (strlen(units[i].name) == len && memcmp(units[i].name, c->at, len) == 0)
            return &units[i];
    }
    return NULL;
}

/* A number and one of the units, to the end of the text. */
static bool take_duration(struct cursor *c, const struct unit *units, size_t count, uint64_t *ret_ms)
{
    uint64_t number, ms;

    if (!take_number(c, &number))
        return false;
    const struct unit *unit = find_unit(units, count, c);
    if (unit == NULL || __builtin_mul_overflow(number, unit->ms, &ms))
        return false;
    *ret_ms = ms;
    return true;
}

/* What follows `now`. */
static bool parse_now(struct cursor *c, int64_t now_us, int64_t *ret_us)
{
    uint64_t ms;
    int64_t us, back;

    if (c->at == c->end) {
        *ret_us = now_us;
        return true;
    }
    if (!take_char(c, '-', '-') || !take_duration(c, now_units, COUNT(now_units), &ms))
        return false;
    if (__builtin_mul_overflow(ms, UINT64_C(1000), &back) || __builtin_sub_overflow(now_us, back, &us))
        return false;
    *ret_us = us;
    return true;
}

static bool parse_epoch(struct cursor *c, int64_t *ret_us)
{
    uint64_t number;
    int64_t us;

    if (!take_number(c, &number) || c->at != c->end)
        return false;
    if (__builtin_mul_overflow(number, number < FIRST_EPOCH_MS ? UINT64_C(1000000) : UINT64_C(1000), &us))
        return false;
    *ret_us = us;
    return true;
}

static bool only_digits(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
    }
    return len > 0;
}

bool time_parse_point(const char *text, size_t len, int64_t now_us, int64_t *ret_us)
{
    struct cursor c = {text, text + len};
    int64_t us;
    bool good;

    if (len >= 3 && memcmp(text, "now", 3) == 0) {
        c.at += 3;
        good = parse_now(&c, now_us, &us);
    } else if (only_digits(text, len)) {
        good = parse_epoch(&c, &us);
    } else {
        good = time_parse_rfc3339(text, len, &us);
    }
    if (!good || us < 0 || us >= YEAR_10000 * US_PER_S)
        return false;
    *ret_us = us;
    return true;
}

bool time_parse_duration_ms(const char *text, uint64_t *ret_ms)
{
    struct cursor c = {text, text + strlen(text)};
    return take_duration(&c, duration_units, COUNT(duration_units), ret_ms);
}

/* --- writing ----------------------------------------------------------------------------------- */

/* Ends of lines of digits, by hand: every answer holds several times and printf would cost more than the rest
 * of it. */
static char *put_digits(char *out, unsigned value, int count)
{
    for (int i = count - 1; i >= 0; i--) {
        out[i] = (char)('0' + value % 10);
        value /= 10;
    }
    return out + count;
}

static char *put_clock(char *out, unsigned second_of_day)
{
    out = put_digits(out, second_of_day / 3600, 2);
    *out++ = ':';
    out = put_digits(out, second_of_day / 60 % 60, 2);
    *out++ = ':';
    return put_digits(out, second_of_day % 60, 2);
}

/* Splits into date and second of the day. What has no four-digit year becomes the nearest second that has. */
static struct date split(int64_t seconds, unsigned *ret_second_of_day)
{
    if (seconds < YEAR_1)
        seconds = YEAR_1;
    if (seconds >= YEAR_10000)
        seconds = YEAR_10000 - 1;
    int64_t since_year_1 = seconds - YEAR_1;
    *ret_second_of_day = (unsigned)(since_year_1 % S_PER_DAY);
    return date_from_days((since_year_1 - since_year_1 % S_PER_DAY + YEAR_1) / S_PER_DAY);
}

static char *put_rfc3339(char *out, int64_t seconds)
{
    unsigned second_of_day;
    struct date date = split(seconds, &second_of_day);

    out = put_digits(out, date.year, 4);
    *out++ = '-';
    out = put_digits(out, date.month, 2);
    *out++ = '-';
    out = put_digits(out, date.day, 2);
    *out++ = 'T';
    return put_clock(out, second_of_day);
}

static size_t finish(const char *start, char *at, const char *suffix)
{
    size_t len = strlen(suffix);
    memcpy(at, suffix, len + 1);
    return (size_t)(at - start) + len;
}

size_t time_format_rfc3339(int64_t seconds, char *out)
{
    return finish(out, put_rfc3339(out, seconds), "Z");
}

size_t time_format_rfc3339_us(int64_t us, char *out)
{
    int64_t fraction = us % US_PER_S;
    if (fraction < 0)
        fraction += US_PER_S;
    char *at = put_rfc3339(out, (us - fraction) / US_PER_S);
    *at++ = '.';
    at = put_digits(at, (unsigned)fraction, 6);
    return finish(out, at, "Z");
}

size_t time_format_rfc1123(int64_t seconds, char *out)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

    unsigned second_of_day;
    struct date date = split(seconds, &second_of_day);
    char *at = out;
    memcpy(at, days + 3 * date.weekday, 3);
    memcpy(at + 3, ", ", 2);
    at = put_digits(at + 5, date.day, 2);
    *at++ = ' ';
    memcpy(at, months + 3 * (date.month - 1), 3);
    at[3] = ' ';
    at = put_digits(at + 4, date.year, 4);
    *at++ = ' ';
    at = put_clock(at, second_of_day);
    return finish(out, at, " GMT");
}
