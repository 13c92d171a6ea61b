#include "tls_watch.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>

/* The settings that are to be looked at. */
static const char *const names[] = {
    [TLS_FILE_CERT] = "TELEMETRYD_TLS_CERT",
    [TLS_FILE_KEY] = "TELEMETRYD_TLS_KEY",
    [TLS_FILE_PAIR] = "TELEMETRYD_TLS_CERT, TELEMETRYD_TLS_KEY",
    [TLS_FILE_CLIENT_CA] = "TELEMETRYD_TLS_CLIENT_CA",
};

static void tell_certificate(struct tls *tls, struct log *log)
{
    struct tls_credentials *current = tls_current(tls);
    bool expired = current->not_after < time(NULL);
    char until[32] = "";
    struct tm tm;

    if (gmtime_r(&current->not_after, &tm) != NULL)
        strftime(until, sizeof until, "%Y-%m-%dT%H:%M:%SZ", &tm);
    if (log_begin(log, expired ? LOG_LEVEL_WARN : LOG_LEVEL_INFO,
                  expired ? "certificate in use has expired" : "certificate in use")) {
        log_text(log, "serial", current->serial);
        log_text(log, "notAfter", until);
        log_bool(log, "clientCertificates", current->ask_client);
        log_end(log);
    }
    tls_credentials_unref(current);
}

bool tls_watch_look(struct tls *tls, struct log *log, bool anyway)
{
    char reason[160] = "";
    enum tls_file fault = TLS_FILES_GOOD;

    switch (tls_look(tls, anyway, &fault, reason, sizeof reason)) {
    case TLS_LOOK_RENEWED: tell_certificate(tls, log); return true;
    case TLS_LOOK_SAME: return true;
    case TLS_LOOK_FAULT:
        if (log_begin(log, LOG_LEVEL_ERROR, "certificate files cannot be used")) {
            log_text(log, "setting", names[fault]);
            log_text(log, "reason", reason);
            log_end(log);
        }
        return false;
    default:
        if (log_begin(log, LOG_LEVEL_ERROR, "certificate files could not be loaded"))
            log_end(log);
        return false;
    }
}

static void on_look(uv_timer_t *timer)
{
    struct tls_watch *watch = timer->data;
    tls_watch_look(watch->tls, watch->log, false);
    log_flush(watch->log);
}

static void on_hangup(uv_signal_t *signal, int number)
{
    struct tls_watch *watch = signal->data;
    if (watch->tls != NULL)
        tls_watch_look(watch->tls, watch->log, true);
    else if (log_begin(watch->log, LOG_LEVEL_INFO, "SIGHUP ignored: there is no certificate to renew"))
        log_end(watch->log);
    log_flush(watch->log);
}

void tls_watch_start(struct tls_watch *watch, uv_loop_t *loop, struct tls *tls, struct log *log)
{
    watch->tls = tls;
    watch->log = log;
    uv_signal_init(loop, &watch->hangup);
    uv_timer_init(loop, &watch->look);
    watch->hangup.data = watch->look.data = watch;
    uv_signal_start(&watch->hangup, on_hangup, SIGHUP);
    uv_unref((uv_handle_t *)&watch->hangup);
    if (tls != NULL)
        uv_timer_start(&watch->look, on_look, TLS_WATCH_MS, TLS_WATCH_MS);
    uv_unref((uv_handle_t *)&watch->look);
}

void tls_watch_tell(struct tls_watch *watch)
{
    if (watch->tls != NULL)
        tell_certificate(watch->tls, watch->log);
    log_flush(watch->log);
}
