/*
 * listen.h - listening sockets: one per worker on one address, shared by SO_REUSEPORT, yet exclusive between
 * processes; or one that somebody else opened, for all workers.
 */
#ifndef TELEMETRYD_LISTEN_H
#define TELEMETRYD_LISTEN_H

#include <stdbool.h>
#include <stddef.h>

/* Opens `count` listening, non-blocking sockets on host:port (port 0: the kernel's choice, the same for all)
 * into fds, and writes the address as "http://127.0.0.1:8080" into address, with `https` where it is secure.
 * Returns 0, or a negative errno with one line in message; then nothing is open. An address that anybody
 * listens on already is -EADDRINUSE.
 */
int listen_open(const char *host, unsigned port, bool secure, int *fds, unsigned count, char *address,
                size_t address_size, char *message, size_t message_size);

/* The same for a socket that listens already, such as a service manager's: takes fd over and puts it into fds
 * `count` times, each time as a descriptor of its own. Connections that wait in it survive the process.
 * -EINVAL, with one line in message, where it does not listen at host:port (port 0: at any): whom the server
 * lets in is judged by the setting. Then fd is closed as well.
 */
int listen_adopt(int fd, const char *host, unsigned port, bool secure, int *fds, unsigned count,
                 char *address, size_t address_size, char *message, size_t message_size);

#endif
