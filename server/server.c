#include "server.h"

#include "demo.h"
#include "listen.h"
#include "worker.h"

#include <curl/curl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define KEPT_ANSWERS 256 /* pages of devices and the like, kept for their time to live */

struct process {
    struct server server;
    struct log *log;
    uv_loop_t loop;
    uv_signal_t term, interrupt;
    struct demo demo;
    int *listen_fds;
    char address[300];
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
    char message[512] = "out of memory";

    if (flight_table_new(KEPT_ANSWERS, &server->flights) != 0)
        return fail(process, message);
    if (!config->has_cosmos || !config->has_iothub) {
        const struct sqlite_db_options options = {.path = config->data};
        if (sqlite_db_open(&options, &server->db, message, sizeof message) != 0)
            return fail(process, message);
    }
    if (config->has_cosmos) {
        struct cosmos_options options = {
            .account = config->cosmos,
            .database = config->cosmos_database,
            .container = config->cosmos_container,
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

static int open_workers(struct process *process)
{
    struct server *server = &process->server;
    const struct config *config = server->config;
    char message[512];

    process->listen_fds = calloc(config->workers, sizeof *process->listen_fds);
    server->workers = calloc(config->workers, sizeof *server->workers);
    server->metrics = calloc(config->workers, sizeof(struct metrics *));
    if (process->listen_fds == NULL || server->workers == NULL || server->metrics == NULL)
        return fail(process, "out of memory");
    if (listen_open(config->listen_host, config->listen_port, process->listen_fds, config->workers,
                    process->address, sizeof process->address, message, sizeof message) != 0)
        return fail(process, message);
    for (unsigned i = 0; i < config->workers; i++) {
        server->worker_count = i + 1;
        if (worker_init(&server->workers[i], server, i, process->listen_fds[i]) != 0) {
            while (++i < config->workers)
                close(process->listen_fds[i]);
            return fail(process, "a worker could not be set up");
        }
    }
    return 0;
}

static void log_start(struct process *process)
{
    const struct server *server = &process->server;
    if (!log_begin(process->log, LOG_LEVEL_INFO, "listening"))
        return;
    log_text(process->log, "address", process->address);
    log_text(process->log, "telemetry", server->workers[0].store->ops->mode);
    log_text(process->log, "registry", server->workers[0].registry->ops->mode);
    log_text(process->log, "auth", "none");
    log_number(process->log, "workers", server->worker_count);
    log_text(process->log, "version", TELEMETRYD_VERSION);
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
    log_start(process);
    if (start_workers(server) != 0)
        return fail(process, "a worker could not be started");
    uv_run(&process->loop, UV_RUN_DEFAULT);
    join_workers(server);
    return 0;
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
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int status = open_shared(&process);
    if (status == 0)
        status = open_workers(&process);
    if (status == 0)
        status = serve(&process);
    close_all(&process);
    curl_global_cleanup();
    log_free(process.log);
    return status;
}
