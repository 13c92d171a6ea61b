#include "server.h"

#include "demo.h"
#include "listen.h"
#include "service_manager.h"
#include "tls_watch.h"
#include "watchdog.h"
#include "worker.h"

#include <curl/curl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define KEPT_ANSWERS 256 /* pages of devices and the like, kept for their time to live */
#define ADDRESS_SIZE 300
#define MESSAGE_SIZE 512

struct process {
    struct server server;
    struct log *log;
    uv_loop_t loop;
    uv_signal_t term, interrupt;
    struct tls_watch tls_watch;
    struct service_manager manager;
    struct watchdog watchdog;
    struct demo demo;
    int *listen_fds;
    char address[ADDRESS_SIZE];
    char metrics_address[ADDRESS_SIZE]; /* "" where there is none */
};

static int fail(struct process *process, const char *message)
{
    if (log_begin(process->log, LOG_LEVEL_ERROR, message))
        log_end(process->log);
    log_flush(process->log);
    return 1;
}

/* Every connection and every upstream call is a descriptor. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Pages of 100 kB and more come and go with every request. glibc would map and unmap each, or give its memory
 * back to the kernel and fault it in again: measured, a tenth of the time of such a request. */
static void keep_freed_memory(void)
{
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, 8 << 20);
    mallopt(M_TRIM_THRESHOLD, 16 << 20);
#endif
}

static int open_shared(struct process *process)
{
    struct server *server = &process->server;
    const struct config *config = server->config;
    char message[MESSAGE_SIZE] = "out of memory";

    if (flight_table_new(KEPT_ANSWERS, &server->flights) != 0)
        return fail(process, message);
    if (!config->has_cosmos || !config->has_iothub) {
        const struct sqlite_db_options options = {.path = config->data, .ttl_s = config->ttl_s};
        if (sqlite_db_open(&options, &server->db, message, sizeof message) != 0)
            return fail(process, message);
    }
    bool entra = (config->has_cosmos && config->cosmos.key_len == 0) ||
                 (config->has_iothub && config->iothub.key_len == 0);
    if (entra && azure_credential_new(&config->azure, server->flights, &server->azure) != 0)
        return fail(process, message);
    if (config->has_cosmos) {
        struct cosmos_options options = {
            .account = config->cosmos,
            .database = config->cosmos_database,
            .container = config->cosmos_container,
            .feed_interval_ms = (unsigned)config->feed_interval_ms,
            .allow_http = config->allow_http_upstream,
        };
        int r = cosmos_account_new(&options, server->flights, &server->cosmos);
        explicit_bzero(&options, sizeof options);
        if (r != 0)
            return fail(process, message);
    }
    if (config->has_iothub)
        server->iothub = (struct iothub_options){.hub = config->iothub, .endpoint = config->iothub_endpoint};
    return 0;
}

static int open_access(struct process *process)
{
    struct server *server = &process->server;
    const struct config *config = server->config;
    int r = 0;

    if (config->rate_limit > 0)
        r = rate_limit_new(config->rate_limit, config->rate_limit_window_s, &server->rate_limit);
    if (r == 0 && config->auth == AUTH_JWT) {
        const struct key_source_options options = {
            .issuer = config->jwt_issuer, .jwks = config->jwt_jwks, .cooldown_ms = config->jwt_cooldown_ms};
        server->token_rules = (struct token_rules){
            .issuer = config->jwt_issuer,
            .audiences = config->jwt_audience,
            .devices_claim = config->jwt_devices_claim[0] != '\0' ? config->jwt_devices_claim : NULL,
        };
        r = key_source_new(&options, server->flights, &server->key_source);
    }
    return r == 0 ? 0 : fail(process, "out of memory");
}

/* What stands before the first byte of a request. */
static int open_front(struct process *process)
{
    struct server *server = &process->server;
    const struct config *config = server->config;
    const struct tls_files files = {
        .cert = config->tls_cert, .key = config->tls_key, .client_ca = config->tls_client_ca};

    if (config->max_connections_per_address > 0 &&
        address_counts_new(config->max_connections_per_address, config->max_connections,
                           &server->addresses) != 0)
        return fail(process, "out of memory");
    if (config->tls_cert[0] == '\0')
        return 0;
    if (tls_new(&files, &server->tls) != 0)
        return fail(process, "out of memory");
    char reason[160] = "out of memory";
    enum tls_file fault;
    enum tls_look look = tls_look(server->tls, true, &fault, reason, sizeof reason);
    return look == TLS_LOOK_RENEWED ? 0 : fail(process, reason);
}

/* On the socket of the service manager, which becomes -1, or on one of its own. */
static int open_listen(const struct process *process, int *handed_over, const char *host, unsigned port,
                       int *fds, unsigned count, char address[ADDRESS_SIZE], char message[MESSAGE_SIZE])
{
    int fd = *handed_over;
    bool secure = process->server.tls != NULL;

    *handed_over = -1;
    if (fd < 0)
        return listen_open(host, port, secure, fds, count, address, ADDRESS_SIZE, message, MESSAGE_SIZE);
    return listen_adopt(fd, host, port, secure, fds, count, address, ADDRESS_SIZE, message, MESSAGE_SIZE);
}

static int open_metrics_listen(struct process *process, int *ret_fd)
{
    const struct config *config = process->server.config;
    char message[MESSAGE_SIZE];

    *ret_fd = -1;
    if (!config->has_metrics_listen)
        return process->manager.metrics_fd < 0
                   ? 0
                   : fail(process,
                          "a socket for metrics was handed over, and TELEMETRYD_METRICS_LISTEN is not set");
    if (open_listen(process, &process->manager.metrics_fd, config->metrics_host, config->metrics_port, ret_fd,
                    1, process->metrics_address, message) == 0)
        return 0;
    return fail(process, message);
}

static int open_workers(struct process *process)
{
    struct server *server = &process->server;
    const struct config *config = server->config;
    char message[MESSAGE_SIZE];

    process->listen_fds = calloc(config->workers, sizeof *process->listen_fds);
    server->workers = calloc(config->workers, sizeof *server->workers);
    server->metrics = calloc(config->workers, sizeof(struct metrics *));
    if (process->listen_fds == NULL || server->workers == NULL || server->metrics == NULL)
        return fail(process, "out of memory");
    if (open_listen(process, &process->manager.listen_fd, config->listen_host, config->listen_port,
                    process->listen_fds, config->workers, process->address, message) != 0)
        return fail(process, message);
    int metrics_fd;
    if (open_metrics_listen(process, &metrics_fd) != 0)
        return 1;
    for (unsigned i = 0; i < config->workers; i++) {
        server->worker_count = i + 1;
        if (worker_init(&server->workers[i], server, i, process->listen_fds[i], i == 0 ? metrics_fd : -1) !=
            0) {
            while (++i < config->workers)
                close(process->listen_fds[i]);
            return fail(process, "a worker could not be set up");
        }
    }
    return 0;
}

/* Whatever the log's level: with port 0 nothing else says where to find the server. */
static void log_listening(const struct process *process)
{
    const struct server *server = &process->server;
    struct log *log;
    if (log_new(STDERR_FILENO, LOG_LEVEL_INFO, &log) != 0)
        return;
    log_begin(log, LOG_LEVEL_INFO, "listening");
    log_text(log, "address", process->address);
    log_text(log, "telemetry", server->workers[0].store->ops->mode);
    log_text(log, "registry", server->workers[0].registry->ops->mode);
    log_text(log, "auth", server->config->auth == AUTH_JWT ? "jwt" : "none");
    if (process->metrics_address[0] != '\0')
        log_text(log, "metricsAddress", process->metrics_address);
    log_number(log, "workers", server->worker_count);
    log_text(log, "version", TELEMETRYD_VERSION);
    log_end(log);
    log_free(log);
}

static void log_start(struct process *process)
{
    const struct server *server = &process->server;
    log_listening(process);
    if (server->config->auth_open_warning &&
        log_begin(process->log, LOG_LEVEL_WARN, "no authentication: whoever reaches this address is served"))
        log_end(process->log);
    log_flush(process->log);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct process *process = handle->data;
    if (atomic_exchange(&process->server.draining, true))
        _exit(1); /* asked twice: somebody does not want to wait */
    if (log_begin(process->log, LOG_LEVEL_INFO, "draining")) {
        log_text(process->log, "signal", number == SIGTERM ? "SIGTERM" : "SIGINT");
        log_end(process->log);
        log_flush(process->log);
    }
    service_manager_tell(&process->manager, "STOPPING=1");
    watchdog_stop(&process->watchdog);
    for (unsigned i = 0; i < process->server.worker_count; i++)
        worker_drain(&process->server.workers[i]);
    demo_stop(&process->demo);
    uv_unref((uv_handle_t *)&process->term);
    uv_unref((uv_handle_t *)&process->interrupt);
}

static void join_workers(struct server *server)
{
    for (unsigned i = 0; i < server->worker_count; i++)
        worker_join(&server->workers[i]);
}

/* One that cannot be started must not leave the others running: they are drained like at the end. */
static int start_workers(struct server *server)
{
    for (unsigned i = 0; i < server->worker_count; i++) {
        if (worker_start(&server->workers[i]) == 0)
            continue;
        while (i-- > 0)
            worker_drain(&server->workers[i]);
        join_workers(server);
        return -1;
    }
    return 0;
}

static int serve(struct process *process)
{
    struct server *server = &process->server;

    if (server->config->demo &&
        demo_start(&process->demo, &process->loop, server->db, server->config->ttl_s) != 0)
        return fail(process, "the demo's readings could not be stored");
    uv_signal_init(&process->loop, &process->term);
    uv_signal_init(&process->loop, &process->interrupt);
    process->term.data = process->interrupt.data = process;
    uv_signal_start(&process->term, on_signal, SIGTERM);
    uv_signal_start(&process->interrupt, on_signal, SIGINT);
    /* Before the line that says it listens: a SIGHUP sent to a server that is up must not end it. */
    tls_watch_start(&process->tls_watch, &process->loop, server->tls, process->log);
    log_start(process);
    tls_watch_tell(&process->tls_watch);
    if (start_workers(server) != 0)
        return fail(process, "a worker could not be started");
    watchdog_start(&process->watchdog, &process->loop, &process->manager, server);
    service_manager_tell(&process->manager, "READY=1");
    uv_run(&process->loop, UV_RUN_DEFAULT);
    join_workers(server);
    return 0;
}

/* What it hands over, and where it wants to be told. */
static int open_manager(struct process *process)
{
    char message[MESSAGE_SIZE];
    return service_manager_open(&process->manager, message, sizeof message) == 0 ? 0 : fail(process, message);
}

static void on_walk(uv_handle_t *handle, void *arg)
{
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void close_all(struct process *process)
{
    struct server *server = &process->server;
    for (unsigned i = 0; i < server->worker_count; i++)
        worker_free(&server->workers[i]);
    free(server->workers);
    free(server->metrics);
    free(process->listen_fds);
    sqlite_db_close(server->db);
    cosmos_account_free(server->cosmos);
    azure_credential_free(server->azure);
    key_source_free(server->key_source);
    rate_limit_free(server->rate_limit);
    address_counts_free(server->addresses);
    tls_free(server->tls);
    flight_table_free(server->flights);
    explicit_bzero(&server->iothub, sizeof server->iothub);
    uv_walk(&process->loop, on_walk, NULL);
    uv_run(&process->loop, UV_RUN_DEFAULT);
    uv_loop_close(&process->loop);
}

int server_run(const struct config *config)
{
    struct process process = {.server = {.config = config, .max_in_flight = config->max_connections / 2 + 1}};

    if (log_new(STDERR_FILENO, config->log_level, &process.log) != 0 || uv_loop_init(&process.loop) != 0)
        return 1;
    raise_descriptor_limit();
    keep_freed_memory();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN); /* until somebody waits for it */
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int status = open_manager(&process);
    if (status == 0)
        status = open_front(&process);
    if (status == 0)
        status = open_shared(&process);
    if (status == 0)
        status = open_access(&process);
    if (status == 0)
        status = open_workers(&process);
    if (status == 0)
        status = serve(&process);
    close_all(&process);
    service_manager_close(&process.manager);
    curl_global_cleanup();
    log_free(process.log);
    return status;
}
