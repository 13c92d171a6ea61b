/*
 * key_source.h - where the issuer's keys come from, and when they are fetched: at start, once a day, and when
 * a token names a key that is not in the set (at most once per cooldown, one fetch however many wait).
 *
 * A set stays until a better one came, which then replaces it as a whole: a fetch that fails, is redirected,
 * is larger than 1 MB or holds no usable key changes nothing. While no set was ever loaded it is tried every
 * second; a daily fetch that failed is tried again every five minutes. A fetch takes 5 s at most in all.
 *
 * The url is the setting, or the `jwks_uri` (https, or http on loopback) of the issuer's discovery document
 * ({issuer}/.well-known/openid-configuration, whose `issuer` must equal the setting). The document is asked
 * for again with every fetch that is due by itself, and after one that failed. Sources: OpenID Connect
 * Discovery 1.0, sections 3 and 4; RFC 7517; azure-protocols.md section 3. A file is read on the loop: it is
 * small, on a disk, and read as rarely as a url is fetched.
 *
 * The log gets a line when keys were loaded that differ, when loading fails and when it works again; while it
 * goes on failing, one a minute.
 *
 * Threads: `struct key_source` is shared by all workers; each has a `struct key_agent`, its hands: http
 * client, mailbox, and the set that it uses without a lock.
 */
#ifndef TELEMETRYD_KEY_SOURCE_H
#define TELEMETRYD_KEY_SOURCE_H

#include "flight.h"
#include "http_client.h"
#include "jwk_set.h"
#include "log.h"
#include "mailbox.h"
#include "metrics.h"
#include "operation.h"

#include <stdbool.h>
#include <stdint.h>

struct key_source;
struct key_agent;

struct key_source_options {
    const char *issuer;
    const char *jwks; /* URL or file; "": by discovery */
    uint64_t cooldown_ms;
};

/* The options' texts must outlive the source. 0; -ENOMEM or a negative libuv error. */
int key_source_new(const struct key_source_options *options, struct flight_table *flights,
                   struct key_source **ret_source);
void key_source_free(struct key_source *source); /* after the agents; accepts NULL */

/* The first agent reads a file at once, so that the first request can be judged; when that fails it is
 * retried like a fetch. */
int key_agent_new(struct key_source *source, struct http_client *http, struct mailbox *mailbox,
                  struct log *log, struct metrics *metrics, struct key_agent **ret_agent);
/* Gives up what it fetches (others who wait are told that it is over). When nobody waits through this agent
 * any more, and before the http client, the mailbox and the log. Accepts NULL. */
void key_agent_free(struct key_agent *agent);

/* The set to verify with now; NULL while none was ever loaded. It is the agent's reference, good until the
 * next call. *ret_generation grows when the keys change (a fetch that brings the same text changes nothing);
 * 0 while there are none. */
const struct jwk_set *key_agent_set(struct key_agent *agent, unsigned *ret_generation);

/* Fetches what is due: the first set, the daily one. The worker calls it when its loop begins to run and
 * about four times a second from then on; of all workers one fetches. */
void key_agent_tick(struct key_agent *agent, uint64_t now_ms);

/* A token named an unknown key. Starts a fetch where the cooldown allows one, or joins the one that is under
 * way; `done` says that it is over, whether or not it brought anything. NULL: none may be waited for now (the
 * cooldown, too many who wait already, no set yet and no fetch under way). Either way the verdict is then
 * that of key_agent_set(), asked again: another worker's fetch may have ended just now. A refusal costs a few
 * atomic reads. now_ms: clock_monotonic_ms(). */
typedef void key_agent_cb(void *ctx);
struct operation *key_agent_refetch(struct key_agent *agent, uint64_t now_ms, key_agent_cb *done, void *ctx);

#endif
