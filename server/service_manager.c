#include "service_manager.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST_LISTEN_FD 3 /* SD_LISTEN_FDS_START */
#define LISTEN_FDS_MAX  2
#define METRICS         "metrics"

/* A decimal number above 0. */
static bool number_from(const char *name, uint64_t *ret)
{
    const char *text = getenv(name);
    char *end;
    if (text == NULL || *text < '0' || *text > '9')
        return false;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0' && *ret > 0;
}

static void close_socket(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static int take_sockets(struct service_manager *manager, char *message, size_t message_size)
{
    uint64_t pid, count;
    const char *names = getenv("LISTEN_FDNAMES");

    if (!number_from("LISTEN_PID", &pid) || pid != (uint64_t)getpid() || !number_from("LISTEN_FDS", &count))
        return 0;
    for (uint64_t i = 0; i < count && i <= LISTEN_FDS_MAX; i++) {
        size_t len = names != NULL ? strcspn(names, ":") : 0;
        bool metrics = len == strlen(METRICS) && memcmp(names, METRICS, len) == 0;
        int *slot = metrics ? &manager->metrics_fd : &manager->listen_fd;
        int fd = FIRST_LISTEN_FD + (int)i;
        if (*slot >= 0) {
            snprintf(message, message_size, "the service manager handed over more than one socket%s",
                     metrics ? " named " METRICS : " to serve on; one for metrics is to be named " METRICS);
            return -EINVAL;
        }
        int type;
        socklen_t type_len = sizeof type;
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) != 0 ||
            fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
            snprintf(message, message_size, "LISTEN_FDS: descriptor %d is not a socket", fd);
            return -EINVAL;
        }
        *slot = fd;
        if (names != NULL)
            names += names[len] == ':' ? len + 1 : len;
    }
    return 0;
}

/* A path, or with '@' before it a name in Linux's abstract namespace. */
static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(path);

    if ((path[0] != '/' && path[0] != '@') || len >= sizeof address.sun_path)
        return -1;
    memcpy(address.sun_path, path, len);
    if (path[0] == '@')
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) !=
        0) {
        close(fd);
        return -1;
    }
    return fd;
}

int service_manager_open(struct service_manager *manager, char *message, size_t message_size)
{
    const char *notify = getenv("NOTIFY_SOCKET");
    uint64_t pid, usec;

    *manager = (struct service_manager){.listen_fd = -1, .metrics_fd = -1, .notify_fd = -1};
    int r = take_sockets(manager, message, message_size);
    if (r != 0) {
        close_socket(&manager->listen_fd);
        close_socket(&manager->metrics_fd);
        return r;
    }
    if (notify != NULL)
        manager->notify_fd = connect_to(notify);
    bool watched =
        getenv("WATCHDOG_PID") == NULL || (number_from("WATCHDOG_PID", &pid) && pid == (uint64_t)getpid());
    if (manager->notify_fd >= 0 && watched && number_from("WATCHDOG_USEC", &usec))
        manager->watchdog_ms = usec < 1000 ? 1 : usec / 1000;
    return 0;
}

void service_manager_tell(const struct service_manager *manager, const char *lines)
{
    if (manager->notify_fd >= 0)
        (void)!send(manager->notify_fd, lines, strlen(lines), MSG_NOSIGNAL);
}

void service_manager_close(struct service_manager *manager)
{
    close_socket(&manager->listen_fd);
    close_socket(&manager->metrics_fd);
    close_socket(&manager->notify_fd);
}
