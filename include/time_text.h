/*
 * time_text.h - times as text. Pure functions; times are microseconds since 1970 where fractions count, else
 * seconds.
 */
#ifndef TELEMETRYD_TIME_TEXT_H
#define TELEMETRYD_TIME_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TIME_RFC3339_SIZE 32 /* room for "2026-11-23T07:00:00.123456Z" and a NUL */
#define TIME_RFC1123_SIZE 32 /* "Thu, 27 Apr 2017 00:51:12 GMT" */

/* RFC 3339 date-time with an offset: upper or lower t and z, a space for T is refused, any number of fraction
 * digits (truncated to microseconds), leap second 60 only where RFC 3339 allows it, -00:00 taken, days
 * checked against the month. Years 0001..9999. The text need not be NUL-terminated. */
bool time_parse_rfc3339(const char *text, size_t len, int64_t *ret_us);

/* What `from` and `to` take: RFC 3339; epoch seconds (digits below 1e11); epoch milliseconds (an integer of
 * 1e11 or more); `now`; `now-N` followed by s m h d or w with N a whole number. now_us is the request's one
 * reading of the clock. Anything else, and what leaves the years 1970..9999, is refused. */
bool time_parse_point(const char *text, size_t len, int64_t now_us, int64_t *ret_us);

/* "2026-11-23T07:00:00Z" and "2026-11-23T07:00:00.123456Z" and "Mon, 23 Nov 2026 07:00:00 GMT". out must have
 * room for TIME_..._SIZE bytes. Return the length. */
size_t time_format_rfc3339(int64_t seconds, char *out);
size_t time_format_rfc3339_us(int64_t us, char *out);
size_t time_format_rfc1123(int64_t seconds, char *out);

/* A setting's duration: a number and ms, s, m, h or d. Digits only; no sign, no fraction, no overflow. */
bool time_parse_duration_ms(const char *text, uint64_t *ret_ms);

#endif
