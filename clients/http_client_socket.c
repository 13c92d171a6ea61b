/*
 * curl tells which sockets it wants to hear of and when it wants to be run; libuv watches them.
 *
 * A kept connection goes from one transfer to the next, and curl drops and renews its interest each time. The
 * watch on it stays as it is meanwhile, so that a request on a kept connection costs no epoll_ctl.
 */
#include "clock.h"
#include "http_client_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct socket_watch {
    uv_poll_t poll;
    struct http_sockets *sockets;
    int fd;
    int wanted; /* what curl wants to hear of: UV_READABLE, UV_WRITABLE */
    int armed;  /* what libuv watches for */
    bool ours;  /* opened and closed through the functions below; a resolver's sockets are not */
    bool gone;
};

static void on_poll(uv_poll_t *poll, int status, int events);

static void on_watch_closed(uv_handle_t *handle) {
    struct socket_watch *watch = handle->data;
    struct http_sockets *sockets = watch->sockets;
    free(watch);
    if (--sockets->open_handles == 0)
        sockets->closed(sockets);
}

static struct socket_watch *watch_of(const struct http_sockets *sockets, int fd) {
    return (size_t)fd < sockets->watches_size ? sockets->watches[fd] : NULL;
}

/* Must come before the descriptor is closed: its number may be given out again at once. */
static void watch_close(struct socket_watch *watch) {
    watch->sockets->watches[watch->fd] = NULL;
    watch->gone = true;
    watch->armed = 0;
    uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
}

static int make_room(struct http_sockets *sockets, int fd) {
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

static struct socket_watch *watch_new(struct http_sockets *sockets, int fd, bool ours) {
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

static void watch_arm(struct socket_watch *watch, int events) {
    if (watch->armed != events && uv_poll_start(&watch->poll, events, on_poll) == 0)
        watch->armed = events;
}

/* An idle connection has something to say: its end, an error, or bytes that nobody asked for. curl's check
 * before a reuse takes pending bytes for a sign of life and would read them as the next request's answer. So
 * the socket gives way to one whose peer is gone: that check finds the end of it, and curl closes it then. */
static void retire(struct socket_watch *watch) {
    uv_poll_stop(&watch->poll);
    watch->armed = 0;
    if (dup3(watch->sockets->ended_fd, watch->fd, O_CLOEXEC) < 0)
        shutdown(watch->fd, SHUT_RDWR);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct socket_watch *watch = poll->data;
    struct http_sockets *sockets = watch->sockets;
    int running;

    if (status < 0)
        watch->armed = 0; /* libuv has stopped it */
    if (watch->wanted == 0) {
        if (watch->ours && (status < 0 || (events & UV_READABLE) != 0))
            retire(watch);
        else
            watch_arm(watch, UV_READABLE);
        return;
    }

    /* After an error curl is to try for itself: there may be an answer before it. */
    int mask = CURL_CSELECT_IN | CURL_CSELECT_OUT | CURL_CSELECT_ERR;
    if (status >= 0)
        mask = ((events & UV_READABLE) != 0 ? CURL_CSELECT_IN : 0) |
               ((events & UV_WRITABLE) != 0 ? CURL_CSELECT_OUT : 0);
    curl_multi_socket_action(sockets->multi, watch->fd, mask, &running);
    if (!watch->gone && watch->wanted != 0)
        watch_arm(watch, watch->wanted);
}

/* --- called by curl --------------------------------------------------------------------------- */

static int on_interest(CURL *easy, curl_socket_t fd, int what, void *ctx, void *unused) {
    struct http_sockets *sockets = ctx;
    struct socket_watch *watch = watch_of(sockets, fd);
    (void)easy;
    (void)unused;

    if (what == CURL_POLL_REMOVE) {
        if (watch != NULL && watch->ours)
            watch->wanted = 0;
        else if (watch != NULL)
            watch_close(watch);
        return 0;
    }
    if (watch == NULL)
        watch = watch_new(sockets, fd, false);
    /* Without a watch the transfer ends by its deadline; -1 would end all transfers of the multi handle. */
    if (watch == NULL)
        return 0;
    watch->wanted =
        ((what & CURL_POLL_IN) != 0 ? UV_READABLE : 0) | ((what & CURL_POLL_OUT) != 0 ? UV_WRITABLE : 0);
    if (watch->wanted != 0)
        watch_arm(watch, watch->wanted);
    return 0;
}

static int on_timer_wish(CURLM *multi, long timeout_ms, void *ctx) {
    struct http_sockets *sockets = ctx;
    (void)multi;

    if (timeout_ms < 0)
        sockets->curl_at = NEVER;
    else
        sockets->curl_at = timeout_ms == 0 ? 0 : clock_monotonic_ms() + (uint64_t)timeout_ms;
    return 0;
}

static curl_socket_t on_open(void *ctx, curlsocktype purpose, struct curl_sockaddr *address) {
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

static int on_close(void *ctx, curl_socket_t fd) {
    struct http_sockets *sockets = ctx;
    struct socket_watch *watch = watch_of(sockets, fd);
    if (watch != NULL)
        watch_close(watch);
    return close(fd);
}

void sockets_adopt(struct http_sockets *sockets, CURL *easy) {
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, sockets);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, sockets);
}

/* --- the timer, begin and end ----------------------------------------------------------------- */

/* Only wakes the loop: http_client_turn() looks at what is due. */
static void on_timer(uv_timer_t *timer) {
    struct http_sockets *sockets = timer->data;
    sockets->timer_at = NEVER;
}

void sockets_wake_at(struct http_sockets *sockets, uint64_t at, uint64_t now) {
    /* A timer that fires too early is cheaper than one that is moved with each request. */
    if (at == NEVER || sockets->timer_at <= at)
        return;
    uv_timer_start(&sockets->timer, on_timer, at > now ? at - now : 0, 0);
    sockets->timer_at = at;
}

static int make_ended_fd(void) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
        return -errno;
    close(pair[1]);
    return pair[0];
}

int sockets_init(struct http_sockets *sockets, uv_loop_t *loop, CURLM *multi,
                 void (*closed)(struct http_sockets *sockets)) {
    *sockets = (struct http_sockets){
        .loop = loop, .multi = multi, .curl_at = NEVER, .timer_at = NEVER, .closed = closed};
    sockets->ended_fd = make_ended_fd();
    if (sockets->ended_fd < 0)
        return sockets->ended_fd;
    int r = uv_timer_init(loop, &sockets->timer);
    if (r != 0) {
        close(sockets->ended_fd);
        return r;
    }
    sockets->timer.data = sockets;
    sockets->open_handles = 1;
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_interest);
    curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, sockets);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer_wish);
    curl_multi_setopt(multi, CURLMOPT_TIMERDATA, sockets);
    return 0;
}

static void on_timer_closed(uv_handle_t *handle) {
    struct http_sockets *sockets = handle->data;
    if (--sockets->open_handles == 0)
        sockets->closed(sockets);
}

void sockets_close(struct http_sockets *sockets) {
    for (size_t fd = 0; fd < sockets->watches_size; fd++)
        if (sockets->watches[fd] != NULL)
            watch_close(sockets->watches[fd]);
    free(sockets->watches);
    sockets->watches = NULL;
    sockets->watches_size = 0;
    close(sockets->ended_fd);
    uv_close((uv_handle_t *)&sockets->timer, on_timer_closed);
}
