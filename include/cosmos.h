/*
 * cosmos.h - Azure Cosmos DB (NoSQL, REST) as a telemetry store.
 *
 * `struct cosmos_account` is what all workers know of one account: its endpoints, which regions are
 * unavailable and until when, the container's partition key path. It is shared and read without a lock on the
 * hot path (workers copy it when its generation changed). A store is one worker's: signer, http client,
 * calls.
 *
 * Sources: azure-protocols.md section 1 (wire), its 1.10 (retries, regions); "How upstreams are used" of the
 * API contract.
 */
#ifndef TELEMETRYD_COSMOS_H
#define TELEMETRYD_COSMOS_H

#include "azure_credential.h"
#include "connection_string.h"
#include "flight.h"
#include "http_client.h"
#include "mailbox.h"
#include "metrics.h"
#include "telemetry_store.h"

struct cosmos_account;

struct cosmos_options {
    struct cosmos_account_settings account; /* without a key: Entra tokens authorize the requests */
    const char *database;                   /* raw names */
    const char *container;
    unsigned feed_interval_ms; /* between two polls of the change feed while somebody follows; 0: 1 s */
    bool allow_http; /* regions advertised with http:// on other hosts than loopback are taken only then */
};

/* Copies what it is given. Returns 0 or negative. */
int cosmos_account_new(const struct cosmos_options *options, struct flight_table *flights,
                       struct cosmos_account **ret_account);
void cosmos_account_free(struct cosmos_account *account); /* clears the key; accepts NULL */

/* azure: where the account has no key, the worker's agent, which must outlive the store; else NULL. metrics:
 * the worker's counters (upstream durations, retries, request units), or NULL. Returns NULL when out of
 * memory. Free the store before the http client, the mailbox and the flights; its timers close with the
 * loop's next turn. */
struct telemetry_store *cosmos_store_new(struct cosmos_account *account, struct azure_agent *azure,
                                         struct http_client *http, struct mailbox *mailbox, uv_loop_t *loop,
                                         struct metrics *metrics);

/* --- pure parts, for tests --------------------------------------------------------------------- */

/* {"query":"SELECT ..","parameters":[..]} for a range of one partition; partition_key "deviceId" or
 * "partitionKey". */
int cosmos_query_range(struct buffer *out, const char *partition_key, const struct telemetry_range *range);
int cosmos_query_latest(struct buffer *out, const char *partition_key, const char *device_id);
/* The stored item {id, deviceId, partitionKey, data, processedAt, ttl}. */
int cosmos_item_append(struct buffer *out, const char *device_id, const struct reading *reading,
                       const char *random_id, int64_t processed_us, int64_t ttl_s);

#endif
