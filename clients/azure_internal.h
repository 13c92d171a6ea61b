/*
 * azure_internal.h - what the parts of the Azure credential share; private to them and their tests.
 *
 *   azure_token_request.c  pure: the request for a token
 *   azure_token_answer.c   pure: what its answer means
 *   azure_credential.c     what all workers know: the token of each resource, when to ask again (one lock)
 *   azure_fetch.c          one fetch on the wire, which ends by landing its flight
 *   azure_token.c          a worker's copy of a token, and those who wait for one
 */
#ifndef TELEMETRYD_AZURE_INTERNAL_H
#define TELEMETRYD_AZURE_INTERNAL_H

#include "azure_credential.h"
#include "buffer.h"

#include <stdatomic.h>

#define AZURE_TOKEN_MAX     (16 * 1024) /* bytes of an access token */
#define AZURE_ANSWER_MAX    (64 * 1024)
#define AZURE_ASSERTION_MAX (64 * 1024) /* bytes of the federated token file */
#define AZURE_FETCH_MS                                                                                       \
    5000 /* one attempt; short, so that one begun in silence does not delay the recovery                     \
          */
#define AZURE_PACE_MS        1000        /* least time between two attempts */
#define AZURE_PACE_FAILED_MS 2000        /* the same from the second failure in a row on */
#define AZURE_BACKGROUND_MS  3000        /* between two attempts that nobody waits for */
#define AZURE_WAIT_MAX_MS    (60 * 1000) /* the longest Retry-After that is obeyed */
#define AZURE_MARGIN_S       300
#define AZURE_LONG_LIFE_S    7200
#define AZURE_LIFE_MAX_S     (24 * 3600) /* a longer life is not believed */

/* --- azure_token_request.c --------------------------------------------------------------------- */

/* All text is NUL-terminated. */
struct azure_token_request {
    const char *method;
    struct buffer url;
    struct buffer header; /* "name: value", the one that the source asks for */
    struct buffer body;   /* of a POST */
};

/* assertion: the trimmed text of the federated token file, for AZURE_WORKLOAD_IDENTITY. 0 or -ENOMEM; then it
 * is still to be freed. */
int azure_token_request_build(struct azure_token_request *request, const struct azure_identity *identity,
                              const char *resource, const char *assertion, size_t assertion_len);
void azure_token_request_free(struct azure_token_request *request); /* clears; a zeroed one too */

/* The file's text without white space around it, in memory to be freed with azure_secret_free(). 0, or -EIO,
 * -EFBIG, -ENODATA, -ENOMEM. */
int azure_assertion_read(const char *path, struct buffer *ret_text);
void azure_secret_free(struct buffer *text);

/* --- azure_token_answer.c ---------------------------------------------------------------------- */

struct azure_token_answer {
    enum upstream_status status;
    bool retry;             /* it may pass: asking again soon is worth it */
    bool patient;           /* the source said that it will take a while: ask until the deadline */
    bool unknown_resource;  /* the directory does not know the resource */
    unsigned aadsts;        /* the number of Entra's error, or 0 */
    int64_t retry_after_ms; /* or -1 */
    const char *reason;     /* static text for the log; NULL where the HTTP status says it all */
    char *token; /* with UPSTREAM_OK; NUL-terminated, of token_size bytes, azure_token_answer_free() */
    size_t token_size;
    int64_t lifetime_s; /* 1..AZURE_LIFE_MAX_S */
};

void azure_token_answer_read(const struct http_answer *http, enum azure_source source, int64_t now_s,
                             struct azure_token_answer *ret);
void azure_token_answer_free(struct azure_token_answer *answer); /* clears the token */

/* --- azure_credential.c ------------------------------------------------------------------------ */

/* What is known of one resource's token. */
struct azure_slot {
    struct azure_credential *credential;
    char *resource, *fallback; /* constant once the slot is in use; fallback may be NULL */
    char *key;                 /* of its flights */
    atomic_uint generation;    /* rises with every change of the token */
    _Atomic uint64_t due_ms;   /* when the token is to be renewed; 0: at once */

    /* guarded by the credential's lock */
    char *token;
    size_t token_size;
    uint64_t good_until_ms;
    bool use_fallback;
    bool under_way;               /* an attempt was claimed and has not ended */
    unsigned failures;            /* in a row */
    enum upstream_status failure; /* of the last attempt, or UPSTREAM_OK */
    bool retry, patient;          /* see struct azure_token_answer */
    uint64_t next_ms;             /* no attempt before that */
    uint64_t background_ms;       /* no attempt that nobody waits for before that */
};

const struct azure_identity *azure_credential_identity(const struct azure_credential *credential);
struct flight_table *azure_credential_flights(const struct azure_credential *credential);

/* Finds or makes the slot. NULL when out of memory, or of slots (errno). */
struct azure_slot *azure_slot_open(struct azure_credential *credential, const char *resource,
                                   const char *fallback);

struct azure_outlook {
    enum upstream_status failure;
    unsigned failures;
    bool retry, patient, under_way;
    uint64_t next_ms;
};
struct azure_outlook azure_slot_look(struct azure_slot *slot);

/* Whether whoever calls this is to ask the authority now, which then ends with one of the next three. False:
 * there is a token, or it is too early. */
bool azure_slot_claim(struct azure_slot *slot, uint64_t now_ms, bool *ret_use_fallback);
/* Takes the token out of the answer. Returns how many failures it ends. */
unsigned azure_slot_take(struct azure_slot *slot, struct azure_token_answer *answer, bool use_fallback,
                         uint64_t now_ms);
void azure_slot_failed(struct azure_slot *slot, const struct azure_token_answer *answer, uint64_t now_ms);
void azure_slot_given_up(struct azure_slot *slot);

/* Whether the background is to start a flight now. */
bool azure_slot_due(struct azure_slot *slot, uint64_t now_ms);
void azure_slot_refused(struct azure_slot *slot, unsigned generation);

/* Replaces *out by prefix and token, or empties it. Sets the token's end and its generation. */
void azure_slot_copy(struct azure_slot *slot, const char *prefix, struct buffer *out,
                     uint64_t *ret_good_until_ms, unsigned *ret_generation);

/* --- azure_fetch.c ----------------------------------------------------------------------------- */

struct azure_agent {
    struct azure_agent_options options;
    struct azure_token *tokens;
    struct azure_fetch *fetches; /* under way */
};

struct azure_fetch_start {
    struct azure_agent *agent;
    struct azure_slot *slot;
};
bool azure_fetch_start(void *start, struct flight *flight, const char *key); /* a flight_start_fn */
void azure_fetches_abandon(struct azure_agent *agent);

#endif
