/*
 * upstream - Cosmos DB and IoT Hub for benchmarks: one thread, epoll, HTTP/1.1 with keep-alive, prepared
 * answers.
 *
 * usage: upstream PORT [DELAY_MS]
 *
 *   POST /dbs/D/colls/C/docs   a page of x-ms-max-item-count readings (1000 without the header), chunked as
 * Cosmos does it GET  /dbs/D/colls/C        the container: partition key /deviceId GET  / the account,
 * without locations GET  /twins/ID             the twin of ID, about 1 kB GET  /count                how many
 * pages and twins were asked for so far
 *
 * Pages and twins wait DELAY_MS before they are answered; since the delay is constant, a FIFO is the timer
 * queue. Requests are taken one at a time from a connection (no pipelining), and their bodies are skipped.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_MAX     16384
#define ANSWER_MAX      4096
#define CONNECTIONS_MAX 65536
#define PAGE_MAX        10000
#define READING_MAX     160

struct answer {
    char *text;
    size_t len;
};

struct connection {
    int fd;
    char in[REQUEST_MAX];
    size_t in_len;
    size_t request_len; /* of the request being answered, its body included */
    char own[ANSWER_MAX];
    const char *out; /* own or a prepared page; NULL while nothing is being answered */
    size_t out_len, out_sent;
    uint64_t due_us; /* when a delayed answer is to be sent */
    struct connection *next;
};

static const char account[] =
    "{\"_self\":\"\",\"id\":\"bench\",\"writableLocations\":[],\"readableLocations\":[],"
    "\"enableMultipleWriteLocations\":false,"
    "\"userConsistencyPolicy\":{\"defaultConsistencyLevel\":\"Session\"}}";
static const char container[] =
    "{\"id\":\"telemetry\",\"partitionKey\":{\"paths\":[\"/deviceId\"],\"kind\":\"Hash\","
    "\"version\":2},\"defaultTtl\":-1,\"_rid\":\"bWYAAJ4MPYs=\",\"_ts\":1795417200}";
static const char twin[] =
    "{\"deviceId\":\"%.*s\",\"etag\":\"AAAAAAAAAAE=\",\"deviceEtag\":\"MTIzNDU2Nzg5\",\"status\":\"enabled\","
    "\"statusUpdateTime\":\"0001-01-01T00:00:00Z\",\"connectionState\":\"Connected\","
    "\"lastActivityTime\":\"2026-11-23T07:00:00.000Z\",\"cloudToDeviceMessageCount\":0,"
    "\"authenticationType\":\"sas\","
    "\"x509Thumbprint\":{\"primaryThumbprint\":null,\"secondaryThumbprint\":null},\"modelId\":\"\","
    "\"version\":31,"
    "\"tags\":{\"site\":\"A\",\"floor\":3},\"properties\":{\"desired\":{\"interval\":10,\"$metadata\":{"
    "\"$lastUpdated\":\"2026-11-22T07:00:00.1234567Z\",\"$lastUpdatedVersion\":2,\"interval\":{"
    "\"$lastUpdated\":\"2026-11-22T07:00:00.1234567Z\",\"$lastUpdatedVersion\":2}},\"$version\":2},"
    "\"reported\":{\"status\":\"online\",\"lastHeartbeat\":\"2026-11-23T07:00:00Z\",\"firmwareVersion\":\"1."
    "4.2\","
    "\"$metadata\":{\"$lastUpdated\":\"2026-11-23T07:00:00.1234567Z\",\"status\":{\"$lastUpdated\":"
    "\"2026-11-23T07:00:00.1234567Z\"},\"lastHeartbeat\":{\"$lastUpdated\":\"2026-11-23T07:00:00.1234567Z\"},"
    "\"firmwareVersion\":{\"$lastUpdated\":\"2026-11-23T06:00:00.1234567Z\"}},\"$version\":29}},"
    "\"capabilities\":{\"iotEdge\":false}}";

static struct answer pages[PAGE_MAX + 1]; /* made when first asked for */
static struct connection *connections[CONNECTIONS_MAX];
static struct connection *waiting_first, *waiting_last;
static int epoll, timer;
static uint64_t delay_us;
static unsigned long answered;

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* The body of a page in one chunk behind its head. */
static bool prepare_page(unsigned count)
{
    size_t size = 1024 + (size_t)count * READING_MAX, body_len = 0;
    char *body = malloc(size), *text = malloc(size);

    if (body == NULL || text == NULL) {
        free(body);
        free(text);
        return false;
    }
    body_len += (size_t)snprintf(body, size, "{\"_rid\":\"bWYAAJ4MPYs=\",\"Documents\":[");
    for (unsigned i = 0; i < count; i++)
        body_len +=
            (size_t)snprintf(body + body_len, size - body_len,
                             "%s{\"data\":{\"temperature\":%.2f,\"humidity\":%.1f,\"timestamp\":\"2026-11-%"
                             "02uT%02u:%02u:%02uZ\"},"
                             "\"timestamp\":%u}",
                             i == 0 ? "" : ",", 20.01 + i % 700 / 100.0, 40.1 + i % 90 / 10.0, 23 - i / 86400,
                             23 - i / 3600 % 24, 59 - i / 60 % 60, 59 - i % 60, 1795478399 - i);
    body_len += (size_t)snprintf(body + body_len, size - body_len, "],\"_count\":%u}", count);
    int len = snprintf(text, size,
                       "HTTP/1.1 200 Ok\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
                       "Strict-Transport-Security: max-age=31536000\r\nx-ms-request-charge: 2.93\r\n"
                       "x-ms-activity-id: 6d1d5f0e-6d5b-4f0c-9b1f-1c0d7c8e4f2a\r\nx-ms-item-count: %u\r\n"
                       "x-ms-session-token: 0:-1#12345\r\nx-ms-serviceversion: version=2.14.0.0\r\n"
                       "Date: Mon, 23 Nov 2026 07:00:00 GMT\r\n\r\n%zx\r\n%s\r\n0\r\n\r\n",
                       count, body_len, body);
    free(body);
    if (len < 0 || (size_t)len >= size) {
        free(text);
        return false;
    }
    pages[count] = (struct answer){text, (size_t)len};
    return true;
}

static void close_connection(struct connection *c)
{
    connections[c->fd] = NULL;
    close(c->fd);
    free(c);
}

static void wait_for_timer(uint64_t due_us)
{
    struct itimerspec when = {.it_value = {(time_t)(due_us / 1000000), (long)(due_us % 1000000) * 1000}};

    timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void delay(struct connection *c)
{
    c->due_us = now_us() + delay_us;
    c->next = NULL;
    if (waiting_first == NULL) {
        waiting_first = c;
        wait_for_timer(c->due_us);
    } else {
        waiting_last->next = c;
    }
    waiting_last = c;
}

static void answer_json(struct connection *c, const char *status, const char *body, size_t body_len)
{
    int len =
        snprintf(c->own, sizeof c->own,
                 "HTTP/1.1 %s\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %zu\r\n"
                 "Date: Mon, 23 Nov 2026 07:00:00 GMT\r\n\r\n%.*s",
                 status, body_len, (int)body_len, body);

    c->out = c->own;
    c->out_len = (size_t)len;
}

/* The value of a header inside a NUL-terminated head, or NULL. */
static const char *header(const char *head, const char *name)
{
    size_t len = strlen(name);

    for (const char *line = strstr(head, "\r\n"); line != NULL; line = strstr(line + 2, "\r\n"))
        if (strncasecmp(line + 2, name, len) == 0 && line[2 + len] == ':')
            return line + 2 + len + 1;
    return NULL;
}

/* Decides the answer of one whole request. Returns whether it is to be delayed. */
static bool decide(struct connection *c, const char *head)
{
    static const char empty[] = "{\"code\":\"NotFound\",\"message\":\"\"}";
    const char *path = strchr(head, ' ') + 1;
    size_t path_len = strcspn(path, " ?");
    char text[2048];

    if (head[0] == 'P' && strncmp(path, "/dbs/", 5) == 0) {
        const char *wanted = header(head, "x-ms-max-item-count");
        long count = wanted != NULL ? strtol(wanted, NULL, 10) : 1000;
        if (count < 1 || count > PAGE_MAX)
            count = 1000;
        if (pages[count].text == NULL && !prepare_page((unsigned)count))
            fail("page");
        c->out = pages[count].text;
        c->out_len = pages[count].len;
        answered++;
        return true;
    }
    if (strncmp(path, "/twins/", 7) == 0 && path_len < 7 + 512) {
        int len = snprintf(text, sizeof text, twin, (int)path_len - 7, path + 7);
        answer_json(c, "200 OK", text, (size_t)len);
        answered++;
        return true;
    }
    if (strncmp(path, "/dbs/", 5) == 0)
        answer_json(c, "200 Ok", container, sizeof container - 1);
    else if (path_len == 1)
        answer_json(c, "200 Ok", account, sizeof account - 1);
    else if (strncmp(path, "/count", path_len) == 0)
        answer_json(c, "200 OK", text, (size_t)snprintf(text, sizeof text, "%lu", answered));
    else
        answer_json(c, "404 Not Found", empty, sizeof empty - 1);
    return false;
}

/* Whether a whole request is there; then request_len is set and its head is NUL-terminated. */
static bool whole_request(struct connection *c)
{
    char *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);

    if (end == NULL)
        return false;
    size_t head_len = (size_t)(end - c->in) + 4;
    end[2] = '\0';
    const char *length = header(c->in, "content-length");
    size_t body_len = length != NULL ? strtoul(length, NULL, 10) : 0;
    end[2] = '\r';
    if (head_len + body_len > c->in_len)
        return false;
    end[2] = '\0';
    c->request_len = head_len + body_len;
    return true;
}

static void watch(const struct connection *c, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = c->fd};

    epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
}

static bool handle_requests(struct connection *c);

/* Sends what is left of the answer. Returns false when the connection was closed. */
static bool send_answer(struct connection *c)
{
    while (c->out_sent < c->out_len) {
        ssize_t n = send(c->fd, c->out + c->out_sent, c->out_len - c->out_sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            watch(c, EPOLLIN | EPOLLOUT);
            return true;
        }
        if (n <= 0) {
            close_connection(c);
            return false;
        }
        if (c->out_sent > 0 && c->out_sent + (size_t)n == c->out_len)
            watch(c, EPOLLIN);
        c->out_sent += (size_t)n;
    }
    c->out = NULL;
    c->out_sent = 0;
    c->in_len -= c->request_len;
    memmove(c->in, c->in + c->request_len, c->in_len);
    return c->in_len == 0 || handle_requests(c);
}

static bool handle_requests(struct connection *c)
{
    if (c->out != NULL || !whole_request(c))
        return true;
    if (decide(c, c->in) && delay_us > 0) {
        delay(c);
        return true;
    }
    return send_answer(c);
}

static void read_requests(struct connection *c)
{
    ssize_t n = recv(c->fd, c->in + c->in_len, sizeof c->in - c->in_len, 0);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        if (c->out != NULL && c->out_sent == 0 &&
            delay_us > 0) { /* it stands in the queue, and is closed from there */
            shutdown(c->fd, SHUT_RDWR);
            epoll_ctl(epoll, EPOLL_CTL_DEL, c->fd, NULL);
        } else {
            close_connection(c);
        }
        return;
    }
    c->in_len += (size_t)n;
    handle_requests(c);
}

static void accept_all(int listener)
{
    for (;;) {
        int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        struct connection *c = fd < CONNECTIONS_MAX ? calloc(1, sizeof *c) : NULL;
        if (c == NULL) {
            close(fd);
            return;
        }
        c->fd = fd;
        connections[fd] = c;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

static void answer_due(void)
{
    uint64_t expirations, now = now_us();

    if (read(timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN)
        fail("timerfd");
    while (waiting_first != NULL && waiting_first->due_us <= now) {
        struct connection *c = waiting_first;
        waiting_first = c->next;
        send_answer(c);
    }
    if (waiting_first != NULL)
        wait_for_timer(waiting_first->due_us);
}

static int listen_on(unsigned port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 4096) != 0)
        fail("listen");
    return fd;
}

int main(int argc, char **argv)
{
    struct rlimit files;
    struct epoll_event events[512];

    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: upstream PORT [DELAY_MS]\n");
        return 2;
    }
    delay_us = argc > 2 ? strtoul(argv[2], NULL, 10) * 1000 : 0;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    epoll = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    int listener = listen_on((unsigned)strtoul(argv[1], NULL, 10));
    epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &(struct epoll_event){.events = EPOLLIN, .data.fd = timer});
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN, .data.fd = listener});
    for (;;) {
        int n = epoll_wait(epoll, events, sizeof events / sizeof events[0], -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                accept_all(listener);
            else if (fd == timer)
                answer_due();
            else if (connections[fd] != NULL && (events[i].events & EPOLLOUT) != 0)
                send_answer(connections[fd]);
            else if (connections[fd] != NULL)
                read_requests(connections[fd]);
        }
    }
}
