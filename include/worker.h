/*
 * worker.h - one thread, one libuv loop, one libmicrohttpd daemon, one curl multi. A request lives and dies
 * on its worker.
 *
 * A turn of the loop: libuv delivers events (sockets of upstreams, letters, timers; the daemon's epoll
 * descriptor only sets a flag), then worker_turn() runs curl's and the daemon's due work until neither has
 * more, then the log is written.
 */
#ifndef TELEMETRYD_WORKER_H
#define TELEMETRYD_WORKER_H

#include "acceptor.h"
#include "azure_credential.h"
#include "config.h"
#include "connections.h"
#include "device_registry.h"
#include "flight.h"
#include "gzip.h"
#include "http_client.h"
#include "key_source.h"
#include "log.h"
#include "mailbox.h"
#include "metrics.h"
#include "rate_limit.h"
#include "sqlite_db.h"
#include "stream.h"
#include "telemetry_store.h"
#include "token_cache.h"

#include <microhttpd.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <uv.h>

struct worker;
struct request;

/* What the workers share: constant after the start, but for the atomics. */
struct server {
    const struct config *config;
    struct sqlite_db *db;          /* NULL where neither side is embedded */
    struct cosmos_account *cosmos; /* NULL: embedded telemetry */
    struct iothub_options iothub;  /* used where config->has_iothub */
    struct flight_table *flights;
    struct azure_credential *azure; /* NULL: no side is reached with Entra tokens */
    struct key_source *key_source;  /* NULL without authentication */
    struct token_rules token_rules; /* used where there is authentication */
    struct rate_limit *rate_limit;  /* NULL: off */
    struct worker *workers;
    struct metrics **metrics; /* of the workers, for a scrape */
    unsigned worker_count;
    struct tls *tls;                  /* NULL: off */
    struct address_counts *addresses; /* NULL: no limit per address */
    unsigned max_in_flight;           /* requests that may wait at once, in the process */
    atomic_uint connections;
    atomic_uint in_flight;
    atomic_uint streams; /* listeners, in the process */
    atomic_bool draining;
};

struct worker {
    struct server *server;
    const struct config *config;
    struct metrics *metrics;
    struct log *log;
    struct mailbox *mailbox;
    struct telemetry_store *store;
    struct device_registry *registry;
    struct http_client *http;
    struct azure_agent *azure; /* NULL without server->azure */
    struct key_agent *keys;    /* NULL without authentication, and so is the next */
    struct token_cache *tokens;
    struct streams streams;
    struct gzip *gzip;                 /* made with the first answer that needs it */
    struct http_client *identity_http; /* key sets and tokens, which must not wait behind upstream calls */

    /* Private to server/worker.c and server/request.c. */
    uv_thread_t thread;
    uv_loop_t loop;
    struct MHD_Daemon *daemon;
    struct connections *connections;
    struct acceptor acceptor, metrics_acceptor;
    const struct acceptor *accepting; /* whose connection is being handed over at this moment */
    uv_poll_t daemon_poll;
    uv_prepare_t before;
    uv_idle_t more; /* active while the daemon has more to do at once */
    uv_timer_t tick;
    struct letter drain_letter;
    struct request *first_request, *last_request; /* oldest first: deadlines are in the same order */
    uint64_t drain_began_ms;
    _Atomic uint64_t ticked_ms; /* when the loop last turned, on the monotonic clock; read by the watchdog */
    bool daemon_due, draining, stopping;
    bool has_loop, has_thread;
};

/* Prepares a worker that will listen on listen_fd and, where it is not -1, serve metrics on metrics_fd (both
 * taken over). Everything but its thread. 0 or negative. */
int worker_init(struct worker *worker, struct server *server, unsigned index, int listen_fd, int metrics_fd);
int worker_start(struct worker *worker);
/* From any thread: stop accepting, answer what was sent, close, end the thread. */
void worker_drain(struct worker *worker);
void worker_join(struct worker *worker);
void worker_free(struct worker *worker); /* after the join; also a half-made one */

#endif
