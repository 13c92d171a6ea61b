/*
 * The keys that are in use, and how the last fetch ended. Only the agent that leads the flight publishes, and
 * there is one flight at a time, so sets replace each other in order.
 */
#include "key_internal.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define REFRESH_MS   (24u * 60 * 60 * 1000)
#define LOG_AGAIN_MS (60u * 1000)

int key_source_new(const struct key_source_options *options, struct flight_table *flights,
                   struct key_source **ret_source)
{
    struct key_source *source = calloc(1, sizeof *source);
    if (source == NULL)
        return -ENOMEM;
    int r = uv_mutex_init(&source->lock);
    if (r != 0) {
        free(source);
        return r;
    }
    source->options = *options;
    source->flights = flights;
    *ret_source = source;
    return 0;
}

void key_source_free(struct key_source *source)
{
    if (source == NULL)
        return;
    jwk_set_unref(source->set);
    free(source->jwks_uri);
    uv_mutex_destroy(&source->lock);
    free(source);
}

/* --- publishing what was fetched --------------------------------------------------------------- */

/* Makes a set of the text and puts it in use, unless it is the text that is in use already. Returns what is
 * wrong, or NULL. */
static const char *take_text(struct key_source *source, const char *text, size_t len, bool *ret_changed)
{
    unsigned char digest[KEY_DIGEST_SIZE];
    struct jwk_set *set = NULL;

    if (EVP_Digest(text, len, digest, NULL, EVP_sha256(), NULL) != 1)
        return "out of memory";
    /* Only this thread writes the digest now. */
    *ret_changed = source->set == NULL || memcmp(digest, source->digest, sizeof digest) != 0;
    if (!*ret_changed)
        return NULL;
    int r = jwk_set_parse(text, len, &set);
    if (r != 0)
        return r == -ENOMEM ? "out of memory" : "no usable key set";
    uv_mutex_lock(&source->lock);
    struct jwk_set *old = source->set;
    source->set = set;
    memcpy(source->digest, digest, sizeof digest);
    atomic_fetch_add(&source->generation, 1);
    uv_mutex_unlock(&source->lock);
    jwk_set_unref(old);
    return NULL;
}

static void log_source(struct log *log, const char *url)
{
    if (url == NULL) {
        log_text(log, "source", "file");
        return;
    }
    char *shown = strndup(url, strcspn(url, "?"));
    log_text(log, "source", shown);
    free(shown);
}

static void log_success(struct log *log, const struct key_source *source,
                        const struct key_fetch_result *result, bool changed)
{
    if (!log_begin(log, LOG_LEVEL_INFO, "keys loaded"))
        return;
    log_source(log, result->url);
    log_number(log, "keys", (int64_t)jwk_set_count(source->set));
    log_bool(log, "changed", changed);
    log_end(log);
}

static void log_failure(struct log *log, const struct key_source *source,
                        const struct key_fetch_result *result)
{
    if (!log_begin(log, LOG_LEVEL_WARN, "keys could not be loaded"))
        return;
    log_source(log, result->url);
    log_text(log, "reason", result->fault);
    log_number(log, "status", result->status);
    log_bool(log, "oldKeysStay", source->set != NULL);
    log_end(log);
}

/* Remembers how the fetch ended. Returns true when that is news for the log: what changed the state, and a
 * failure that goes on once a minute. */
static bool note(struct key_source *source, const struct key_fetch_result *result, bool changed,
                 uint64_t started_ms)
{
    bool good = result->fault == NULL;
    char *uri = good && result->jwks_uri != NULL ? strdup(result->jwks_uri) : NULL;
    char *forgotten = NULL;

    uv_mutex_lock(&source->lock);
    bool news = good ? changed || source->failing
                     : !source->failing || started_ms >= source->failure_logged_ms + LOG_AGAIN_MS;
    source->failing = !good;
    if (!good && news)
        source->failure_logged_ms = started_ms;
    if (!good || uri != NULL) {
        forgotten = source->jwks_uri;
        source->jwks_uri = uri;
    }
    uv_mutex_unlock(&source->lock);
    free(forgotten);
    if (good)
        atomic_store(&source->due_ms, started_ms + REFRESH_MS);
    return news;
}

bool key_source_take(struct key_source *source, const struct key_fetch_result *fetched, uint64_t started_ms,
                     struct log *log)
{
    struct key_fetch_result result = *fetched;
    bool changed = false;

    if (result.fault == NULL)
        result.fault = take_text(source, result.text, result.len, &changed);
    bool news = note(source, &result, changed, started_ms);
    if (news && result.fault == NULL)
        log_success(log, source, &result, changed);
    else if (news)
        log_failure(log, source, &result);
    return result.fault == NULL;
}
