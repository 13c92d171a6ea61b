#include "connections_internal.h"

#include "clock.h"
#include "refusal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* Thread-local because recv() and the like have no argument through which a table could be passed. */
static _Thread_local struct connections *current;

static void unlink_connection(struct connections *connections, struct connection *c)
{
    struct connection_list *list = &connections->phases[c->phase];
    *(c->prev != NULL ? &c->prev->next : &list->first) = c->next;
    *(c->next != NULL ? &c->next->prev : &list->last) = c->prev;
    list->count--;
}

static void enter(struct connections *connections, struct connection *c, enum connection_phase phase)
{
    struct connection_list *list = &connections->phases[phase];
    c->phase = phase;
    c->since_ms = clock_monotonic_ms();
    c->next = NULL;
    c->prev = list->last;
    *(list->last != NULL ? &list->last->next : &list->first) = c;
    list->last = c;
    list->count++;
}

void connections_move(struct connections *connections, struct connection *c, enum connection_phase phase)
{
    unlink_connection(connections, c);
    enter(connections, c, phase);
}

void connections_stalls_not(struct connections *connections, struct connection *c)
{
    if (!c->stalled)
        return;
    struct connection_list *list = &connections->stalled;
    *(c->stalled_prev != NULL ? &c->stalled_prev->stalled_next : &list->first) = c->stalled_next;
    *(c->stalled_next != NULL ? &c->stalled_next->stalled_prev : &list->last) = c->stalled_prev;
    list->count--;
    c->stalled = false;
}

void connections_stalls(struct connections *connections, struct connection *c)
{
    struct connection_list *list = &connections->stalled;
    connections_stalls_not(connections, c);
    c->stalled = true;
    c->stalled_ms = clock_monotonic_ms();
    c->stalled_next = NULL;
    c->stalled_prev = list->last;
    *(list->last != NULL ? &list->last->stalled_next : &list->first) = c;
    list->last = c;
    list->count++;
}

void connections_say_end(const struct connection *c)
{
    if (c->tls != NULL && c->phase != CONNECTION_REQUEST)
        tls_session_end(c->tls);
}

static void cut(struct connections *connections, struct connection *c)
{
    connections_say_end(c);
    shutdown(c->fd, SHUT_RDWR);
    connections_stalls_not(connections, c);
    connections_move(connections, c, CONNECTION_CLOSING);
}

int connections_new(const struct connections_options *options, struct connections **ret_connections)
{
    struct connections *connections = calloc(1, sizeof *connections);
    if (connections == NULL)
        return -ENOMEM;
    connections->options = *options;
    connections->nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (connections->nowhere < 0) {
        int error = -errno;
        free(connections);
        return error;
    }
    *ret_connections = connections;
    return 0;
}

void connections_free(struct connections *connections)
{
    if (connections == NULL)
        return;
    close(connections->nowhere);
    free(connections->by_fd);
    free(connections);
}

void connections_use(struct connections *connections)
{
    current = connections;
}

struct connections *connections_current(void)
{
    return current;
}

/* --- who gives way ----------------------------------------------------------------------------- */

static bool is_full(const struct connections *connections)
{
    return atomic_load_explicit(connections->options.count, memory_order_relaxed) >=
           connections->options.max_connections;
}

static bool had_its_time(const struct connection *c, uint64_t now_ms)
{
    return c != NULL && now_ms - (c->stalled ? c->stalled_ms : c->since_ms) >= CONNECTION_GRACE_MS;
}

static struct connection *least_needed(const struct connections *connections)
{
    const struct connection_list *phases = connections->phases, *idle = &phases[CONNECTION_IDLE];
    const struct connection_list *const slow[] = {&phases[CONNECTION_HANDSHAKE], &phases[CONNECTION_HEAD],
                                                  &connections->stalled};
    uint64_t now_ms = clock_monotonic_ms();
    unsigned are_slow = 0;

    if (phases[CONNECTION_LINGERING].first != NULL)
        return phases[CONNECTION_LINGERING].first;
    for (size_t i = 0; i < sizeof slow / sizeof *slow; i++) {
        if (had_its_time(slow[i]->first, now_ms))
            return slow[i]->first;
        are_slow += slow[i]->count;
    }
    /* Many that are slow will soon have had their time; a kept connection need not go for them. */
    return idle->count >= are_slow && had_its_time(idle->first, now_ms) ? idle->first : NULL;
}

/* Those whom nobody limits are proxies, whose clients are many. */
static bool limited(const struct connections *connections, const struct network_address *address)
{
    return connections->options.addresses != NULL &&
           !network_list_has(connections->options.unlimited, address);
}

bool connections_have_room(const struct connections *connections)
{
    return !is_full(connections) || least_needed(connections) != NULL;
}

bool connections_make_room(struct connections *connections, const struct sockaddr *from)
{
    if (!is_full(connections))
        return true;
    struct network_address address = network_address_of(from);
    if (limited(connections, &address) && address_counts_at_limit(connections->options.addresses, &address))
        return false;
    struct connection *c = least_needed(connections);
    if (c != NULL)
        cut(connections, c);
    return c != NULL;
}

/* --- life -------------------------------------------------------------------------------------- */

static int reserve_fd(struct connections *connections, int fd)
{
    if ((size_t)fd < connections->by_fd_size)
        return 0;
    size_t size = (size_t)fd * 2 + 64;
    struct connection **by_fd = realloc(connections->by_fd, size * sizeof *by_fd);
    if (by_fd == NULL)
        return -ENOMEM;
    for (size_t i = connections->by_fd_size; i < size; i++)
        by_fd[i] = NULL;
    connections->by_fd = by_fd;
    connections->by_fd_size = size;
    return 0;
}

/* libmicrohttpd must not get hold of a connection that is not watched. It gives up a descriptor that cannot
 * be waited for. */
static void lead_nowhere(const struct connections *connections, struct connection *c, int fd)
{
    if (dup3(connections->nowhere, fd, O_CLOEXEC) < 0)
        shutdown(fd, SHUT_RDWR);
    if (c != NULL)
        tls_session_free(c->tls);
    free(c);
}

static bool admit(struct connections *connections, struct connection *c)
{
    if (!limited(connections, &c->address))
        return true;
    c->counted = address_counts_enter(connections->options.addresses, &c->address);
    return c->counted;
}

struct connection *connections_open(struct connections *connections, int fd, const struct sockaddr *from)
{
    struct connection *c = calloc(1, sizeof *c);
    struct tls *tls = connections->options.tls;
    if (c == NULL || reserve_fd(connections, fd) != 0 ||
        (tls != NULL && tls_session_new(tls, fd, &c->tls) != 0)) {
        lead_nowhere(connections, c, fd);
        return NULL;
    }
    c->fd = fd;
    c->address = network_address_of(from);
    connections->by_fd[fd] = c;
    connections->open++;
    atomic_fetch_add_explicit(connections->options.count, 1, memory_order_relaxed);
    /* A client that connects owes a request: it gets the time of a head, not that of an idle connection. */
    enter(connections, c, tls != NULL ? CONNECTION_HANDSHAKE : CONNECTION_HEAD);
    if (!admit(connections, c))
        connections_linger(connections, c);
    return c;
}

void connections_closed(struct connections *connections, struct connection *c)
{
    if (c == NULL)
        return;
    connections_stalls_not(connections, c);
    unlink_connection(connections, c);
    connections->by_fd[c->fd] = NULL;
    connections->open--;
    atomic_fetch_sub_explicit(connections->options.count, 1, memory_order_relaxed);
    if (c->counted)
        address_counts_leave(connections->options.addresses, &c->address);
    tls_session_free(c->tls);
    free(c);
}

int connections_detach(struct connections *connections, struct connection *c, struct connection **ret_stream)
{
    int fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    struct connection *stream = calloc(1, sizeof *stream);
    if (stream == NULL || reserve_fd(connections, fd) != 0) {
        free(stream);
        close(fd);
        return -ENOMEM;
    }
    *stream = (struct connection){.fd = fd, .tls = c->tls, .address = c->address, .counted = c->counted};
    if (c->tls != NULL)
        tls_session_move(c->tls, fd);
    connections->by_fd[fd] = stream;
    connections->open++;
    atomic_fetch_add_explicit(connections->options.count, 1, memory_order_relaxed);
    enter(connections, stream, CONNECTION_STREAM);

    c->tls = NULL;
    c->counted = false;
    c->detached = true;
    connections_stalls_not(connections, c);
    connections_move(connections, c, CONNECTION_CLOSING);
    *ret_stream = stream;
    return 0;
}

void connections_close_stream(struct connections *connections, struct connection *stream)
{
    int fd = stream->fd;
    connections_say_end(stream);
    connections_closed(connections, stream);
    close(fd);
}

void connections_request_begins(struct connections *connections, struct connection *c)
{
    connections_move(connections, c, CONNECTION_REQUEST);
    if (connections_in_body(c))
        connections_stalls(connections, c);
}

void connections_request_ends(struct connections *connections, struct connection *c)
{
    connections_stalls_not(connections, c);
    if (c->phase == CONNECTION_REQUEST)
        connections_move(connections, c, framing_in_head(&c->framing) ? CONNECTION_HEAD : CONNECTION_IDLE);
}

/* --- ends -------------------------------------------------------------------------------------- */

/* Closing at once would reset the connection while its bytes are still coming, and the reset may overtake
 * what was sent last. */
void connections_linger(struct connections *connections, struct connection *c)
{
    connections_stalls_not(connections, c);
    connections_move(connections, c, CONNECTION_LINGERING);
    connections_say_end(c);
    shutdown(c->fd, SHUT_WR);
}

/* Answers what libmicrohttpd never gets to see. */
void connections_refuse(struct connections *connections, struct connection *c, enum problem_code code,
                        const char *detail)
{
    if (c->refused)
        return;
    c->refused = true;
    const struct refusal_context context = {
        .tls = c->tls,
        .vary_origin = connections->options.vary_origin,
        .log = connections->options.log,
        .metrics = connections->options.metrics,
    };
    refusal_send(c->fd, &context, code, detail);
    connections_linger(connections, c);
}

static void sweep_phase(struct connections *connections, enum connection_phase phase, uint64_t before_ms)
{
    struct connection *c = connections->phases[phase].first;
    while (c != NULL && c->since_ms <= before_ms) {
        struct connection *next = c->next;
        if (phase == CONNECTION_HEAD && (framing_in_head(&c->framing)))
            connections_refuse(connections, c, PROBLEM_REQUEST_TIMEOUT,
                               "The request head was not complete in time");
        else
            cut(connections, c);
        c = next;
    }
}

void connections_sweep(struct connections *connections, uint64_t now_ms)
{
    const uint64_t patience[CONNECTION_PHASES] = {
        [CONNECTION_HANDSHAKE] = CONNECTION_HANDSHAKE_MS,
        [CONNECTION_IDLE] = CONNECTION_IDLE_MS,
        [CONNECTION_HEAD] = CONNECTION_HEAD_MS,
        [CONNECTION_REQUEST] = connections->options.request_timeout_ms + CONNECTION_ANSWER_MS,
        [CONNECTION_LINGERING] = CONNECTION_LINGER_MS,
    };
    for (enum connection_phase phase = 0; phase < CONNECTION_CLOSING; phase++)
        if (now_ms > patience[phase])
            sweep_phase(connections, phase, now_ms - patience[phase]);
}

unsigned connections_close_idle(struct connections *connections)
{
    static const enum connection_phase between[] = {CONNECTION_HANDSHAKE, CONNECTION_IDLE, CONNECTION_HEAD};
    for (size_t i = 0; i < sizeof between / sizeof *between; i++)
        for (struct connection *c = connections->phases[between[i]].first, *next; c != NULL; c = next) {
            next = c->next;
            if (framing_idle(&c->framing))
                cut(connections, c);
        }
    return connections->open;
}

unsigned connections_open_count(const struct connections *connections)
{
    return connections->open;
}
