#include "acceptor.h"

#include "worker.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPTS_PER_EVENT 16 /* so that the requests of others have their turn */

/* Returns the connection, or a negative errno. */
static int take(struct acceptor *acceptor, struct sockaddr_storage *ret_from, socklen_t *ret_len)
{
    *ret_len = sizeof *ret_from;
    int fd = accept4(acceptor->fd, (struct sockaddr *)ret_from, ret_len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return fd >= 0 ? fd : -errno;
}

static void hand_over(struct acceptor *acceptor, int fd, const struct sockaddr_storage *from, socklen_t len)
{
    struct worker *worker = acceptor->worker;
    worker->accepting = acceptor;
    MHD_add_connection(worker->daemon, fd, (const struct sockaddr *)from, len);
    worker->accepting = NULL;
    worker->daemon_due = true;
}

static void wait(struct acceptor *acceptor)
{
    acceptor->waiting = true;
    uv_poll_stop(&acceptor->poll);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct acceptor *acceptor = poll->data;
    struct connections *connections = acceptor->worker->connections;

    for (unsigned i = 0; i < ACCEPTS_PER_EVENT; i++) {
        struct sockaddr_storage from;
        socklen_t len;
        if (!connections_have_room(connections)) {
            wait(acceptor);
            return;
        }
        int fd = take(acceptor, &from, &len);
        if (fd >= 0 && connections_make_room(connections, (const struct sockaddr *)&from))
            hand_over(acceptor, fd, &from, len);
        else if (fd >= 0)
            close(fd);
        else if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM) {
            /* The socket stays readable: without a pause the loop would spin. */
            acceptor->starved = true;
            wait(acceptor);
            return;
        } else if (fd != -ECONNABORTED && fd != -EINTR)
            return;
    }
}

void acceptor_init(struct acceptor *acceptor, struct worker *worker, int fd, bool metrics_only)
{
    *acceptor = (struct acceptor){.worker = worker, .fd = fd, .metrics_only = metrics_only};
}

int acceptor_start(struct acceptor *acceptor)
{
    if (acceptor->fd < 0)
        return 0;
    int r = uv_poll_init(&acceptor->worker->loop, &acceptor->poll, acceptor->fd);
    if (r != 0)
        return r;
    acceptor->started = true;
    acceptor->poll.data = acceptor;
    return uv_poll_start(&acceptor->poll, UV_READABLE, on_readable);
}

void acceptor_resume(struct acceptor *acceptor, bool tick)
{
    if (!acceptor->waiting || (acceptor->starved && !tick) ||
        !connections_have_room(acceptor->worker->connections))
        return;
    acceptor->waiting = acceptor->starved = false;
    uv_poll_start(&acceptor->poll, UV_READABLE, on_readable);
}

void acceptor_take_the_rest(struct acceptor *acceptor)
{
    struct sockaddr_storage from;
    socklen_t len;
    int fd;

    while (acceptor->fd >= 0 && (fd = take(acceptor, &from, &len)) >= 0)
        hand_over(acceptor, fd, &from, len);
}

void acceptor_stop(struct acceptor *acceptor)
{
    if (acceptor->started)
        uv_close((uv_handle_t *)&acceptor->poll, NULL);
    if (acceptor->fd >= 0)
        close(acceptor->fd);
    acceptor->started = acceptor->waiting = false;
    acceptor->fd = -1;
}
