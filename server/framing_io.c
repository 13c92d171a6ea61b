/* What the linker (-Wl,--wrap) puts in the place of recv(), send(), sendmsg() and shutdown(). It does so in
 * the whole program; what is not a client's connection passes untouched. */
#include "connections.h"

#include <sys/uio.h>

ssize_t __real_recv(int fd, void *buffer, size_t size, int flags);
ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
int __real_shutdown(int fd, int how);

ssize_t __wrap_recv(int fd, void *buffer, size_t size, int flags);
ssize_t __wrap_send(int fd, const void *bytes, size_t len, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
int __wrap_shutdown(int fd, int how);

static const struct connections_io real = {
    .receive = __real_recv,
    .send = __real_sendmsg,
    .shutdown = __real_shutdown,
};

ssize_t __wrap_recv(int fd, void *buffer, size_t size, int flags)
{
    return connections_receive(&real, fd, buffer, size, flags);
}

ssize_t __wrap_send(int fd, const void *bytes, size_t len, int flags)
{
    struct iovec piece = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
    const struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    return connections_send(&real, fd, &message, flags);
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    return connections_send(&real, fd, message, flags);
}

int __wrap_shutdown(int fd, int how)
{
    return connections_shutdown(&real, fd, how);
}
