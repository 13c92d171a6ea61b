#include "listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096

static int listen_one(const struct sockaddr *address, socklen_t len, int share)
{
    const int on = 1;
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        (address->sa_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) != 0) ||
        (share && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) ||
        bind(fd, address, len) != 0 || listen(fd, BACKLOG) != 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

static void write_address(const struct sockaddr_storage *bound, socklen_t len, const char *scheme, char *out,
                          size_t size)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];
    if (getnameinfo((const struct sockaddr *)bound, len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        snprintf(out, size, "%s://?", scheme);
    else
        snprintf(out, size, bound->ss_family == AF_INET6 ? "%s://[%s]:%s" : "%s://%s:%s", scheme, host, port);
}

/*
 * With SO_REUSEPORT alone a second server on the same address would start and take half of the connections.
 * So the first socket takes the address without it, which fails when anybody listens there, and lets the
 * others join it afterwards. It stays one of them: a connection that it has got by then is served like any
 * other.
 */
static int open_all(const struct sockaddr *wanted, socklen_t wanted_len, int *fds, unsigned count,
                    struct sockaddr_storage *bound, socklen_t *bound_len)
{
    const int on = 1;
    unsigned opened = 0;
    int error;

    fds[0] = listen_one(wanted, wanted_len, 0);
    if (fds[0] < 0)
        return fds[0];
    opened = 1;
    *bound_len = sizeof *bound;
    if (getsockname(fds[0], (struct sockaddr *)bound, bound_len) != 0 ||
        setsockopt(fds[0], SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) {
        error = -errno;
        goto fail;
    }
    for (; opened < count; opened++) {
        fds[opened] = listen_one((const struct sockaddr *)bound, *bound_len, 1);
        if (fds[opened] < 0) {
            error = fds[opened];
            goto fail;
        }
    }
    return 0;

fail:
    while (opened > 0)
        close(fds[--opened]);
    return error;
}

static int look_up(const char *host, unsigned port, struct addrinfo **found, char *message,
                   size_t message_size)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    char service[8];

    snprintf(service, sizeof service, "%u", port);
    int r = getaddrinfo(host, service, &hints, found);
    if (r == 0)
        return 0;
    snprintf(message, message_size, "cannot listen on %s: %s", host, gai_strerror(r));
    return -EADDRNOTAVAIL;
}

int listen_open(const char *host, unsigned port, bool secure, int *fds, unsigned count, char *address,
                size_t address_size, char *message, size_t message_size)
{
    struct addrinfo *found;
    struct sockaddr_storage bound;
    socklen_t bound_len;

    int r = look_up(host, port, &found, message, message_size);
    if (r != 0)
        return r;
    r = open_all(found->ai_addr, found->ai_addrlen, fds, count, &bound, &bound_len);
    freeaddrinfo(found);
    if (r != 0) {
        snprintf(message, message_size, "cannot listen on %s port %u: %s", host, port, strerror(-r));
        return r;
    }
    write_address(&bound, bound_len, secure ? "https" : "http", address, address_size);
    return 0;
}

/* --- a socket of somebody else ----------------------------------------------------------------- */

static bool listens(int fd, struct sockaddr_storage *bound, socklen_t *bound_len)
{
    int accepts = 0, type = 0;
    socklen_t accepts_len = sizeof accepts, type_len = sizeof type;
    *bound_len = sizeof *bound;
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &accepts_len) == 0 && accepts != 0 &&
           getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) == 0 && type == SOCK_STREAM &&
           getsockname(fd, (struct sockaddr *)bound, bound_len) == 0 &&
           (bound->ss_family == AF_INET || bound->ss_family == AF_INET6);
}

static bool is_at(const struct sockaddr_storage *bound, const struct sockaddr *wanted)
{
    if (bound->ss_family != wanted->sa_family)
        return false;
    if (bound->ss_family == AF_INET) {
        const struct sockaddr_in *is = (const void *)bound, *want = (const void *)wanted;
        return is->sin_addr.s_addr == want->sin_addr.s_addr &&
               (want->sin_port == 0 || is->sin_port == want->sin_port);
    }
    const struct sockaddr_in6 *is = (const void *)bound, *want = (const void *)wanted;
    return memcmp(&is->sin6_addr, &want->sin6_addr, sizeof is->sin6_addr) == 0 &&
           (want->sin6_port == 0 || is->sin6_port == want->sin6_port);
}

static int check_adopted(int fd, const char *host, unsigned port, struct sockaddr_storage *bound,
                         socklen_t *bound_len, char *message, size_t message_size)
{
    struct addrinfo *found;
    char is[NI_MAXHOST + NI_MAXSERV + 16];

    if (!listens(fd, bound, bound_len)) {
        snprintf(message, message_size, "the socket that was handed over is not one that listens for TCP");
        return -EINVAL;
    }
    int r = look_up(host, port, &found, message, message_size);
    if (r != 0)
        return r;
    bool same = false;
    for (const struct addrinfo *each = found; each != NULL && !same; each = each->ai_next)
        same = is_at(bound, each->ai_addr);
    freeaddrinfo(found);
    if (same)
        return 0;
    write_address(bound, *bound_len, "tcp", is, sizeof is);
    snprintf(message, message_size,
             "the socket that was handed over listens at %s, and the settings say %s port %u", is, host,
             port);
    return -EINVAL;
}

int listen_adopt(int fd, const char *host, unsigned port, bool secure, int *fds, unsigned count,
                 char *address, size_t address_size, char *message, size_t message_size)
{
    struct sockaddr_storage bound;
    socklen_t bound_len;
    unsigned opened = 1;

    fds[0] = fd;
    int r = check_adopted(fd, host, port, &bound, &bound_len, message, message_size);
    if (r != 0)
        goto fail;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
        goto fail_errno;
    for (; opened < count; opened++) {
        fds[opened] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (fds[opened] < 0)
            goto fail_errno;
    }
    write_address(&bound, bound_len, secure ? "https" : "http", address, address_size);
    return 0;

fail_errno:
    r = -errno;
    snprintf(message, message_size, "cannot use the socket that was handed over: %s", strerror(-r));
fail:
    while (opened > 0)
        close(fds[--opened]);
    return r;
}
