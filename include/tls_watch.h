/*
 * tls_watch.h - renews the certificate while the server runs: on SIGHUP, and when a look every few seconds
 * finds other files. Says on the log what it did.
 *
 * Without TLS SIGHUP is taken note of and ignored, so that it does not end the process.
 *
 * Threads: that of the loop it is started on.
 */
#ifndef TELEMETRYD_TLS_WATCH_H
#define TELEMETRYD_TLS_WATCH_H

#include "log.h"
#include "tls.h"

#include <uv.h>

#define TLS_WATCH_MS 5000

struct tls_watch {
    struct tls *tls; /* NULL: no TLS */
    struct log *log;
    uv_signal_t hangup;
    uv_timer_t look;
};

/* The handles do not keep the loop alive. They are closed with the loop's others. */
void tls_watch_start(struct tls_watch *watch, uv_loop_t *loop, struct tls *tls, struct log *log);

/* Logs which certificate is in use. */
void tls_watch_tell(struct tls_watch *watch);

/* One look (tls_look()), and what came of it on the log. False when the files could not be used. */
bool tls_watch_look(struct tls *tls, struct log *log, bool anyway);

#endif
