/*
 * http_client_internal.h - what the four files of the HTTP client share; private to them.
 *
 *   http_client.c           calls: the FIFO, deadlines, callbacks
 *   http_client_transfer.c  curl's easy handles
 *   http_client_socket.c    curl's sockets and its timer on the libuv loop
 *   http_client_answer.c    what comes back: headers, framing, body
 */
#ifndef TELEMETRYD_HTTP_CLIENT_INTERNAL_H
#define TELEMETRYD_HTTP_CLIENT_INTERNAL_H

#include "http_client.h"

#include <curl/curl.h>

#define NEVER UINT64_MAX

/* --- http_client_answer.c --------------------------------------------------------------------- */

enum kept_header {
    KEPT_CONTINUATION,
    KEPT_REQUEST_CHARGE,
    KEPT_SUBSTATUS,
    KEPT_RETRY_AFTER_MS,
    KEPT_RETRY_AFTER,
    KEPT_ETAG,
    KEPT_CONTENT_TYPE,
    KEPT_COUNT
};

enum answer_block {
    BLOCK_EXPECTED, /* a status line comes next */
    BLOCK_OPEN,     /* between a status line and its empty line */
    BLOCK_CLOSED    /* the final header block ended; what follows are trailers */
};

/* Reads one answer, which may follow interim ones (1xx). */
struct answer_reader {
    size_t max_body, headroom;
    bool head; /* the answer to HEAD has no body whatever its headers say */

    enum http_outcome verdict; /* HTTP_ANSWERED until something is wrong */
    enum answer_block block;
    unsigned status;
    bool http_1_0;
    unsigned content_lengths, transfer_encodings; /* how many of them were there */
    uint64_t content_length;
    size_t header_bytes;        /* of all blocks and trailers */
    size_t kept_at[KEPT_COUNT]; /* offset in kept_text + 1; 0: absent */
    struct buffer kept_text;    /* NUL-terminated values; the memory is reused from answer to answer */
    struct buffer body;         /* headroom, then what came of the body */
};

void answer_begin(struct answer_reader *reader, bool head, size_t max_body, size_t headroom);

/* One line of a header block, line end included; some bytes of the body. False: give the transfer up (see
 * verdict). */
bool answer_header(struct answer_reader *reader, const char *line, size_t len);
bool answer_body(struct answer_reader *reader, const char *bytes, size_t len);

/* After curl said that the transfer went well: is the answer whole? NUL-terminates the body. Sets verdict. */
void answer_end(struct answer_reader *reader);

const char *answer_kept(const struct answer_reader *reader, enum kept_header which); /* NULL where absent */
void answer_free(struct answer_reader *reader);

/* --- http_client_socket.c --------------------------------------------------------------------- */

struct socket_watch;

/* curl's sockets by descriptor, and the one timer. */
struct http_sockets {
    uv_loop_t *loop;
    CURLM *multi;
    struct socket_watch **watches;
    size_t watches_size;
    int ended_fd;          /* a socket whose peer is gone; see retire() */
    unsigned open_handles; /* not closed yet: watches and the timer */
    uint64_t curl_at;      /* clock_monotonic_ms() when curl wants to be run, 0: at once, NEVER */
    uv_timer_t timer;
    uint64_t timer_at; /* when it will fire, NEVER: it is not armed */
    void (*closed)(struct http_sockets *sockets);
};

/* closed: called after sockets_close(), when libuv has let go of everything. Returns 0 or a negative libuv
 * error. */
int sockets_init(struct http_sockets *sockets, uv_loop_t *loop, CURLM *multi,
                 void (*closed)(struct http_sockets *sockets));
void sockets_close(struct http_sockets *sockets); /* after the multi handle is gone */
void sockets_adopt(struct http_sockets *sockets,
                   CURL *easy); /* sets the options that bind an easy handle to these */
void sockets_wake_at(struct http_sockets *sockets, uint64_t at,
                     uint64_t now); /* arms the timer; both clock_monotonic_ms() */

/* --- http_client_transfer.c ------------------------------------------------------------------------ */

#define OWN_HEADERS 1 /* that are sent beside the caller's */

/* An easy handle and what it needs. Kept and reused when its call is over. */
struct transfer {
    CURL *easy;
    struct transfer *next_idle;
    struct answer_reader reader;
    struct curl_slist headers[HTTP_CALL_HEADERS_MAX + OWN_HEADERS];
    unsigned sends; /* of the request, by curl */
    bool custom_method;
};

/* What a call asks for; all of it lives as long as the call. */
struct transfer_request {
    const char *method;
    const char *url;
    char *headers[HTTP_CALL_HEADERS_MAX];
    unsigned header_count;
    const char *body;
    size_t body_len, max_body, headroom;
    bool fresh;
};

struct transfer_pool {
    struct transfer *idle;
    unsigned idle_count, max_idle;
    char *ca_file;
    struct http_sockets *sockets;
};

/* False when out of memory; transfer_pool_free() is due in any case. */
bool transfer_pool_init(struct transfer_pool *pool, const struct http_client_options *options,
                        struct http_sockets *sockets);
void transfer_pool_free(struct transfer_pool *pool);

struct transfer *transfer_get(struct transfer_pool *pool); /* NULL when out of memory */
void transfer_release(struct transfer_pool *pool, struct transfer *transfer);

/* Makes it ready for curl_multi_add_handle(). owner: for CURLINFO_PRIVATE. False when out of memory. */
bool transfer_set(struct transfer *transfer, const struct transfer_request *request, void *owner);

#endif
