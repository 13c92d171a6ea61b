#include "clock.h"
#include "http_client_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct socket_watch {
    uv_poll_t poll;
    struct http_sockets *sockets;
    int fd;
    int wanted; /* what somebody wants to hear of: UV_READABLE, UV_WRITABLE */
    int armed;  /* what libuv watches for */
    bool ours;  /* opened and closed through the functions below; a resolver's sockets are not */
    bool gone;
    socket_event *event; /* NULL: it is curl's */
    void *ctx;
};

static void on_poll(uv_poll_t *poll, int status, int events);

static void on_watch_closed(uv_handle_t *handle)
{
    struct socket_watch *watch = handle->data;
    struct http_sockets *sockets = watch->sockets;
    free(watch);
    if (--sockets->open_handles == 0)
        sockets->closed(sockets);
}

static struct socket_watch *watch_of(const struct http_sockets *sockets, int fd)
{
    return (size_t)fd < sockets->watches_size ? sockets->watches[fd] : NULL;
}

/* Must come before the descriptor is closed: its number may be given out again at once. */
static void watch_close(struct socket_watch *watch)
{
    watch->sockets->watches[watch->fd] = NULL;
    watch->gone = true;
    uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
}

static int make_room(struct http_sockets *sockets, int fd)
{
    size_t size = sockets->watches_size;
    if ((size_t)fd < size)
        return 0;
    size = size == 0 ? 64 : size;
    while (size <= (size_t)fd)
        size *= 2;
    struct socket_watch **watches = realloc(sockets->watches, size * sizeof(struct socket_watch *));
    if (watches == NULL)
        return -ENOMEM;
    for (size_t i = sockets->watches_size; i < size; i++)
        watches[i] = NULL;
    sockets->watches = watches;
    sockets->watches_size = size;
    return 0;
}

static struct socket_watch *watch_new(struct http_sockets *sockets, int fd, bool ours)
{
    if (make_room(sockets, fd) != 0)
        return NULL;
    if (sockets->watches[fd] != NULL)
        watch_close(sockets->watches[fd]);
    struct socket_watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL)
        return NULL;
    if (uv_poll_init(sockets->loop, &watch->poll, fd) != 0) {
        free(watch);
        return NULL;
    }
    watch->poll.data = watch;
    watch->sockets = sockets;
    watch->fd = fd;
    watch->ours = ours;
    sockets->watches[fd] = watch;
    sockets->open_handles++;
    return watch;
}

/* Each change costs an epoll_ctl or two; what stays as it is costs nothing. */
void watch_want(struct socket_watch *watch, int events)
{
    watch->wanted = events;
    if (events != 0 && watch->armed != events && uv_poll_start(&watch->poll, events, on_poll) == 0)
        watch->armed = events;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct socket_watch *watch = poll->data;
    int running;

    if (status < 0) {
        watch->armed = 0; /* libuv has stopped it */
        events = UV_READABLE | UV_WRITABLE;
    }
    if (watch->wanted == 0) { /* between curl's work and ours */
        uv_poll_stop(poll);
        watch->armed = 0;
        return;
    }
    if (watch->event != NULL) {
        watch->event(watch->ctx, events);
    } else {
        /* After an error curl is to find out for itself. */
        int mask = ((events & UV_READABLE) != 0 ? CURL_CSELECT_IN : 0) |
                   ((events & UV_WRITABLE) != 0 ? CURL_CSELECT_OUT : 0) | (status < 0 ? CURL_CSELECT_ERR : 0);
        curl_multi_socket_action(watch->sockets->multi, watch->fd, mask, &running);
    }
    if (!watch->gone && watch->wanted != 0)
        watch_want(watch, watch->wanted);
}

struct socket_watch *sockets_take(struct http_sockets *sockets, int fd, socket_event *event, void *ctx)
{
    struct socket_watch *watch = watch_of(sockets, fd);
    if (watch == NULL || !watch->ours)
        return NULL;
    watch->event = event;
    watch->ctx = ctx;
    return watch;
}

void sockets_drop(struct http_sockets *sockets, int fd, struct socket_watch *watch)
{
    if (watch_of(sockets, fd) != watch)
        return;
    watch_close(watch);
    close(fd);
}

/* --- called by curl, while it connects --------------------------------------------------------- */

static int on_interest(CURL *easy, curl_socket_t fd, int what, void *ctx, void *unused)
{
    struct http_sockets *sockets = ctx;
    struct socket_watch *watch = watch_of(sockets, fd);
    (void)easy;
    (void)unused;

    if (what == CURL_POLL_REMOVE) {
        if (watch != NULL && watch->ours)
            watch->wanted = 0; /* it is closed through on_close(), or taken over */
        else if (watch != NULL)
            watch_close(watch);
        return 0;
    }
    if (watch == NULL)
        watch = watch_new(sockets, fd, false);
    /* Without a watch the transfer ends by its deadline; -1 would end all transfers of the multi handle. */
    if (watch != NULL)
        watch_want(watch, ((what & CURL_POLL_IN) != 0 ? UV_READABLE : 0) |
                              ((what & CURL_POLL_OUT) != 0 ? UV_WRITABLE : 0));
    return 0;
}

static int on_timer_wish(CURLM *multi, long timeout_ms, void *ctx)
{
    struct http_sockets *sockets = ctx;
    (void)multi;

    if (timeout_ms < 0)
        sockets->curl_at = NEVER;
    else
        sockets->curl_at = timeout_ms == 0 ? 0 : clock_monotonic_ms() + (uint64_t)timeout_ms;
    return 0;
}

static curl_socket_t on_open(void *ctx, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct http_sockets *sockets = ctx;
    (void)purpose;

    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, address->protocol);
    if (fd < 0)
        return CURL_SOCKET_BAD;
    if (watch_new(sockets, fd, true) == NULL) {
        close(fd);
        return CURL_SOCKET_BAD;
    }
    return fd;
}

static int on_close(void *ctx, curl_socket_t fd)
{
    struct http_sockets *sockets = ctx;
    struct socket_watch *watch = watch_of(sockets, fd);
    if (watch != NULL)
        watch_close(watch);
    return close(fd);
}

void sockets_adopt(struct http_sockets *sockets, CURL *easy)
{
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, sockets);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, sockets);
}

/* --- the timer, begin and end ------------------------------------------------------------------ */

/* Only wakes the loop: http_client_turn() looks at what is due. */
static void on_timer(uv_timer_t *timer)
{
    struct http_sockets *sockets = timer->data;
    sockets->timer_at = NEVER;
}

void sockets_wake_at(struct http_sockets *sockets, uint64_t at, uint64_t now)
{
    /* A timer that fires too early is cheaper than one that is moved with each request. */
    if (at == NEVER || sockets->timer_at <= at)
        return;
    uv_timer_start(&sockets->timer, on_timer, at > now ? at - now : 0, 0);
    sockets->timer_at = at;
}

int sockets_init(struct http_sockets *sockets, uv_loop_t *loop, CURLM *multi,
                 void (*closed)(struct http_sockets *sockets))
{
    *sockets = (struct http_sockets){
        .loop = loop, .multi = multi, .curl_at = NEVER, .timer_at = NEVER, .closed = closed};
    int r = uv_timer_init(loop, &sockets->timer);
    if (r != 0)
        return r;
    sockets->timer.data = sockets;
    sockets->open_handles = 1;
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_interest);
    curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, sockets);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer_wish);
    curl_multi_setopt(multi, CURLMOPT_TIMERDATA, sockets);
    return 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct http_sockets *sockets = handle->data;
    if (--sockets->open_handles == 0)
        sockets->closed(sockets);
}

void sockets_close(struct http_sockets *sockets)
{
    for (size_t fd = 0; fd < sockets->watches_size; fd++)
        if (sockets->watches[fd] != NULL)
            watch_close(sockets->watches[fd]);
    free(sockets->watches);
    sockets->watches = NULL;
    sockets->watches_size = 0;
    uv_close((uv_handle_t *)&sockets->timer, on_timer_closed);
}
