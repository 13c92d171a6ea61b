/*
 * server.h - the process: opens what the workers share, starts them, waits for a signal, drains.
 */
#ifndef TELEMETRYD_SERVER_H
#define TELEMETRYD_SERVER_H

#include "config.h"

/* Serves until SIGTERM or SIGINT (a second one ends the process at once). Returns the exit status: 0 after a
 * drain, 1 when it could not start; the reason is then on the log. */
int server_run(const struct config *config);

#endif
