/*
 * Two workers' agents on one loop, with an HTTP client that the test answers for.
 */
#include "clock.h"
#include "key_source.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define ISSUER      "https://issuer.example/tenant/v2.0"
#define DISCOVERY   ISSUER "/.well-known/openid-configuration"
#define KEYS_URL    "https://keys.example/keys"
#define COOLDOWN_MS 60000u
#define DAY_MS      (24u * 3600 * 1000)
#define WAITING_MAX 256

#define KEY_A                                                                                                \
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"a\",\"x\":\"wpb_cY55psTqYr6hQulDEDPSrToekzUi6u1HdWZkB5A\"," \
    "\"y\":\"hNPZJmnzULvXzSDxXuSdLlTeFyx5ZN4K7mQszar9I04\"}"
#define KEY_B                                                                                                \
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"b\",\"x\":\"n3GIMWJgskw1UrsJorF7Gg7Rwu50UM1XvIyxQ-DW61I\"," \
    "\"y\":\"XxTO-_LB1yNBrY-NmUWX6GZJKVooEdNHRCjC6P4r7OE\"}"
#define SET_A  "{\"keys\":[" KEY_A "]}"
#define SET_B  "{\"keys\":[" KEY_B "]}"
#define SET_AB "{\"keys\":[" KEY_A "," KEY_B "]}"

/* --- the HTTP client --------------------------------------------------------------------------- */

struct call {
    struct operation op;
    char *url;
    bool fresh;
    uint64_t deadline_ms;
    http_call_cb *done;
    void *ctx;
    bool over;
};

static struct call calls[512];
static unsigned call_count;
static bool client_is_full;

static void call_cancel(struct operation *op)
{
    ((struct call *)op)->over = true;
}

struct operation *http_call_start(struct http_client *client, const struct http_call_options *options,
                                  http_call_cb *done, void *ctx)
{
    if (client_is_full) {
        errno = EBUSY;
        return NULL;
    }
    assert_in_range(call_count, 0, COUNT(calls) - 1);
    assert_string_equal(options->method, "GET");
    assert_int_equal(options->max_body, JWK_SET_TEXT_MAX);
    assert_null(options->body);
    struct call *call = &calls[call_count++];
    *call = (struct call){.op.cancel = call_cancel,
                          .url = strdup(options->url),
                          .fresh = options->fresh,
                          .deadline_ms = options->deadline_ms,
                          .done = done,
                          .ctx = ctx};
    return &call->op;
}

/* Ends the latest call. */
static void answer_with(enum http_outcome outcome, unsigned status, const char *body)
{
    assert_true(call_count > 0);
    struct call *call = &calls[call_count - 1];
    struct http_answer answer = {.outcome = outcome, .status = status};
    assert_false(call->over);
    call->over = true;
    buffer_append_text(&answer.body, body);
    buffer_terminate(&answer.body);
    answer.body_len = answer.body.len;
    call->done(call->ctx, &answer);
    buffer_free(&answer.body);
}

static void answer(const char *body)
{
    answer_with(HTTP_ANSWERED, 200, body);
}

static const char *last_url(void)
{
    return calls[call_count - 1].url;
}

/* --- two workers ------------------------------------------------------------------------------- */

struct world {
    uv_loop_t loop;
    struct mailbox *mailboxes[2];
    struct flight_table *flights;
    struct key_source *source;
    struct key_agent *agents[2];
    FILE *log_file;
    struct log *log;
    struct metrics *metrics;
    uint64_t now_ms;
    char log_text[65536];
};

static void open_world(struct world *w, const char *jwks)
{
    const struct key_source_options options = {.issuer = ISSUER, .jwks = jwks, .cooldown_ms = COOLDOWN_MS};

    memset(w, 0, sizeof *w);
    call_count = 0;
    client_is_full = false;
    w->now_ms = clock_monotonic_ms();
    w->log_file = tmpfile();
    assert_non_null(w->log_file);
    assert_int_equal(log_new(fileno(w->log_file), LOG_LEVEL_INFO, &w->log), 0);
    w->metrics = metrics_new();
    assert_int_equal(uv_loop_init(&w->loop), 0);
    assert_int_equal(flight_table_new(4, &w->flights), 0);
    assert_int_equal(key_source_new(&options, w->flights, &w->source), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(mailbox_new(&w->loop, &w->mailboxes[i]), 0);
        assert_int_equal(key_agent_new(w->source, NULL, w->mailboxes[i], w->log, w->metrics, &w->agents[i]),
                         0);
    }
}

static void close_world(struct world *w)
{
    for (unsigned i = 0; i < 2; i++)
        key_agent_free(w->agents[i]);
    key_source_free(w->source);
    for (unsigned i = 0; i < 2; i++)
        mailbox_close(w->mailboxes[i]);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    flight_table_free(w->flights);
    metrics_free(w->metrics);
    log_free(w->log);
    fclose(w->log_file);
    for (unsigned i = 0; i < call_count; i++)
        free(calls[i].url);
}

static void deliver(struct world *w)
{
    for (unsigned i = 0; i < 4; i++)
        uv_run(&w->loop, UV_RUN_NOWAIT);
}

static void tick(struct world *w, uint64_t later_ms)
{
    w->now_ms += later_ms;
    key_agent_tick(w->agents[0], w->now_ms);
    key_agent_tick(w->agents[1], w->now_ms);
}

/* The log since the start. */
static const char *log_of(struct world *w)
{
    log_flush(w->log);
    ssize_t n = pread(fileno(w->log_file), w->log_text, sizeof w->log_text - 1, 0);
    assert_true(n >= 0);
    w->log_text[n] = '\0';
    return w->log_text;
}

static unsigned lines_with(struct world *w, const char *text)
{
    unsigned count = 0;
    for (const char *at = log_of(w); (at = strstr(at, text)) != NULL; at++)
        count++;
    return count;
}

struct waiting {
    struct operation *op;
    unsigned calls;
};

static void on_done(void *ctx)
{
    struct waiting *waiting = ctx;
    waiting->op = NULL;
    waiting->calls++;
}

static bool refetch(struct world *w, unsigned agent, struct waiting *waiting)
{
    *waiting = (struct waiting){0};
    waiting->op = key_agent_refetch(w->agents[agent], w->now_ms, on_done, waiting);
    assert_int_equal(waiting->calls, 0);
    return waiting->op != NULL;
}

static unsigned generation(struct world *w, unsigned agent)
{
    unsigned generation;
    const struct jwk_set *set = key_agent_set(w->agents[agent], &generation);
    assert_int_equal(set == NULL, generation == 0);
    return generation;
}

static bool has_key(struct world *w, const char *kid)
{
    unsigned generation;
    bool found[2];
    for (unsigned i = 0; i < 2; i++) {
        const struct jwk_set *set = key_agent_set(w->agents[i], &generation);
        found[i] = set != NULL && jwk_set_find(set, kid, strlen(kid)) != NULL;
    }
    assert_int_equal(found[0], found[1]);
    return found[0];
}

/* A world with the keys SET_A, fetched from KEYS_URL. */
static void open_loaded(struct world *w)
{
    open_world(w, KEYS_URL);
    tick(w, 0);
    answer(SET_A);
    deliver(w);
    assert_true(has_key(w, "a"));
}

/* --- what is due by itself --------------------------------------------------------------------- */

static void the_first_set_is_fetched_at_once_by_one_worker(void **state)
{
    struct world w;
    open_world(&w, KEYS_URL "?appid=1");
    assert_int_equal(generation(&w, 0), 0);
    tick(&w, 0);
    assert_int_equal(call_count, 1);
    assert_string_equal(last_url(), KEYS_URL "?appid=1");
    assert_true(calls[0].deadline_ms <= clock_monotonic_ms() + 5000);
    assert_true(calls[0].deadline_ms > clock_monotonic_ms() + 3000);
    answer(SET_A);
    assert_true(has_key(&w, "a"));
    assert_false(has_key(&w, "b"));
    assert_int_equal(generation(&w, 0), generation(&w, 1));
    assert_int_equal(lines_with(&w, "keys loaded"), 1);
    assert_int_equal(lines_with(&w, "\"source\":\"" KEYS_URL "\",\"keys\":1"), 1);
    assert_int_equal(lines_with(&w, "appid"), 0);
    close_world(&w);
}

static void without_a_set_it_is_tried_every_second(void **state)
{
    struct world w;
    struct waiting waiting[3];
    open_world(&w, KEYS_URL);
    tick(&w, 0);
    assert_true(refetch(&w, 1, &waiting[0])); /* joins */
    answer_with(HTTP_REFUSED, 0, "");
    deliver(&w);
    assert_int_equal(waiting[0].calls, 1);
    assert_int_equal(generation(&w, 0), 0);
    for (unsigned i = 1; i < 200; i++) {
        assert_false(refetch(&w, i % 2, &waiting[1])); /* never starts one more */
        tick(&w, 999);
        assert_int_equal(call_count, i);
        tick(&w, 1);
        assert_int_equal(call_count, i + 1);
        assert_true(refetch(&w, i % 2, &waiting[2]));
        answer_with(HTTP_ANSWERED, 503, "");
        deliver(&w);
        assert_int_equal(waiting[2].calls, 1);
    }
    assert_int_equal(lines_with(&w, "keys could not be loaded"), 4); /* once a minute */
    tick(&w, 1000);
    tick(&w, 4000); /* one that takes its time is not started twice */
    assert_int_equal(call_count, 201);
    answer(SET_A);
    assert_int_equal(lines_with(&w, "keys loaded"), 1);
    tick(&w, 1000);
    tick(&w, DAY_MS - 5001);
    assert_int_equal(call_count, 201);
    close_world(&w);
}

static void a_set_is_fetched_anew_once_a_day(void **state)
{
    struct world w;
    open_loaded(&w);
    unsigned before = generation(&w, 0);
    tick(&w, DAY_MS - 1);
    assert_int_equal(call_count, 1);
    tick(&w, 1);
    assert_int_equal(call_count, 2);
    answer(SET_A); /* the same text */
    assert_int_equal(generation(&w, 0), before);
    assert_int_equal(lines_with(&w, "keys loaded"), 1);
    tick(&w, DAY_MS);
    answer(SET_B);
    assert_int_equal(generation(&w, 0), before + 1);
    assert_true(has_key(&w, "b"));
    assert_false(has_key(&w, "a")); /* replaced as a whole */
    assert_int_equal(lines_with(&w, "keys loaded"), 2);
    close_world(&w);
}

static void a_daily_fetch_that_fails_is_tried_again_after_five_minutes(void **state)
{
    struct world w;
    open_loaded(&w);
    tick(&w, DAY_MS);
    answer_with(HTTP_TIMED_OUT, 0, "");
    tick(&w, 5 * 60 * 1000 - 1);
    assert_int_equal(call_count, 2);
    tick(&w, 1);
    assert_int_equal(call_count, 3);
    answer(SET_A);
    assert_int_equal(lines_with(&w, "keys could not be loaded"), 1);
    assert_int_equal(lines_with(&w, "\"changed\":false"), 1); /* it works again */
    tick(&w, DAY_MS - 1);
    assert_int_equal(call_count, 3);
    close_world(&w);
}

static void each_change_between_failing_and_working_is_logged(void **state)
{
    struct world w;
    struct waiting waiting;
    open_world(&w, KEYS_URL);
    tick(&w, 0);
    answer_with(HTTP_REFUSED, 0, "");
    assert_int_equal(lines_with(&w, "keys could not be loaded"), 1);
    tick(&w, 1000);
    answer(SET_A);
    assert_int_equal(lines_with(&w, "keys loaded"), 1);
    assert_true(refetch(&w, 0, &waiting));
    answer_with(HTTP_REFUSED, 0, ""); /* within a minute of the last one */
    deliver(&w);
    assert_int_equal(lines_with(&w, "keys could not be loaded"), 2);
    w.now_ms += COOLDOWN_MS;
    assert_true(refetch(&w, 0, &waiting));
    answer(SET_A);
    deliver(&w);
    assert_int_equal(lines_with(&w, "keys loaded"), 2);
    close_world(&w);
}

/* --- unknown kids ------------------------------------------------------------------------------ */

static void many_who_wait_cause_one_fetch(void **state)
{
    struct world w;
    struct waiting waiting[100];
    open_loaded(&w);
    for (unsigned i = 0; i < COUNT(waiting); i++)
        assert_true(refetch(&w, i % 2, &waiting[i]));
    assert_int_equal(call_count, 2);
    answer(SET_AB);
    for (unsigned i = 0; i < COUNT(waiting); i++)
        assert_int_equal(waiting[i].calls, 0); /* never from inside */
    deliver(&w);
    for (unsigned i = 0; i < COUNT(waiting); i++)
        assert_int_equal(waiting[i].calls, 1);
    assert_true(has_key(&w, "a"));
    assert_true(has_key(&w, "b"));
    close_world(&w);
}

static void the_cooldown_counts_from_start_to_start(void **state)
{
    struct world w;
    struct waiting waiting;
    open_loaded(&w);
    assert_true(refetch(&w, 0, &waiting));
    w.now_ms += 4000;
    answer(SET_A);
    deliver(&w);
    w.now_ms += COOLDOWN_MS - 4001;
    assert_false(refetch(&w, 0, &waiting));
    assert_false(refetch(&w, 1, &waiting));
    w.now_ms += 1;
    assert_true(refetch(&w, 1, &waiting));
    assert_int_equal(call_count, 3);
    answer_with(HTTP_BROKEN, 0, ""); /* one that fails counts as well */
    deliver(&w);
    assert_int_equal(waiting.calls, 1);
    assert_false(refetch(&w, 0, &waiting));
    close_world(&w);
}

static void a_fetch_that_is_due_does_not_count_for_the_cooldown(void **state)
{
    struct world w;
    struct waiting waiting[2];
    open_loaded(&w);
    tick(&w, DAY_MS);
    assert_true(refetch(&w, 1, &waiting[0])); /* joins it */
    assert_int_equal(call_count, 2);
    answer(SET_A);
    deliver(&w);
    assert_int_equal(waiting[0].calls, 1);
    assert_true(refetch(&w, 1, &waiting[1]));
    assert_int_equal(call_count, 3);
    answer(SET_B);
    deliver(&w);
    assert_int_equal(waiting[1].calls, 1);
    close_world(&w);
}

static void a_flood_of_unknown_kids_causes_one_fetch_per_cooldown(void **state)
{
    struct world w;
    struct waiting first, waiting;
    open_loaded(&w);
    assert_true(refetch(&w, 0, &first));
    answer(SET_A);
    deliver(&w);
    for (unsigned i = 0; i < 100000; i++)
        assert_null(key_agent_refetch(w.agents[i % 2], w.now_ms + i % COOLDOWN_MS, on_done, &waiting));
    assert_int_equal(call_count, 2);
    close_world(&w);
}

static void only_so_many_may_wait(void **state)
{
    struct world w;
    static struct waiting waiting[WAITING_MAX], more;
    open_loaded(&w);
    for (unsigned i = 0; i < WAITING_MAX; i++)
        assert_true(refetch(&w, i % 2, &waiting[i]));
    assert_false(refetch(&w, 0, &more));
    operation_cancel(waiting[7].op);
    assert_true(refetch(&w, 1, &waiting[7]));
    assert_false(refetch(&w, 1, &more));
    answer(SET_A);
    deliver(&w);
    w.now_ms += COOLDOWN_MS;
    assert_true(refetch(&w, 1, &more)); /* all their places are free again */
    for (unsigned i = 1; i < WAITING_MAX; i++)
        assert_true(refetch(&w, i % 2, &waiting[i]));
    answer(SET_A);
    deliver(&w);
    close_world(&w);
}

static void who_cancels_does_not_end_the_fetch(void **state)
{
    struct world w;
    struct waiting waiting[2];
    open_loaded(&w);
    assert_true(refetch(&w, 0, &waiting[0]));
    assert_true(refetch(&w, 1, &waiting[1]));
    operation_cancel(waiting[0].op);
    assert_false(calls[1].over);
    answer(SET_B);
    operation_cancel(waiting[1].op); /* its letter is on the way */
    deliver(&w);
    assert_int_equal(waiting[0].calls + waiting[1].calls, 0);
    assert_true(has_key(&w, "b"));
    close_world(&w);
}

static void an_agent_that_ends_gives_its_fetch_up(void **state)
{
    struct world w;
    struct waiting waiting;
    open_loaded(&w);
    tick(&w, DAY_MS); /* led by the first */
    assert_true(refetch(&w, 1, &waiting));
    key_agent_free(w.agents[0]);
    assert_true(calls[1].over);
    w.agents[0] = NULL;
    deliver(&w);
    assert_int_equal(waiting.calls, 1);
    key_agent_tick(w.agents[1], w.now_ms + 5 * 60 * 1000);
    assert_int_equal(call_count, 3);
    answer(SET_B);
    close_world(&w);
}

static void a_client_that_takes_no_call_is_a_fetch_that_failed(void **state)
{
    struct world w;
    struct waiting waiting;
    open_loaded(&w);
    client_is_full = true;
    assert_false(refetch(&w, 0, &waiting));
    assert_int_equal(lines_with(&w, "\"reason\":\"not started\""), 1);
    client_is_full = false;
    assert_false(refetch(&w, 0, &waiting)); /* the cooldown holds */
    w.now_ms += COOLDOWN_MS;
    assert_true(refetch(&w, 0, &waiting));
    answer(SET_A);
    deliver(&w);
    close_world(&w);
}

/* --- answers that bring nothing ---------------------------------------------------------------- */

static void an_answer_that_is_no_key_set_keeps_the_old_one(void **state)
{
    static const struct {
        enum http_outcome outcome;
        unsigned status;
        const char *body, *reason;
    } cases[] = {
        {HTTP_REFUSED, 0, "", "no connection"},
        {HTTP_BROKEN, 0, "", "broken answer"},
        {HTTP_TIMED_OUT, 0, "", "timeout"},
        {HTTP_TOO_LARGE, 0, "", "too large"},
        {HTTP_NO_MEMORY, 0, "", "out of memory"},
        {HTTP_ANSWERED, 500, SET_B, "status"},
        {HTTP_ANSWERED, 404, SET_B, "status"},
        {HTTP_ANSWERED, 204, "", "status"},
        {HTTP_ANSWERED, 201, SET_B, "status"},
        {HTTP_ANSWERED, 301, SET_B, "redirect"},
        {HTTP_ANSWERED, 302, "", "redirect"},
        {HTTP_ANSWERED, 308, SET_B, "redirect"},
        {HTTP_ANSWERED, 200, "", "no usable key set"},
        {HTTP_ANSWERED, 200, "<html>", "no usable key set"},
        {HTTP_ANSWERED, 200, "{}", "no usable key set"},
        {HTTP_ANSWERED, 200, "{\"keys\":[]}", "no usable key set"},
        {HTTP_ANSWERED, 200, "{\"keys\":[{\"kty\":\"oct\",\"kid\":\"b\",\"k\":\"AAAA\"}]}",
         "no usable key set"},
        {HTTP_ANSWERED, 200, SET_B "x", "no usable key set"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct world w;
        struct waiting waiting;
        char reason[64];
        open_loaded(&w);
        unsigned before = generation(&w, 0);
        assert_true(refetch(&w, 0, &waiting));
        answer_with(cases[i].outcome, cases[i].status, cases[i].body);
        deliver(&w);
        assert_int_equal(waiting.calls, 1);
        snprintf(reason, sizeof reason, "\"reason\":\"%s\",\"status\":%u", cases[i].reason, cases[i].status);
        if (!has_key(&w, "a") || generation(&w, 0) != before || lines_with(&w, reason) != 1)
            fail_msg("case %zu (%s): %s", i, cases[i].reason, log_of(&w));
        assert_int_equal(lines_with(&w, "\"oldKeysStay\":true"), 1);
        close_world(&w);
    }
}

/* --- discovery --------------------------------------------------------------------------------- */

#define DOCUMENT(issuer, uri) "{\"issuer\":\"" issuer "\",\"jwks_uri\":\"" uri "\",\"more\":[1]}"

static void the_issuer_says_where_its_keys_are(void **state)
{
    struct world w;
    struct waiting waiting;
    open_world(&w, "");
    tick(&w, 0);
    assert_string_equal(last_url(), DISCOVERY);
    answer(DOCUMENT(ISSUER, "https://keys.example/1"));
    assert_string_equal(last_url(), "https://keys.example/1");
    assert_int_equal(calls[0].deadline_ms, calls[1].deadline_ms); /* of both together */
    answer(SET_A);
    assert_true(has_key(&w, "a"));

    assert_true(refetch(&w, 0, &waiting)); /* knows it */
    assert_int_equal(call_count, 3);
    assert_string_equal(last_url(), "https://keys.example/1");
    assert_true(calls[2].fresh);
    answer(SET_B);
    deliver(&w);

    tick(&w, DAY_MS); /* asks anew */
    assert_string_equal(last_url(), DISCOVERY);
    answer(DOCUMENT(ISSUER, "https://keys.example/2"));
    answer(SET_B);
    assert_true(refetch(&w, 1, &waiting));
    assert_string_equal(last_url(), "https://keys.example/2");
    answer_with(HTTP_ANSWERED, 404, ""); /* they moved: forgotten */
    deliver(&w);
    w.now_ms += COOLDOWN_MS;
    assert_true(refetch(&w, 1, &waiting));
    assert_string_equal(last_url(), DISCOVERY);
    answer(DOCUMENT(ISSUER, "https://keys.example/3"));
    answer(SET_A);
    deliver(&w);
    assert_int_equal(waiting.calls, 1);
    assert_true(has_key(&w, "a"));
    close_world(&w);
}

static void a_discovery_document_is_held_to_the_issuer(void **state)
{
    static const struct {
        const char *document, *reason; /* NULL: it is good */
    } cases[] = {
        {DOCUMENT(ISSUER, "https://keys.example/k?x=1"), NULL},
        {DOCUMENT(ISSUER, "https://keys.example"), NULL},
        {DOCUMENT(ISSUER, "http://127.0.0.1:81/k"), NULL},
        {DOCUMENT(ISSUER, "http://[::1]/k"), NULL},
        {DOCUMENT(ISSUER, "http://localhost:81/k"), NULL},
        {DOCUMENT(ISSUER, "http://keys.example/k"), "jwks_uri is not https"},
        {DOCUMENT(ISSUER, "http://127.0.0.1.example/k"), "jwks_uri is not https"},
        {DOCUMENT(ISSUER, "http://localhost@keys.example/k"), "jwks_uri is not https"},
        {DOCUMENT(ISSUER, "https://user@keys.example/k"), "jwks_uri is not https"},
        {DOCUMENT(ISSUER, "https://keys.example/k#f"), "jwks_uri is not https"},
        {DOCUMENT(ISSUER, "https://keys.example/k k"), "jwks_uri is not https"},
        {DOCUMENT(ISSUER, "https://keys.example/\\u00e9"), "jwks_uri is not https"},
        {DOCUMENT(ISSUER, "https://keys.example\\\\@evil/"), "jwks_uri is not https"},
        {DOCUMENT(ISSUER, "https:///k"), "jwks_uri is not https"},
        {DOCUMENT(ISSUER, "file:///etc/passwd"), "jwks_uri is not https"},
        {DOCUMENT(ISSUER, "/k"), "jwks_uri is not https"},
        {DOCUMENT(ISSUER, ""), "jwks_uri is not https"},
        {DOCUMENT(ISSUER "/", "https://keys.example/k"), "another issuer"},
        {DOCUMENT("https://evil.example", "https://keys.example/k"), "another issuer"},
        {DOCUMENT("https://issuer.example/tenant/v3.0", "https://keys.example/k"), "another issuer"},
        {DOCUMENT("https://issuer.example/tenant/V2.0", "https://keys.example/k"), "another issuer"},
        {DOCUMENT(ISSUER "\\u0000", "https://keys.example/k"), "not a discovery document"},
        {DOCUMENT("", "https://keys.example/k"), "another issuer"},
        {"{\"issuer\":\"" ISSUER "\"}", "not a discovery document"},
        {"{\"jwks_uri\":\"https://keys.example/k\"}", "not a discovery document"},
        {"{\"issuer\":[\"" ISSUER "\"],\"jwks_uri\":\"https://keys.example/k\"}", "not a discovery document"},
        {"{\"issuer\":\"" ISSUER "\",\"jwks_uri\":7}", "not a discovery document"},
        {"{\"issuer\":\"x\",\"issuer\":\"" ISSUER "\",\"jwks_uri\":\"https://keys.example/k\"}",
         "not a discovery document"},
        {DOCUMENT(ISSUER, "https://keys.example/k") "x", "not a discovery document"},
        {"[]", "not a discovery document"},
        {"", "not a discovery document"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct world w;
        char reason[64];
        open_world(&w, "");
        tick(&w, 0);
        answer(cases[i].document);
        snprintf(reason, sizeof reason, "\"reason\":\"%s\"", cases[i].reason != NULL ? cases[i].reason : "-");
        if (call_count != (cases[i].reason == NULL ? 2 : 1) ||
            lines_with(&w, reason) != (cases[i].reason == NULL ? 0 : 1))
            fail_msg("case %zu: %s: %s", i, cases[i].document, log_of(&w));
        close_world(&w);
    }
}

static void discovery_puts_one_slash_behind_the_issuer(void **state)
{
    static const struct {
        const char *issuer, *url;
    } cases[] = {
        {"https://a.example", "https://a.example/.well-known/openid-configuration"},
        {"https://sts.example/t/", "https://sts.example/t/.well-known/openid-configuration"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct world w;
        open_world(&w, "");
        key_agent_free(w.agents[0]);
        key_agent_free(w.agents[1]);
        key_source_free(w.source);
        w.agents[1] = NULL;
        assert_int_equal(key_source_new(&(struct key_source_options){cases[i].issuer, "", COOLDOWN_MS},
                                        w.flights, &w.source),
                         0);
        assert_int_equal(key_agent_new(w.source, NULL, w.mailboxes[0], w.log, w.metrics, &w.agents[0]), 0);
        key_agent_tick(w.agents[0], w.now_ms);
        assert_string_equal(last_url(), cases[i].url);
        close_world(&w);
    }
}

/* --- a file ------------------------------------------------------------------------------------ */

static char directory[64];

static int make_directory(void **state)
{
    snprintf(directory, sizeof directory, "/tmp/telemetryd-keys-XXXXXX");
    return mkdtemp(directory) != NULL ? 0 : -1;
}

static int remove_directory(void **state)
{
    char path[128];
    snprintf(path, sizeof path, "%s/keys", directory);
    if (unlink(path) != 0)
        rmdir(path);
    return rmdir(directory);
}

static const char *path_of_keys(void)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/keys", directory);
    return path;
}

static void write_keys(const char *text, size_t padding)
{
    FILE *file = fopen(path_of_keys(), "w");
    assert_non_null(file);
    fputs(text, file);
    while (padding-- > 0)
        fputc(' ', file);
    assert_int_equal(fclose(file), 0);
}

static void a_file_is_read_at_once_and_again(void **state)
{
    struct world w;
    struct waiting waiting;
    write_keys(SET_A, 0);
    open_world(&w, path_of_keys());
    assert_true(has_key(&w, "a"));
    tick(&w, 0);
    deliver(&w);
    write_keys(SET_B, 0);
    assert_true(refetch(&w, 1, &waiting));
    assert_true(has_key(&w, "a"));
    deliver(&w);
    assert_int_equal(waiting.calls, 1);
    assert_true(has_key(&w, "b"));
    assert_false(has_key(&w, "a"));
    assert_false(refetch(&w, 0, &waiting)); /* the cooldown */
    write_keys(SET_AB, 0);
    tick(&w, DAY_MS + 1000);
    deliver(&w);
    assert_true(has_key(&w, "a"));
    unlink(path_of_keys());
    tick(&w, DAY_MS + 1000);
    deliver(&w);
    assert_true(has_key(&w, "a"));
    assert_int_equal(lines_with(&w, directory), 0); /* no paths in the log */
    assert_int_equal(lines_with(&w, "\"source\":\"file\""), 4);
    assert_int_equal(call_count, 0);
    close_world(&w);
}

static void a_file_that_comes_later_is_found(void **state)
{
    struct world w;
    open_world(&w, path_of_keys());
    assert_int_equal(generation(&w, 0), 0);
    tick(&w, 0);
    deliver(&w);
    write_keys(SET_A, 0);
    tick(&w, 999);
    deliver(&w);
    assert_false(has_key(&w, "a"));
    tick(&w, 1);
    deliver(&w);
    assert_true(has_key(&w, "a"));
    assert_int_equal(lines_with(&w, "\"reason\":\"no such file\""), 1);
    close_world(&w);
}

static void make_fifo(void)
{
    assert_int_equal(mkfifo(path_of_keys(), 0600), 0);
}

static void make_folder(void)
{
    assert_int_equal(mkdir(path_of_keys(), 0700), 0);
}

static void make_device(void)
{
    assert_int_equal(symlink("/dev/zero", path_of_keys()), 0);
}

static void make_too_large(void)
{
    write_keys(SET_A, JWK_SET_TEXT_MAX + 1 - strlen(SET_A));
}

static void make_garbage(void)
{
    write_keys("garbage", 0);
}

static void a_file_that_is_none_neither_blocks_nor_counts(void **state)
{
    static const struct {
        void (*make)(void);
        const char *reason;
    } cases[] = {
        {make_fifo, "not a regular file"},   {make_folder, "not a regular file"},
        {make_device, "not a regular file"}, {make_too_large, "too large"},
        {make_garbage, "no usable key set"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct world w;
        char reason[64];
        cases[i].make();
        open_world(&w, path_of_keys());
        assert_int_equal(generation(&w, 0), 0);
        snprintf(reason, sizeof reason, "\"reason\":\"%s\"", cases[i].reason);
        if (lines_with(&w, reason) != 1)
            fail_msg("%s: %s", reason, log_of(&w));
        if (unlink(path_of_keys()) != 0)
            rmdir(path_of_keys());
        close_world(&w);
    }
    struct world w;
    write_keys(SET_A, JWK_SET_TEXT_MAX - strlen(SET_A)); /* the largest */
    open_world(&w, path_of_keys());
    assert_true(has_key(&w, "a"));
    close_world(&w);
}

static void an_agent_ends_before_its_file_was_read(void **state)
{
    struct world w;
    struct waiting waiting;
    write_keys(SET_A, 0);
    open_world(&w, path_of_keys());
    assert_true(refetch(&w, 0, &waiting));
    operation_cancel(waiting.op);
    close_world(&w);
}

int main(void)
{
#define ON_FILES(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_set_is_fetched_at_once_by_one_worker),
        cmocka_unit_test(without_a_set_it_is_tried_every_second),
        cmocka_unit_test(a_set_is_fetched_anew_once_a_day),
        cmocka_unit_test(a_daily_fetch_that_fails_is_tried_again_after_five_minutes),
        cmocka_unit_test(each_change_between_failing_and_working_is_logged),
        cmocka_unit_test(many_who_wait_cause_one_fetch),
        cmocka_unit_test(the_cooldown_counts_from_start_to_start),
        cmocka_unit_test(a_fetch_that_is_due_does_not_count_for_the_cooldown),
        cmocka_unit_test(a_flood_of_unknown_kids_causes_one_fetch_per_cooldown),
        cmocka_unit_test(only_so_many_may_wait),
        cmocka_unit_test(who_cancels_does_not_end_the_fetch),
        cmocka_unit_test(an_agent_that_ends_gives_its_fetch_up),
        cmocka_unit_test(a_client_that_takes_no_call_is_a_fetch_that_failed),
        cmocka_unit_test(an_answer_that_is_no_key_set_keeps_the_old_one),
        cmocka_unit_test(the_issuer_says_where_its_keys_are),
        cmocka_unit_test(a_discovery_document_is_held_to_the_issuer),
        cmocka_unit_test(discovery_puts_one_slash_behind_the_issuer),
        ON_FILES(a_file_is_read_at_once_and_again),
        ON_FILES(a_file_that_comes_later_is_found),
        ON_FILES(a_file_that_is_none_neither_blocks_nor_counts),
        ON_FILES(an_agent_ends_before_its_file_was_read),
    };
    return cmocka_run_group_tests_name("key_source", tests, NULL, NULL);
}
