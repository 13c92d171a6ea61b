/*
 * azure_credential.h - Microsoft Entra tokens with which this server reaches Azure (Cosmos DB, IoT Hub,
 * Storage).
 *
 * The source is chosen as Microsoft's DefaultAzureCredential would: a client secret (tenant, client and
 * secret are set), else workload identity (tenant, client and federated token file), else managed identity:
 * the App Service endpoint where IDENTITY_ENDPOINT and IDENTITY_HEADER are set, else IMDS. A tenant without
 * secret or token file falls through. Source of the wire formats: azure-protocols.md section 3.
 *
 * `struct azure_credential` is shared by all workers; each has a `struct azure_agent`, its hands, and through
 * it a `struct azure_token` for each resource: the copy of the current token that the hot path uses without a
 * lock.
 *
 * A token is fetched once however many wait for it, on whichever worker (flight.h), and renewed in the
 * background from 300 s before its end on; one that lives longer than two hours, or less than the margin
 * allows, at half its life. While there is one that is still good nobody waits. An authority is asked at most
 * once a second for each resource, and not before the time that it named; whoever asks meanwhile is told how
 * the last attempt ended.
 *
 * How a fetch ends: 400, 401 and 403 are UPSTREAM_UNAUTHORIZED, 429 is UPSTREAM_THROTTLED, silence is
 * UPSTREAM_TIMEOUT, everything else UPSTREAM_UNAVAILABLE. Log lines name source, status and AADSTS number;
 * secrets, tokens and texts of the authority go nowhere.
 *
 * Threads: the credential may be used from any; an agent and its tokens belong to their worker.
 */
#ifndef TELEMETRYD_AZURE_CREDENTIAL_H
#define TELEMETRYD_AZURE_CREDENTIAL_H

#include "flight.h"
#include "http_client.h"
#include "log.h"
#include "mailbox.h"
#include "metrics.h"
#include "operation.h"
#include "upstream.h"

#include <stdbool.h>
#include <stdint.h>

/* Settings; "" where not set. */
struct azure_identity {
    char tenant_id[128];
    char client_id[128];
    char client_secret[512];
    char federated_token_file[4096];
    char authority_host[512];    /* without a trailing slash; default https://login.microsoftonline.com */
    char identity_endpoint[512]; /* App Service */
    char identity_header[512];
    char imds_host[512]; /* without a trailing slash; default http://169.254.169.254 */
};

enum azure_source { AZURE_CLIENT_SECRET, AZURE_WORKLOAD_IDENTITY, AZURE_APP_SERVICE, AZURE_IMDS };

enum azure_source azure_identity_source(const struct azure_identity *identity);

/* "client secret", "workload identity", "managed identity (App Service)", "managed identity (IMDS)" */
const char *azure_source_name(enum azure_source source);

/* --- shared by all workers --------------------------------------------------------------------- */

struct azure_credential;

/* identity must outlive the credential. Returns 0 or negative. */
int azure_credential_new(const struct azure_identity *identity, struct flight_table *flights,
                         struct azure_credential **ret_credential);
void azure_credential_free(struct azure_credential *credential); /* after the agents; clears; accepts NULL */

/* --- a worker's -------------------------------------------------------------------------------- */

struct azure_agent;
struct azure_token;

/* What the agent uses must outlive it; log and metrics may be NULL. */
struct azure_agent_options {
    struct azure_credential *credential;
    struct http_client *http; /* for these fetches, so that they never wait behind calls to upstreams */
    struct mailbox *mailbox;
    uv_loop_t *loop;
    struct log *log;
    struct metrics *metrics;
};
int azure_agent_new(const struct azure_agent_options *options, struct azure_agent **ret_agent);
/* Gives up what it fetches (workers that wait for it ask anew) and frees its tokens. After their users,
 * before the http client and the mailbox. Accepts NULL. */
void azure_agent_free(struct azure_agent *agent);

/* Fetches what is due, be it that a first token is missing. The worker calls it about four times a second. */
void azure_agent_tick(struct azure_agent *agent, uint64_t now_ms);

#define AZURE_RESOURCES_MAX 8 /* of one credential */

/* The token of a resource, e.g. "https://iothubs.azure.net" (no "/.default"). fallback: the resource to ask
 * for where the directory does not know the first one (AADSTS500011), or NULL. prefix: stands before the
 * token in what azure_token_get() returns. All are copied; prefix is one for all of a worker's tokens of this
 * kind. Belongs to the agent. -ENOSPC past AZURE_RESOURCES_MAX, or -ENOMEM. */
int azure_token_open(struct azure_agent *agent, const char *resource, const char *fallback,
                     const char *prefix, struct azure_token **ret_token);

/* Prefix and token, until the next call; NULL where there is none that is good: wait for one. *ret_generation
 * is what azure_token_refused() wants to know. */
const char *azure_token_get(struct azure_token *token, uint64_t now_ms, unsigned *ret_generation);

/* Waits for azure_token_get() to have one: then the status is UPSTREAM_OK. Of failures that may pass the
 * first two in a row are waited out, but not past the deadline; later ones are told at once. elapsed_us and
 * request_charge stay 0. */
typedef void azure_token_cb(void *ctx, const struct upstream_result *result);
struct operation *azure_token_wait(struct azure_token *token, uint64_t deadline_ms, azure_token_cb *done,
                                   void *ctx);

/* The upstream refused (401) the token of that generation: it is dropped, unless another has taken its place.
 */
void azure_token_refused(struct azure_token *token, unsigned generation);

#endif
