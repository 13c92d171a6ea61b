/*
 * service_manager.h - what a service manager such as systemd hands to the process, and is told in turn.
 *
 * Protocols: sd_listen_fds(3) (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES), sd_notify(3) (NOTIFY_SOCKET) and
 * sd_watchdog_enabled(3) (WATCHDOG_PID, WATCHDOG_USEC). They are variables and datagrams, fixed by systemd's
 * promise of a stable interface; its library would bring three compressors and a cipher into the process.
 *
 * Threads: telling may be done from any.
 */
#ifndef TELEMETRYD_SERVICE_MANAGER_H
#define TELEMETRYD_SERVICE_MANAGER_H

#include <stddef.h>
#include <stdint.h>

struct service_manager {
    int listen_fd;        /* a listening socket to serve on; -1: none was handed over */
    int metrics_fd;       /* the one whose name (FileDescriptorName=) is "metrics", likewise */
    int notify_fd;        /* -1: nobody wants to be told */
    uint64_t watchdog_ms; /* so often at least wants "WATCHDOG=1"; 0: never */
};

/* Reads the environment. What concerns another process is passed over. A caller that takes listen_fd or
 * metrics_fd over sets it to -1. Returns 0, or -EINVAL with one line in message where sockets were handed
 * over that cannot be told apart or are none; then nothing is open. */
int service_manager_open(struct service_manager *manager, char *message, size_t message_size);

/* Lines "NAME=value" of sd_notify(3). Never waits: what the manager does not read in time it is not told. */
void service_manager_tell(const struct service_manager *manager, const char *lines);

void service_manager_close(struct service_manager *manager);

#endif
