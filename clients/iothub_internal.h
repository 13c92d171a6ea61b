/*
 * iothub_internal.h - what the files of the IoT Hub registry share; private to them.
 *
 *   iothub.c           one call and what its answer means (iothub.h)
 *   iothub_attempts.c  reads: one question with its attempts, which ends by landing its flight
 *   iothub_registry.c  waits: operations of callers who wait for such a flight
 */
#ifndef TELEMETRYD_IOTHUB_INTERNAL_H
#define TELEMETRYD_IOTHUB_INTERNAL_H

#include "iothub.h"
#include "iothub_sas.h"

struct iothub_registry {
    struct device_registry registry;
    const struct iothub_settings *hub;
    struct buffer base; /* URL, NUL-terminated */
    struct http_client *http;
    struct flight_table *flights;
    struct mailbox *mailbox;
    uv_loop_t *loop;
    struct metrics *metrics;
    struct iothub_sas sas;     /* where the hub has a key, else */
    struct azure_token *token; /* the agent's */
    struct read *reads;        /* under way */
};

/* What a flight is started with. */
struct iothub_start {
    struct iothub_registry *registry;
    const struct iothub_question *question; /* copied */
    uint64_t deadline_ms;
};

bool iothub_start_read(void *start, struct flight *flight, const char *key); /* a flight_start_fn */

/* Ends all reads under way; other workers may still wait for them. */
void iothub_abandon_reads(struct iothub_registry *registry);

#endif
