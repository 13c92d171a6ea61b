#include "worker.h"

#include "clock.h"
#include "cosmos.h"
#include "iothub.h"
#include "request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TICK_MS       250
#define DRAIN_TICK_MS 50
#define DRAIN_IDLE_MS 1000 /* a keep-alive connection without a request is closed after that */
/* Must hold the largest head that framing.h lets through, its fields and the head of the answer.
 * libmicrohttpd clears the whole of it between two requests, so every byte costs time on each and memory on
 * every connection. */
#define CONNECTION_POOL    (32 * 1024)
#define CONNECTION_STEP    4096
#define SPARE_CONNECTIONS  64u /* of the daemon, for what gave way and is not closed yet, and for a drain */
#define UPSTREAM_IN_FLIGHT 384 /* curl's search for a free connection is linear in it */
#define IDENTITY_IN_FLIGHT 8
#define IDENTITY_WAITING   64
#define TURN_ROUNDS        16

/* --- a turn of the loop ------------------------------------------------------------------------ */

static void run_daemon(struct worker *worker)
{
    MHD_UNSIGNED_LONG_LONG timeout;

    worker->daemon_due = false;
    MHD_run(worker->daemon);
    /* The daemon's sockets are edge-triggered: what it has not finished, no event will bring back. */
    if (MHD_get_timeout(worker->daemon, &timeout) == MHD_YES && timeout == 0)
        worker->daemon_due = true;
}

/* Returns true when there is more to do at once. */
static bool turn(struct worker *worker)
{
    bool more = true;
    for (unsigned round = 0; more && round < TURN_ROUNDS; round++) {
        more = http_client_turn(worker->http);
        more = http_client_turn(worker->identity_http) || more;
        if (worker->daemon_due) {
            run_daemon(worker);
            more = true;
        }
    }
    streams_flush(&worker->streams);
    log_flush(worker->log);
    return more || worker->daemon_due;
}

static void on_idle(uv_idle_t *idle) {}

/* libuv must not sleep while there is more to do. */
static void before_poll(uv_prepare_t *prepare)
{
    struct worker *worker = prepare->data;
    acceptor_resume(&worker->acceptor, false);
    acceptor_resume(&worker->metrics_acceptor, false);
    if (turn(worker) && !worker->stopping)
        uv_idle_start(&worker->more, on_idle);
    else
        uv_idle_stop(&worker->more);
}

static void on_daemon_event(uv_poll_t *poll, int status, int events)
{
    struct worker *worker = poll->data;
    worker->daemon_due = true;
}

/* --- the daemon -------------------------------------------------------------------------------- */

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct worker *worker = cls;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        int fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        const struct sockaddr *from =
            MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
        struct connection *connection = connections_open(worker->connections, fd, from);
        if (connection != NULL)
            connection->metrics_only = worker->accepting->metrics_only;
        *context = connection;
    } else {
        connections_closed(worker->connections, *context);
        *context = NULL;
    }
}

/* The raw target is judged by route_match(); libmicrohttpd's decoded path ("%2F" as "/", cut at "%00") is not
 * used. */
static size_t keep_as_it_is(void *cls, struct MHD_Connection *mhd, char *text)
{
    return strlen(text);
}

static void on_daemon_message(void *cls, const char *format, va_list args)
{
    struct worker *worker = cls;
    char text[256];
    vsnprintf(text, sizeof text, format, args);
    text[strcspn(text, "\n")] = '\0';
    if (log_begin(worker->log, LOG_LEVEL_DEBUG, "libmicrohttpd")) {
        log_text(worker->log, "text", text);
        log_end(worker->log);
    }
}

static int start_daemon(struct worker *worker)
{
    worker->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | MHD_USE_NO_LISTEN_SOCKET, 0, NULL,
        NULL, request_on_access, worker, MHD_OPTION_EXTERNAL_LOGGER, on_daemon_message, worker,
        MHD_OPTION_CONNECTION_LIMIT, worker->config->max_connections + SPARE_CONNECTIONS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_POOL, MHD_OPTION_CONNECTION_MEMORY_INCREMENT,
        (size_t)CONNECTION_STEP, MHD_OPTION_CONNECTION_TIMEOUT, 0u, MHD_OPTION_URI_LOG_CALLBACK,
        request_on_uri, worker, MHD_OPTION_UNESCAPE_CALLBACK, keep_as_it_is, worker,
        MHD_OPTION_NOTIFY_COMPLETED, request_on_completed, worker, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, worker, MHD_OPTION_END);
    if (worker->daemon == NULL)
        return -EIO;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(worker->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    int r = uv_poll_init(&worker->loop, &worker->daemon_poll, info->epoll_fd);
    if (r != 0)
        return r;
    worker->daemon_poll.data = worker;
    worker->daemon_due = true;
    return uv_poll_start(&worker->daemon_poll, UV_READABLE, on_daemon_event);
}

/* --- draining ---------------------------------------------------------------------------------- */

static void on_drain(struct letter *letter)
{
    struct worker *worker = (struct worker *)((char *)letter - offsetof(struct worker, drain_letter));
    if (worker->draining)
        return;
    worker->draining = true;
    worker->drain_began_ms = clock_monotonic_ms();
    acceptor_take_the_rest(&worker->acceptor);
    acceptor_stop(&worker->acceptor);
    acceptor_stop(&worker->metrics_acceptor);
    streams_end(&worker->streams, "the server is stopping");
    uv_timer_set_repeat(&worker->tick, DRAIN_TICK_MS);
    uv_timer_again(&worker->tick);
}

static void close_loop_handles(struct worker *worker)
{
    acceptor_stop(&worker->acceptor);
    acceptor_stop(&worker->metrics_acceptor);
    uv_close((uv_handle_t *)&worker->daemon_poll, NULL);
    uv_close((uv_handle_t *)&worker->before, NULL);
    uv_close((uv_handle_t *)&worker->more, NULL);
    uv_close((uv_handle_t *)&worker->tick, NULL);
}

/* Everything was answered, or may not be waited for any longer. */
static void stop(struct worker *worker)
{
    worker->stopping = true;
    requests_abandon(worker);
    streams_end(&worker->streams, "the server is stopping");
    for (unsigned i = 0; i < TURN_ROUNDS; i++)
        MHD_run(worker->daemon);
    MHD_stop_daemon(worker->daemon);
    worker->daemon = NULL;
    close_loop_handles(worker);
    if (worker->server->db != NULL)
        sqlite_db_flush(
            worker->server->db); /* the writer's last letters are posted before the mailbox closes */
    if (worker->store != NULL)
        worker->store->ops->free(worker->store);
    if (worker->registry != NULL)
        worker->registry->ops->free(worker->registry);
    worker->store = NULL;
    worker->registry = NULL;
    azure_agent_free(worker->azure);
    worker->azure = NULL;
    key_agent_free(worker->keys);
    token_cache_free(worker->tokens);
    worker->keys = NULL;
    worker->tokens = NULL;
    http_client_close(worker->http);
    http_client_close(worker->identity_http);
    worker->http = worker->identity_http = NULL;
    mailbox_close(worker->mailbox);
    worker->mailbox = NULL;
}

static void drain_step(struct worker *worker, uint64_t now_ms)
{
    uint64_t drained_for = now_ms - worker->drain_began_ms;
    unsigned open = drained_for >= DRAIN_IDLE_MS ? connections_close_idle(worker->connections)
                                                 : connections_open_count(worker->connections);
    bool quiet = open == 0 && http_client_in_flight(worker->http) == 0;
    if (quiet || drained_for > worker->config->request_timeout_ms + CONNECTION_ANSWER_MS)
        stop(worker);
}

static void on_tick(uv_timer_t *timer)
{
    struct worker *worker = timer->data;
    uint64_t now_ms = clock_monotonic_ms();
    atomic_store(&worker->ticked_ms, now_ms);
    if (worker->keys != NULL)
        key_agent_tick(worker->keys, now_ms);
    if (worker->azure != NULL)
        azure_agent_tick(worker->azure, now_ms);
    requests_expire(worker, now_ms);
    connections_sweep(worker->connections, now_ms);
    streams_tick(&worker->streams, now_ms);
    acceptor_resume(&worker->acceptor, true);
    acceptor_resume(&worker->metrics_acceptor, true);
    worker->daemon_due =
        true; /* suspended connections are looked at now and then even when no event asks for it */
    if (worker->draining)
        drain_step(worker, now_ms);
}

/* --- start and end ----------------------------------------------------------------------------- */

static int open_azure(struct worker *worker)
{
    const struct azure_agent_options options = {
        .credential = worker->server->azure,
        .http = worker->identity_http,
        .mailbox = worker->mailbox,
        .loop = &worker->loop,
        .log = worker->log,
        .metrics = worker->metrics,
    };
    return options.credential == NULL ? 0 : azure_agent_new(&options, &worker->azure);
}

static int open_upstreams(struct worker *worker)
{
    struct server *server = worker->server;
    const struct config *config = worker->config;
    struct http_client_options http = {
        .ca_file = config->ca_file[0] != '\0' ? config->ca_file : NULL,
        .max_in_flight = UPSTREAM_IN_FLIGHT,
        .max_waiting = config->max_connections,
    };
    int r = http_client_new(&worker->loop, &http, &worker->http);
    if (r != 0)
        return r;
    http.max_in_flight = IDENTITY_IN_FLIGHT;
    http.max_waiting = IDENTITY_WAITING;
    if ((r = http_client_new(&worker->loop, &http, &worker->identity_http)) != 0)
        return r;
    if ((r = open_azure(worker)) != 0)
        return r;
    worker->store = server->cosmos != NULL ? cosmos_store_new(server->cosmos, worker->azure, worker->http,
                                                              worker->mailbox, &worker->loop, worker->metrics)
                                           : sqlite_store_new(server->db, &worker->loop, worker->mailbox);
    worker->registry = config->has_iothub ? iothub_registry_new(&server->iothub, worker->azure, worker->http,
                                                                server->flights, worker->mailbox,
                                                                &worker->loop, worker->metrics)
                                          : sqlite_registry_new(server->db, &worker->loop, worker->mailbox);
    return worker->store != NULL && worker->registry != NULL ? 0 : -ENOMEM;
}

static int open_access(struct worker *worker)
{
    if (worker->server->key_source == NULL)
        return 0;
    int r = token_cache_new(&worker->tokens);
    return r != 0 ? r
                  : key_agent_new(worker->server->key_source, worker->identity_http, worker->mailbox,
                                  worker->log, worker->metrics, &worker->keys);
}

static int start_handles(struct worker *worker)
{
    uv_prepare_init(&worker->loop, &worker->before);
    uv_idle_init(&worker->loop, &worker->more);
    uv_timer_init(&worker->loop, &worker->tick);
    worker->before.data = worker;
    worker->tick.data = worker;
    uv_prepare_start(&worker->before, before_poll);
    return uv_timer_start(&worker->tick, on_tick, TICK_MS, TICK_MS);
}

int worker_init(struct worker *worker, struct server *server, unsigned index, int listen_fd, int metrics_fd)
{
    memset(worker, 0, sizeof *worker);
    worker->server = server;
    worker->config = server->config;
    acceptor_init(&worker->acceptor, worker, listen_fd, false);
    acceptor_init(&worker->metrics_acceptor, worker, metrics_fd, true);
    worker->drain_letter.deliver = on_drain;
    worker->ticked_ms = clock_monotonic_ms();
    worker->metrics = server->metrics[index] = metrics_new();
    if (worker->metrics == NULL || log_new(STDERR_FILENO, server->config->log_level, &worker->log) != 0)
        return -ENOMEM;
    const struct connections_options options = {
        .request_timeout_ms = server->config->request_timeout_ms,
        .max_connections = server->config->max_connections,
        .count = &server->connections,
        .addresses = server->addresses,
        .unlimited = &server->config->trusted_proxies,
        .tls = server->tls,
        .vary_origin = server->config->cors_origins[0] != '\0',
        .log = worker->log,
        .metrics = worker->metrics,
    };
    int r = connections_new(&options, &worker->connections);
    if (r != 0)
        return r;
    r = uv_loop_init(&worker->loop);
    if (r != 0)
        return r;
    worker->has_loop = true;
    if ((r = mailbox_new(&worker->loop, &worker->mailbox)) != 0 || (r = open_upstreams(worker)) != 0 ||
        (r = open_access(worker)) != 0 || (r = start_daemon(worker)) != 0)
        return r;
    if ((r = acceptor_start(&worker->acceptor)) != 0 || (r = acceptor_start(&worker->metrics_acceptor)) != 0)
        return r;
    return start_handles(worker);
}

static void run(void *cls)
{
    struct worker *worker = cls;
    connections_use(worker->connections);
    if (worker->keys != NULL)
        key_agent_tick(worker->keys, clock_monotonic_ms());
    if (worker->azure != NULL)
        azure_agent_tick(worker->azure, clock_monotonic_ms());
    uv_run(&worker->loop, UV_RUN_DEFAULT);
    connections_use(NULL);
}

int worker_start(struct worker *worker)
{
    int r = uv_thread_create(&worker->thread, run, worker);
    worker->has_thread = r == 0;
    return r;
}

void worker_drain(struct worker *worker)
{
    mailbox_post(worker->mailbox, &worker->drain_letter);
}

void worker_join(struct worker *worker)
{
    if (worker->has_thread)
        uv_thread_join(&worker->thread);
    worker->has_thread = false;
}

void worker_free(struct worker *worker)
{
    if (worker->has_loop) {
        if (!worker->stopping && worker->daemon != NULL) {
            /* Its thread never ran; what was accepted meanwhile is vetted all the same. */
            connections_use(worker->connections);
            stop(worker);
            connections_use(NULL);
        }
        acceptor_stop(&worker->acceptor);
        acceptor_stop(&worker->metrics_acceptor);
        uv_run(&worker->loop, UV_RUN_DEFAULT);
        uv_loop_close(&worker->loop);
    }
    acceptor_stop(&worker->acceptor);
    acceptor_stop(&worker->metrics_acceptor);
    connections_free(worker->connections);
    gzip_free(worker->gzip);
    log_free(worker->log);
    metrics_free(worker->metrics);
}
