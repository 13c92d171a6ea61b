/*
 * cosmos_internal.h - what the parts of the Cosmos DB client share. From the inside out:
 *
 *   cosmos_authorize: the headers with which a request may pass: a signature, or an Entra token
 *   cosmos_account: what all workers know: endpoints, regions, the container's definition (one lock)
 *   cosmos_call: one operation on the wire, with its attempts, regions and retries, until an answer stands
 *   cosmos_shared: reads of the account document and of the container's definition, one for all who wait
 *   cosmos_op: what all requests have in common, from their first wait to their callback
 *   cosmos_read, cosmos_latest, cosmos_write: the requests; cosmos_store: the table of them, and check
 *   cosmos_feed.h: the container's change feed, and what follows it
 */
#ifndef TELEMETRYD_COSMOS_INTERNAL_H
#define TELEMETRYD_COSMOS_INTERNAL_H

#include "cosmos.h"
#include "cosmos_sign.h"
#include "delay.h"
#include "retry.h"

struct cosmos_feed;

#define COSMOS_URL_SIZE         512
#define COSMOS_REGIONS_MAX      16
#define COSMOS_UNAVAILABLE_MS   (5 * 60 * 1000) /* how long a failed region is left alone */
#define COSMOS_ACCOUNT_AGE_MS   (5 * 60 * 1000) /* the account document is read again when it is older */
#define COSMOS_RECHECK_MS       (10 * 1000) /* least time between two reads of what is missing or of no use */
#define COSMOS_CONTINUATION_MAX (12 * 1024) /* bytes of a continuation that is taken or handed on */

/* --- cosmos_account.c -------------------------------------------------------------------------- */

struct cosmos_endpoint {
    char url[COSMOS_URL_SIZE]; /* without a trailing slash */
    bool readable;             /* reads may be sent there; false: it is only the write region */
    uint64_t unavailable_until_ms;
};

enum cosmos_container_state {
    COSMOS_CONTAINER_UNKNOWN, /* never read, or what was read no longer holds */
    COSMOS_CONTAINER_GOOD,
    COSMOS_CONTAINER_UNUSABLE, /* its partition key is not one that we fill: `reason` */
    COSMOS_CONTAINER_MISSING
};

/* What a worker keeps a copy of. */
struct cosmos_view {
    unsigned generation;
    /* [0] is the configured one, the others stand in the account's order */
    struct cosmos_endpoint endpoints[1 + COSMOS_REGIONS_MAX];
    unsigned endpoint_count;
    unsigned write_region;  /* index of the account's first writable location; 0 until one is known */
    bool writes_moved;      /* after a 403/3: writes follow the account document */
    uint64_t account_at_ms; /* when the account document was read; 0: never */
    enum cosmos_container_state container;
    uint64_t container_at_ms;  /* when that was found out */
    const char *partition_key; /* "deviceId" or "partitionKey"; NULL unless GOOD */
    const char *reason; /* why the container cannot serve; lives as long as the account; NULL when it can */
};

/* The settings: constant from cosmos_account_new() on, readable from any thread. */
struct cosmos_names {
    const struct cosmos_account_settings *settings;
    const char *container_path; /* "/dbs/<db>/colls/<c>", names percent-encoded */
    const char *docs_path;      /* the same with "/docs" */
    const char *ranges_path;    /* the same with "/pkranges" */
    const char *container_link; /* for signatures: "dbs/<db>/colls/<c>", names raw */
    struct flight_table *flights;
    struct cosmos_feed *feed;
};
struct cosmos_names cosmos_account_names(const struct cosmos_account *account);

/* Brings the copy up to date; one atomic load when nothing has changed. */
void cosmos_account_view(struct cosmos_account *account, struct cosmos_view *view);

void cosmos_account_region_failed(struct cosmos_account *account, const char *url, uint64_t now_ms);
void cosmos_account_writes_moved(struct cosmos_account *account);
/* Takes an account document (untrusted text). Returns false for what is none. */
bool cosmos_account_take_document(struct cosmos_account *account, const char *text, size_t len,
                                  uint64_t now_ms);
/* True for the one caller who is to read the account document now: it is old, and nobody has tried lately. */
bool cosmos_account_claim_refresh(struct cosmos_account *account, uint64_t now_ms);
/* Takes a container definition. Returns false for what is none. */
bool cosmos_account_take_container(struct cosmos_account *account, const char *text, size_t len,
                                   uint64_t now_ms);
void cosmos_account_container_missing(struct cosmos_account *account, uint64_t now_ms);
/* The service said that what we know of the container is stale. */
void cosmos_account_forget_container(struct cosmos_account *account);
/* The first of `count` microseconds that no other reading of this process has or will have, not before
 * now_us. */
int64_t cosmos_account_stamp(struct cosmos_account *account, int64_t now_us, size_t count);

/* Pure: the endpoint to ask now; and whether, once `failed` has failed, there is another one worth asking. */
unsigned cosmos_view_endpoint(const struct cosmos_view *view, bool write, uint64_t now_ms);
bool cosmos_view_another(const struct cosmos_view *view, bool write, const char *failed, uint64_t now_ms);

/* --- cosmos_authorize.c ------------------------------------------------------------------------ */

/* A worker's: one of both is there. */
struct cosmos_authorizer {
    struct cosmos_signer *signer; /* freed by the owner */
    struct azure_token *token;    /* the agent's */
};

/* 0 or negative, and then nothing is to be freed. */
int cosmos_authorizer_init(struct cosmos_authorizer *authorizer,
                           const struct cosmos_account_settings *settings, struct azure_agent *azure);

/* The account as a resource of Entra: its URL in lower case, without the scheme's own port, as the official
 * clients name it. */
void cosmos_authorizer_resource(const char *endpoint, char out[COSMOS_URL_SIZE]);

struct cosmos_authorization {
    const char *authorization; /* header lines; this one may be the authorizer's, until its next use */
    char date[48];
    char signature[COSMOS_AUTHORIZATION_SIZE + 16];
    unsigned generation; /* of the token, for azure_token_refused() */
};

/* 0; -EAGAIN: there is no token, azure_token_wait() for one; or -ENOMEM. */
int cosmos_authorize(const struct cosmos_authorizer *authorizer, const char *verb, const char *resource_type,
                     const char *resource_link, struct cosmos_authorization *ret);

/* --- cosmos_store.c, cosmos_shared.c ----------------------------------------------------------- */

/* One shared read that was started on this worker and is under way. */
struct cosmos_shared_read;
struct cosmos_feed_read;
struct cosmos_node;

struct cosmos_store {
    struct telemetry_store base;
    struct cosmos_account *account;
    struct cosmos_names names;
    struct http_client *http;
    struct mailbox *mailbox;
    uv_loop_t *loop;
    struct metrics *metrics; /* may be NULL */
    struct cosmos_authorizer authorizer;
    struct cosmos_view view;
    struct cosmos_shared_read *account_read, *container_read;
    struct cosmos_feed_read *feed_reads; /* pages of the change feed that were asked for here */
    struct cosmos_node *node;            /* this worker's share in the change feed */
    uint64_t refresh_looked_ms;          /* when the account document's age was last looked at */
};

/* Joins the shared read of the account document or of the container's definition. Its answer is UPSTREAM_OK
 * when the account (struct cosmos_view) now holds what the service said, be it that there is no such
 * container. NULL with errno EBUSY, ETIMEDOUT or ENOMEM when it cannot start. */
struct operation *cosmos_join_account(struct cosmos_store *store, uint64_t deadline_ms, flight_cb *done,
                                      void *ctx);
struct operation *cosmos_join_container(struct cosmos_store *store, uint64_t deadline_ms, flight_cb *done,
                                        void *ctx);

/* Reads the account document in the background when that is due. */
void cosmos_refresh_account(struct cosmos_store *store);
/* Gives up the shared reads that were started here. */
void cosmos_shared_reads_end(struct cosmos_store *store);

/* --- cosmos_call.c ----------------------------------------------------------------------------- */

#define COSMOS_CALL_HEADERS_MAX 11

/* How an answer is to be judged where its HTTP status alone does not say (a batch). */
struct cosmos_verdict {
    unsigned status, substatus;
    int64_t retry_after_ms;
};
typedef void cosmos_judge_fn(void *ctx, const struct http_answer *answer, struct cosmos_verdict *verdict);

/* All text stays the caller's and must live until the call's callback or its cancel. */
struct cosmos_request {
    const char *operation; /* of the metrics: static text */
    const char *verb, *resource_type, *resource_link, *path;
    bool write;
    const char *headers[COSMOS_CALL_HEADERS_MAX]; /* beside those that every request has */
    const char *body;
    size_t body_len;
    size_t max_body, headroom; /* of the answer */
    cosmos_judge_fn *judge;    /* or NULL */
    uint64_t deadline_ms;
};

struct cosmos_answer {
    enum upstream_status status;
    unsigned retry_after_s;
    unsigned http_status, substatus; /* as judged; 0 when nothing was answered */
    /* The last attempt's; NULL unless UPSTREAM_OK. The callback may take its body. */
    struct http_answer *http;
};
typedef void cosmos_call_cb(void *ctx, struct cosmos_answer *answer);

/* No item is ever asked for by name, so a 404 is about the container; but for 404/1002, which is about a
 * replica. */
static inline bool cosmos_says_no_container(const struct cosmos_answer *answer)
{
    return answer->http_status == 404 && answer->substatus != 1002;
}

/* Embedded in its owner; zeroed before its first use. `retries` and `charge` go on from call to call of one
 * request. */
struct cosmos_call {
    struct retry_state retries;
    double charge;
    /* private */
    struct cosmos_store *store;
    struct cosmos_request request;
    cosmos_call_cb *done;
    void *ctx;
    struct operation *waiting; /* the attempt, the shared read of the account, or an Entra token */
    struct delay *timer;
    char endpoint[COSMOS_URL_SIZE]; /* of the attempt; "" before the first */
    uint64_t attempt_ms;            /* what the attempt was given */
    unsigned token_generation;      /* of the attempt's token */
    bool renewed;                   /* the service refused a token once */
};

/* Returns 0; or -EBUSY, -ETIMEDOUT or -ENOMEM when the first attempt cannot start, and then the callback
 * never fires. The callback may free the call. */
int cosmos_call_start(struct cosmos_call *call, struct cosmos_store *store,
                      const struct cosmos_request *request, cosmos_call_cb *done, void *ctx);
void cosmos_call_cancel(struct cosmos_call *call); /* also where nothing is under way */

/* --- the change feed (cosmos_feed.c; the rest of it is in cosmos_feed.h) ------------------------- */

/* interval_ms 0: the default. 0 or negative. */
int cosmos_feed_new(unsigned interval_ms, struct cosmos_feed **ret_feed);
void cosmos_feed_free(struct cosmos_feed *feed); /* no store is left; accepts NULL */

/* --- the common life of a store's requests (cosmos_op.c) --------------------------------------- */

struct cosmos_op;

struct cosmos_op_kind {
    bool recheck;                      /* read the container's definition afresh, whatever is known */
    void (*go)(struct cosmos_op *op);  /* the container is known to be good: op->store->view.partition_key */
    void (*end)(struct cosmos_op *op); /* op->result is final: calls back */
    void (*release)(struct cosmos_op *op); /* frees the op */
};

/* The first member of every request. */
struct cosmos_op {
    struct operation operation;
    const struct cosmos_op_kind *kind;
    struct cosmos_store *store;
    uint64_t deadline_ms, started_us;
    struct upstream_result result;
    const char *reason; /* why the container cannot serve, or NULL */
    struct cosmos_call call;
    struct operation *flight; /* the container's definition */
    struct delay *timer;
    bool starting, stillborn;
};

/* op is zeroed but for the kind's own members. Sees to the container's definition, then go(). With refused !=
 * UPSTREAM_OK the request only ends with that. Returns the operation, or NULL after releasing the op when out
 * of memory. */
struct operation *cosmos_op_begin(struct cosmos_op *op, const struct cosmos_op_kind *kind,
                                  struct cosmos_store *store, uint64_t deadline_ms,
                                  enum upstream_status refused);
/* Starts a call as part of the op, with the op's deadline; what keeps it from starting ends the op. */
void cosmos_op_call(struct cosmos_op *op, const struct cosmos_request *request, cosmos_call_cb *done);
/* Ends the op: end(), then release(). Later, when called from inside cosmos_op_begin(). */
void cosmos_op_end(struct cosmos_op *op, enum upstream_status status);
void cosmos_op_end_answer(struct cosmos_op *op, const struct cosmos_answer *answer);

/* --- queries (cosmos_read.c) ------------------------------------------------------------------- */

#define COSMOS_ANSWER_MAX (8 * 1024 * 1024) /* of one answer; the service ends a page at 4 MB */
#define COSMOS_DEPTH_MAX  160               /* of an answer; the service takes items 128 deep */

/* The headers of one query, in storage that outlives the call. */
struct cosmos_query_headers {
    char partition_key[64 + 2 * 128];
    char max_items[48];
    struct buffer continuation;
};

/* "x-ms-documentdb-partitionkey: [\"d1\"]"; a device id is ASCII and at most 128 bytes. 0 or -ENOMEM. */
int cosmos_partition_key_header(char *out, size_t size, const char *device_id);

/* The request for one page of the query in `body`. continuation NULL: from the start. 0 or -ENOMEM. */
int cosmos_query_request(const struct cosmos_store *store, struct cosmos_query_headers *headers,
                         const char *device_id, unsigned max_items, const char *continuation,
                         const struct buffer *body, size_t headroom, struct cosmos_request *ret_request);

/* Whether a continuation may go into a header and be handed on: printable ASCII, bounded. */
bool cosmos_continuation_valid(const char *continuation);

/* --- cosmos_read.c, cosmos_latest.c, cosmos_write.c -------------------------------------------- */

struct operation *cosmos_read_range(struct telemetry_store *store, const struct telemetry_range *range,
                                    telemetry_page_cb *done, void *ctx);
struct operation *cosmos_latest(struct telemetry_store *store, const char *device_id, uint64_t deadline_ms,
                                telemetry_latest_cb *done, void *ctx);
struct operation *cosmos_write(struct telemetry_store *store, const struct telemetry_write *write,
                               telemetry_stored_cb *done, void *ctx);

#endif
