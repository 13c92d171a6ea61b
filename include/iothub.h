/*
 * iothub.h - Azure IoT Hub (service REST API) as a device registry: GET twin, device query.
 *
 * Twins are read once however many wait (flight.h), never cached; a page of devices is kept for 30 seconds,
 * since a hub allows 20 queries a minute. Sources: azure-protocols.md section 2.
 */
#ifndef TELEMETRYD_IOTHUB_H
#define TELEMETRYD_IOTHUB_H

#include "azure_credential.h"
#include "connection_string.h"
#include "device_registry.h"
#include "flight.h"
#include "http_client.h"
#include "mailbox.h"
#include "metrics.h"

struct iothub_options {
    struct iothub_settings hub; /* without a key: Entra tokens authorize the requests */
    const char *endpoint;       /* base URL without trailing slash; NULL: https://<host> */
};

/* options (and endpoint) must outlive the registry, and so must azure: where the hub has no key, the worker's
 * agent, else NULL. NULL when out of memory. */
struct device_registry *iothub_registry_new(const struct iothub_options *options, struct azure_agent *azure,
                                            struct http_client *http, struct flight_table *flights,
                                            struct mailbox *mailbox, uv_loop_t *loop,
                                            struct metrics *metrics);

/* --- one call, and what its answer means (iothub.c) -------------------------------------------- */

enum iothub_kind { IOTHUB_TWIN, IOTHUB_DEVICES };

/* What is asked for. */
struct iothub_question {
    enum iothub_kind kind;
    const char *device_id; /* of IOTHUB_TWIN: a device id */
    unsigned limit;        /* of IOTHUB_DEVICES: 1..1000 */
    const char *
        position; /* of IOTHUB_DEVICES: the hub's continuation, checked by iothub_position_valid(); or NULL */
};

/* Starts one attempt. base: URL without trailing slash; token: for Authorization; fresh: see http_client.h.
 * As http_call_start(). */
struct operation *iothub_call(struct http_client *http, const char *base, const char *token,
                              const struct iothub_question *question, bool fresh, uint64_t deadline_ms,
                              http_call_cb *done, void *ctx);

/* Printable ASCII, 1 to 4096 bytes: a continuation that can be sent in a header and handed to callers. */
bool iothub_position_valid(const char *position);

/* How an answer that stands ends the question; UPSTREAM_OK is a 200 whose body is still to be read. */
enum upstream_status iothub_judge(const struct iothub_question *question, const struct http_answer *answer);

/* Append the status object of a twin, which must be that of device_id, and the array of the status objects of
 * a page of twins. UPSTREAM_OK, UPSTREAM_UNAVAILABLE for a body that is not what it should be, or
 * UPSTREAM_NO_MEMORY; then what was appended is of no use. */
enum upstream_status iothub_read_twin(struct buffer *out, const char *device_id, const char *body,
                                      size_t len);
enum upstream_status iothub_read_devices(struct buffer *out, const char *body, size_t len);

#endif
