/*
 * key_internal.h - the steps of fetching an issuer's keys. Private to server/key_*.c.
 */
#ifndef TELEMETRYD_KEY_INTERNAL_H
#define TELEMETRYD_KEY_INTERNAL_H

#include "key_source.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

/* --- the discovery document (key_discovery.c): OpenID Connect Discovery 1.0, sections 3 and 4; pure ---- */

#define KEY_URL_MAX 4096 /* bytes of a jwks_uri */

/* {issuer}/.well-known/openid-configuration with one slash between, for free(); NULL when out of memory. */
char *key_discovery_url(const char *issuer);

/* NULL and *ret_uri (for free()), or a word that says what is wrong. */
const char *key_discovery_read(const char *text, size_t len, const char *issuer, char **ret_uri);

/* --- one fetch (key_fetch.c) ------------------------------------------------------------------- */

struct key_fetch_options {
    const char *issuer;
    const char *jwks;     /* the setting: URL, file, or "" */
    const char *jwks_uri; /* from an earlier discovery, or NULL; used where jwks is "" */
    struct http_client *http;
    struct mailbox *mailbox;
    struct metrics *metrics;
    uint64_t deadline_ms; /* clock_monotonic_ms(), of all calls together */
};

/* Valid inside the callback only. */
struct key_fetch_result {
    const char *fault;    /* NULL: text is what the issuer or the file says; else a word for the log */
    unsigned status;      /* HTTP, 0 where no answer came */
    const char *url;      /* what was asked last; NULL for a file */
    const char *jwks_uri; /* from discovery, or NULL */
    const char *text;
    size_t len;
};

typedef void key_fetch_cb(void *ctx, const struct key_fetch_result *result);

/* The options' texts but jwks_uri must outlive the operation. */
struct operation *key_fetch_start(const struct key_fetch_options *options, key_fetch_cb *done, void *ctx);

bool key_fetch_is_url(const char *jwks);

/* Reads a regular file of at most JWK_SET_TEXT_MAX bytes. NULL and *ret_text (for free()) with *ret_len, or a
 * word that says what is wrong. Blocks as long as the disk does. */
const char *key_fetch_file(const char *path, char **ret_text, size_t *ret_len);

/* --- what the workers share (key_source.c) ----------------------------------------------------- */

#define KEY_DIGEST_SIZE 32

struct key_source {
    struct key_source_options options;
    struct flight_table *flights;

    atomic_uint generation;               /* 0: no set yet */
    atomic_bool fetching;                 /* a fetch is under way: it may be joined */
    atomic_uint waiting;                  /* for it, on all workers */
    _Atomic uint64_t due_ms;              /* when the next fetch is due by itself */
    _Atomic uint64_t unknown_kid_from_ms; /* from when on an unknown kid may cause one */

    uv_mutex_t lock; /* guards the rest */
    struct jwk_set *set;
    unsigned char digest[KEY_DIGEST_SIZE]; /* SHA-256 of the text that it was made of */
    char *jwks_uri;                        /* of the last discovery; forgotten when a fetch fails */
    bool failing;
    uint64_t failure_logged_ms;
};

/* How a fetch that began at started_ms has ended: puts the new keys in use, plans the next fetch and writes
 * the log. Only for the agent that leads the flight. Returns true when the keys are good. */
bool key_source_take(struct key_source *source, const struct key_fetch_result *fetched, uint64_t started_ms,
                     struct log *log);

#endif
