/*
 * device_registry.h - the contract of a device registry. Implementations: iothub_registry (IoT Hub twins),
 * sqlite_registry.
 *
 * Bound to one worker, under the rules of operation.h, as telemetry_store.h says.
 *
 * Status text: a registry hands devices over as the API's own status object, made by status_text_append()
 * (device_status.h), so that both registries speak with one voice:
 * {"deviceId":"d1","status":"online","lastSeen":"..","firmwareVersion":"1.4.2","connectionState":"Connected","enabled":true}
 */
#ifndef TELEMETRYD_DEVICE_REGISTRY_H
#define TELEMETRYD_DEVICE_REGISTRY_H

#include "grants.h"
#include "operation.h"
#include "upstream.h"

#include <stddef.h>
#include <stdint.h>

struct device_registry;

/* The status object of one device; status UPSTREAM_NOT_FOUND (text NULL) where the registry does not know it.
 */
typedef void device_status_cb(void *ctx, const struct upstream_result *result, const char *text, size_t len);

struct device_list {
    const char *text; /* a JSON array of status objects */
    size_t len;
    const char *next;   /* position of the next page, printable ASCII, or NULL on the last */
    unsigned age_s;     /* how old the page is; 0 when it was asked for just now */
    unsigned max_age_s; /* how long it may be kept; 0 where nothing is cached */
};
typedef void device_list_cb(void *ctx, const struct upstream_result *result, const struct device_list *list);

/* All reported properties after the patch. */
typedef void device_reported_cb(void *ctx, const struct upstream_result *result, const char *text,
                                size_t len);

typedef void device_done_cb(void *ctx, const struct upstream_result *result);
typedef void device_check_cb(void *ctx, const struct upstream_result *result, const char *reason);

struct device_registry_ops {
    const char *mode; /* "iothub" or "embedded" */

    /* Required. */
    struct operation *(*status)(struct device_registry *registry, const char *device_id, uint64_t deadline_ms,
                                device_status_cb *done, void *ctx);
    /* Required. position: `next` of the page before as a caller sent it back (untrusted), or NULL. limit
     * 1..1000. Devices that the grants do not cover are left out (NULL: none is); a page may then be shorter
     * than its limit, and not the last. */
    struct operation *(*list)(struct device_registry *registry, unsigned limit, const char *position,
                              struct grants *grants, uint64_t deadline_ms, device_list_cb *done, void *ctx);
    /* Required. As in telemetry_store.h. */
    struct operation *(*check)(struct device_registry *registry, uint64_t deadline_ms, device_check_cb *done,
                               void *ctx);
    /* Optional (embedded only). Merges an RFC 7396 patch (a validated JSON object, at most 10 deep) into the
     * reported properties, creating the device; durable when it answers. patch must live until the callback
     * or cancel. */
    struct operation *(*patch_reported)(struct device_registry *registry, const char *device_id,
                                        const char *patch, size_t patch_len, uint64_t deadline_ms,
                                        device_reported_cb *done, void *ctx);
    /* Optional (embedded only). Notes that the device had a reading stored at second `at` by a store that is
     * not the same database: creates the device, moves its lastHeartbeat. Durable when it answers. */
    struct operation *(*note_reading)(struct device_registry *registry, const char *device_id, int64_t at,
                                      uint64_t deadline_ms, device_done_cb *done, void *ctx);
    /* Required. Frees the registry. No operation may be under way. Accepts NULL. */
    void (*free)(struct device_registry *registry);
};

struct device_registry {
    const struct device_registry_ops *ops;
};

#endif
