/* What -Wl,--wrap=recv puts in the place of recv() inside libmicrohttpd. */
#include "connections.h"

#include <sys/socket.h>

ssize_t __real_recv(int fd, void *buffer, size_t size, int flags);
ssize_t __wrap_recv(int fd, void *buffer, size_t size, int flags);

ssize_t __wrap_recv(int fd, void *buffer, size_t size, int flags)
{
    return connections_recv(fd, buffer, size, flags, __real_recv);
}
