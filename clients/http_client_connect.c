/*
 * Connections. curl makes them, and its easy handle stays in the multi handle for as long as the connection
 * lives. Once they are there, plain ones are read and written directly, those with TLS through curl.
 *
 * Between two requests a connection is kept with its socket watched, so that one that the upstream closes, or
 * on which it says something that nobody asked for, is closed before it is used again.
 */
#include "clock.h"
#include "http_client_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define CONNECT_TIMEOUT_MS 5000L
/* Azure's gateways and what lies before them drop connections that were idle for some minutes, not always
 * with a word. */
#define IDLE_MS_MAX (100 * 1000)
/* Connections that may be kept beyond what can be in flight, e.g. to a region that is not asked at the
 * moment. */
#define SPARE_CONNECTIONS 64
#define ORIGIN_MAX        1024

/* --- easy handles ------------------------------------------------------------------------------ */

static bool set_once(const struct http_pool *pool, CURL *easy)
{
    static const struct {
        CURLoption option;
        long value;
    } numbers[] = {
        {CURLOPT_CONNECT_ONLY, 1},
        {CURLOPT_NOSIGNAL, 1},
        {CURLOPT_NOPROGRESS, 1},
        {CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
        {CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS},
        {CURLOPT_TCP_NODELAY, 1},
        {CURLOPT_TCP_KEEPALIVE, 1},
        {CURLOPT_DISALLOW_USERNAME_IN_URL, 1},
        /* Otherwise giving up a connection waits for the name resolver's thread, and the loop with it. */
        {CURLOPT_QUICK_EXIT, 1},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (curl_easy_setopt(easy, numbers[i].option, numbers[i].value) != CURLE_OK)
            return false;
    sockets_adopt(pool->sockets, easy);
    return curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           (pool->ca_file == NULL || curl_easy_setopt(easy, CURLOPT_CAINFO, pool->ca_file) == CURLE_OK);
}

static CURL *easy_get(struct http_pool *pool)
{
    if (pool->easy_count > 0)
        return pool->easies[--pool->easy_count];
    CURL *easy = curl_easy_init();
    if (easy != NULL && !set_once(pool, easy)) {
        curl_easy_cleanup(easy);
        return NULL;
    }
    return easy;
}

static void easy_release(struct http_pool *pool, CURL *easy)
{
    if (pool->easy_count < pool->max_idle)
        pool->easies[pool->easy_count++] = easy;
    else
        curl_easy_cleanup(easy);
}

/* --- origins ----------------------------------------------------------------------------------- */

size_t origin_length(const char *url)
{
    size_t scheme = strncmp(url, "http://", 7) == 0 ? 7 : strncmp(url, "https://", 8) == 0 ? 8 : 0;
    size_t len = scheme + strcspn(url + scheme, "/?");
    if (scheme == 0 || len == scheme || len > ORIGIN_MAX)
        return 0;
    /* What would end the request line, or is not sent (a fragment, user info), has no place here. */
    for (size_t i = 0; url[i] != '\0'; i++)
        if (url[i] <= ' ' || url[i] >= 0x7f || url[i] == '#' ||
            (i < len && (url[i] == '@' || url[i] == '\\')))
            return 0;
    return len;
}

static struct origin *origin_get(struct http_pool *pool, const char *url)
{
    size_t len = origin_length(url);
    for (struct origin *origin = pool->origins; origin != NULL; origin = origin->next)
        if (origin->len == len && memcmp(origin->text, url, len) == 0)
            return origin;
    struct origin *origin = calloc(1, sizeof *origin + len + 1);
    if (origin == NULL)
        return NULL;
    memcpy(origin->text, url, len);
    origin->len = len;
    origin->next = pool->origins;
    pool->origins = origin;
    return origin;
}

static void origin_leave(struct http_pool *pool, struct origin *origin)
{
    if (--origin->connections > 0)
        return;
    struct origin **at = &pool->origins;
    while (*at != origin)
        at = &(*at)->next;
    *at = origin->next;
    free(origin);
}

/* --- kept connections -------------------------------------------------------------------------- */

static void unlist(struct connection *connection)
{
    struct origin *origin = connection->origin;
    if (connection->prev != NULL)
        connection->prev->next = connection->next;
    else
        origin->idle = connection->next;
    if (connection->next != NULL)
        connection->next->prev = connection->prev;
    else
        origin->oldest = connection->prev;
    connection->next = connection->prev = NULL;
    connection->pool->idle_count--;
}

void connection_close(struct connection *connection)
{
    struct http_pool *pool = connection->pool;
    if (connection->state == CONNECTION_IDLE)
        unlist(connection);
    curl_multi_remove_handle(pool->multi, connection->easy);
    if (connection->watch != NULL)
        sockets_drop(pool->sockets, connection->fd, connection->watch);
    easy_release(pool, connection->easy);
    origin_leave(pool, connection->origin);
    free(connection);
}

void connection_keep(struct connection *connection)
{
    struct http_pool *pool = connection->pool;
    struct origin *origin = connection->origin;

    connection->transfer = NULL;
    connection->used = true;
    connection->idle_since_ms = clock_monotonic_ms();
    watch_want(connection->watch, UV_READABLE);
    connection->state = CONNECTION_IDLE;
    connection->prev = NULL;
    connection->next = origin->idle;
    if (origin->idle != NULL)
        origin->idle->prev = connection;
    else
        origin->oldest = connection;
    origin->idle = connection;
    if (++pool->idle_count > pool->max_idle)
        connection_close(origin->oldest);
}

/* Nothing has come on it: no end, and no bytes that would be taken for an answer. */
static bool is_quiet(struct connection *connection)
{
    char byte;
    size_t n;
    if (connection->tls)
        return curl_easy_recv(connection->easy, &byte, 1, &n) == CURLE_AGAIN;
    return recv(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
           (errno == EAGAIN || errno == EWOULDBLOCK);
}

static struct connection *take_kept(struct origin *origin)
{
    struct connection *connection;
    uint64_t now = clock_monotonic_ms();
    while ((connection = origin->idle) != NULL) {
        bool last = origin->connections == 1; /* the origin goes with it */
        if (now - connection->idle_since_ms < IDLE_MS_MAX && is_quiet(connection)) {
            unlist(connection);
            connection->state = CONNECTION_BUSY;
            return connection;
        }
        connection_close(connection);
        if (last)
            break;
    }
    return NULL;
}

/* --- opening ----------------------------------------------------------------------------------- */

static struct connection *open_new(struct http_pool *pool, const char *url)
{
    struct connection *connection = calloc(1, sizeof *connection);
    CURL *easy = easy_get(pool);
    struct origin *origin = origin_get(pool, url);
    if (origin != NULL)
        origin->connections++;
    if (connection == NULL || easy == NULL || origin == NULL)
        goto fail;
    *connection = (struct connection){.pool = pool, .origin = origin, .easy = easy, .tls = url[4] == 's'};
    if (curl_easy_setopt(easy, CURLOPT_PRIVATE, connection) != CURLE_OK ||
        curl_easy_setopt(easy, CURLOPT_URL, (const char *)origin->text) != CURLE_OK ||
        curl_multi_add_handle(pool->multi, easy) != CURLM_OK)
        goto fail;
    return connection;
fail:
    if (easy != NULL)
        easy_release(pool, easy);
    if (origin != NULL)
        origin_leave(pool, origin);
    free(connection);
    return NULL;
}

int connection_get(struct http_pool *pool, struct transfer *transfer, bool fresh)
{
    struct origin *origin = fresh ? NULL : origin_get(pool, transfer->request->url);
    struct connection *connection = origin != NULL && origin->idle != NULL ? take_kept(origin) : NULL;
    bool kept = connection != NULL;
    if (!kept)
        connection = open_new(pool, transfer->request->url);
    if (connection == NULL)
        return -ENOMEM;
    connection->transfer = transfer;
    transfer->connection = connection;
    if (kept)
        transfer_connected(transfer);
    return 0;
}

static void on_event(void *ctx, int events)
{
    struct connection *connection = ctx;
    if (connection->state == CONNECTION_IDLE) {
        /* TLS has things of its own to say, e.g. session tickets. */
        if (!connection->tls || !is_quiet(connection))
            connection_close(connection);
    } else {
        transfer_event(connection->transfer, events);
    }
}

/* The first call through curl also tells it that the connection is in use; else it might tidy it away. */
static bool take_over(struct connection *connection)
{
    curl_socket_t fd;
    char byte;
    size_t n;
    if (curl_easy_getinfo(connection->easy, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK ||
        fd == CURL_SOCKET_BAD || curl_easy_recv(connection->easy, &byte, 1, &n) != CURLE_AGAIN)
        return false;
    connection->fd = fd;
    connection->watch = sockets_take(connection->pool->sockets, fd, on_event, connection);
    return connection->watch != NULL;
}

void connection_opened(struct connection *connection, CURLcode code)
{
    struct transfer *transfer = connection->transfer;
    if (code == CURLE_OK && take_over(connection)) {
        connection->state = CONNECTION_BUSY;
        watch_want(connection->watch, UV_READABLE);
        transfer_connected(transfer);
        return;
    }
    transfer->connection = NULL;
    connection_close(connection);
    transfer_refused(transfer, code == CURLE_OUT_OF_MEMORY ? HTTP_NO_MEMORY : HTTP_REFUSED);
}

/* --- bytes ------------------------------------------------------------------------------------- */

static ssize_t by_errno(ssize_t n)
{
    if (n > 0)
        return n;
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) ? IO_AGAIN : IO_LOST;
}

static ssize_t by_code(CURLcode code, size_t n)
{
    if (code == CURLE_AGAIN)
        return IO_AGAIN;
    return code == CURLE_OK && n > 0 ? (ssize_t)n : IO_LOST;
}

ssize_t connection_send(struct connection *connection, const char *a, size_t a_len, const char *b,
                        size_t b_len)
{
    if (connection->tls) {
        size_t n = 0;
        CURLcode code = a_len > 0 ? curl_easy_send(connection->easy, a, a_len, &n)
                                  : curl_easy_send(connection->easy, b, b_len, &n);
        return by_code(code, n);
    }
    if (b_len == 0)
        return by_errno(send(connection->fd, a, a_len, MSG_NOSIGNAL | MSG_DONTWAIT));
    struct iovec parts[2] = {{(char *)(uintptr_t)a, a_len}, {(char *)(uintptr_t)b, b_len}};
    const struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    return by_errno(sendmsg(connection->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT));
}

ssize_t connection_receive(struct connection *connection, char *a, size_t a_len, char *b, size_t b_len)
{
    if (connection->tls) {
        size_t n = 0;
        CURLcode code = a_len > 0 ? curl_easy_recv(connection->easy, a, a_len, &n)
                                  : curl_easy_recv(connection->easy, b, b_len, &n);
        return by_code(code, n);
    }
    if (a_len == 0)
        return by_errno(recv(connection->fd, b, b_len, MSG_DONTWAIT));
    struct iovec parts[2] = {{a, a_len}, {b, b_len}};
    return by_errno(readv(connection->fd, parts, 2));
}

/* --- begin and end ----------------------------------------------------------------------------- */

bool pool_init(struct http_pool *pool, const struct http_client_options *options,
               struct http_sockets *sockets, CURLM *multi)
{
    pool->sockets = sockets;
    pool->multi = multi;
    pool->max_idle = options->max_in_flight + SPARE_CONNECTIONS;
    pool->easies = calloc(pool->max_idle, sizeof(CURL *));
    pool->scratch = malloc(SCRATCH_SIZE);
    if (options->ca_file != NULL)
        pool->ca_file = strdup(options->ca_file);
    /* More than there will ever be, so that curl never tidies. */
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, 2L * pool->max_idle);
    return pool->easies != NULL && pool->scratch != NULL &&
           (options->ca_file == NULL || pool->ca_file != NULL);
}

void pool_free(struct http_pool *pool)
{
    struct transfer *transfer;
    while (pool->origins != NULL) {
        assert(pool->origins->idle != NULL);
        connection_close(pool->origins->idle);
    }
    while (pool->easy_count > 0)
        curl_easy_cleanup(pool->easies[--pool->easy_count]);
    while ((transfer = pool->transfers) != NULL) {
        pool->transfers = transfer->next_free;
        transfer_free(transfer);
    }
    free(pool->easies);
    free(pool->scratch);
    free(pool->ca_file);
}
