/*
 * http_client_internal.h - what the files of the HTTP client share; private to them.
 *
 *   http_client.c           calls: the FIFO, deadlines, callbacks
 *   http_client_exchange.c  a request and its answer on a connection
 *   http_client_connect.c   connections: made by curl, kept by us
 *   http_client_socket.c    sockets and curl's timer on the libuv loop
 *   http_client_answer.c    what comes back: headers, framing, body
 *
 * curl looks names up, connects and speaks TLS (CURLOPT_CONNECT_ONLY). The request and its answer are ours: a
 * transfer of curl's costs about as much CPU as all else that a request needs, and it forgives answers that
 * are not to be trusted.
 */
#ifndef TELEMETRYD_HTTP_CLIENT_INTERNAL_H
#define TELEMETRYD_HTTP_CLIENT_INTERNAL_H

#include "http_client.h"

#include <curl/curl.h>

#define NEVER UINT64_MAX

/* --- http_client_answer.c ---------------------------------------------------------------------- */

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

enum answer_state {
    ANSWER_STATUS_LINE, /* of an interim answer (1xx) or of the final one */
    ANSWER_HEADERS,
    ANSWER_BODY, /* `left` bytes of it, told by Content-Length */
    ANSWER_CHUNK_SIZE,
    ANSWER_CHUNK, /* `left` bytes of it */
    ANSWER_CHUNK_END,
    ANSWER_TRAILERS,
    ANSWER_COMPLETE
};

/* Reads one answer, which may follow interim ones. */
struct answer_reader {
    size_t max_body, headroom;
    bool head; /* the answer to HEAD has no body whatever its headers say */

    enum http_outcome verdict; /* HTTP_ANSWERED until something is wrong; then nothing more is to be read */
    enum answer_state state;
    bool any; /* bytes of it have come */
    unsigned status;
    bool http_1_0, close;                         /* the connection ends with this answer */
    unsigned content_lengths, transfer_encodings; /* how many of them were there */
    uint64_t content_length;
    uint64_t left;              /* of the body or the chunk */
    size_t header_bytes;        /* of all blocks and trailers */
    struct buffer line;         /* the start of a line whose end has not come */
    size_t kept_at[KEPT_COUNT]; /* offset in kept_text + 1; 0: absent */
    struct buffer kept_text;    /* NUL-terminated values; the memory is reused from answer to answer */
    struct buffer body;         /* headroom, then what came of the body */
};

void answer_begin(struct answer_reader *reader, bool head, size_t max_body, size_t headroom);

/* Takes bytes that came. Returns how many of them belong to the answer: fewer than len when it is complete,
 * or when its verdict is against it. */
size_t answer_feed(struct answer_reader *reader, const char *bytes, size_t len);

/* Where the next bytes of the body may be read to, past answer_feed(); NULL where they cannot. */
char *answer_room(struct answer_reader *reader, size_t *ret_len);
void answer_filled(struct answer_reader *reader, size_t len);

const char *answer_kept(const struct answer_reader *reader, enum kept_header which); /* NULL where absent */
void answer_free(struct answer_reader *reader);

/* --- http_client_socket.c ---------------------------------------------------------------------- */

/* A watched socket. */
struct socket_watch;

/* What is watched for by descriptor, and the one timer. */
struct http_sockets {
    uv_loop_t *loop;
    CURLM *multi;
    struct socket_watch **watches;
    size_t watches_size;
    unsigned open_handles; /* not closed yet: watches and the timer */
    uint64_t curl_at;      /* clock_monotonic_ms() when curl wants to be run, 0: at once, NEVER */
    uv_timer_t timer;
    uint64_t timer_at; /* when it will fire, NEVER: it is not armed */
    void (*closed)(struct http_sockets *sockets);
};

/* closed: called after sockets_close(), when libuv has let go of everything. 0 or a negative libuv error. */
int sockets_init(struct http_sockets *sockets, uv_loop_t *loop, CURLM *multi,
                 void (*closed)(struct http_sockets *sockets));
void sockets_close(struct http_sockets *sockets); /* after the multi handle is gone */
void sockets_adopt(struct http_sockets *sockets,
                   CURL *easy); /* sets the options that bind an easy handle to these */
void sockets_wake_at(struct http_sockets *sockets, uint64_t at, uint64_t now); /* both clock_monotonic_ms() */

/* Takes a connected socket over from curl: event() hears of it from now on. events: UV_READABLE, UV_WRITABLE;
 * both after an error. NULL where the socket is not one that curl opened through here. */
typedef void socket_event(void *ctx, int events);
struct socket_watch *sockets_take(struct http_sockets *sockets, int fd, socket_event *event, void *ctx);
void watch_want(struct socket_watch *watch, int events);
/* Closes a socket that was taken over, if curl has not done so. */
void sockets_drop(struct http_sockets *sockets, int fd, struct socket_watch *watch);

/* --- http_client_connect.c --------------------------------------------------------------------- */

/* scheme://host[:port] of a URL. */
struct origin {
    struct origin *next;
    struct connection *idle, *oldest; /* kept connections, the one used last first */
    unsigned connections;             /* of any state; the origin goes with the last */
    size_t len;
    char text[];
};

enum connection_state { CONNECTION_OPENING, CONNECTION_BUSY, CONNECTION_IDLE };

struct connection {
    struct http_pool *pool;
    struct origin *origin;
    struct connection *next, *prev; /* among the idle ones of its origin */
    enum connection_state state;
    CURL *easy; /* stays in the multi handle as long as the connection lives: curl closes it when it leaves */
    struct socket_watch *watch;
    int fd;
    bool tls;
    bool used; /* has carried an answer */
    uint64_t idle_since_ms;
    struct transfer *transfer; /* unless idle */
};

/* Connections and free transfers. */
struct http_pool {
    struct http_sockets *sockets;
    CURLM *multi;
    char *ca_file;
    struct origin *origins;
    unsigned idle_count, max_idle;
    CURL **easies; /* free ones; room for max_idle */
    unsigned easy_count;
    struct transfer *transfers; /* free ones */
    unsigned transfer_count;
    char *scratch;
    void (*over)(struct http_pool *pool, void *owner, enum http_outcome outcome); /* a transfer has ended */
};

/* False when out of memory; pool_free() is due in any case. */
bool pool_init(struct http_pool *pool, const struct http_client_options *options,
               struct http_sockets *sockets, CURLM *multi);
void pool_free(struct http_pool *pool); /* with no transfer under way; closes the kept connections */

/* The length of scheme://host[:port] when the URL is one that can be asked; else 0. */
size_t origin_length(const char *url);

/* Finds a kept connection for the transfer, or opens one; fresh: only the latter. Returns 0 or -ENOMEM. */
int connection_get(struct http_pool *pool, struct transfer *transfer, bool fresh);
void connection_opened(struct connection *connection, CURLcode code); /* curl says how it went */
void connection_keep(struct connection *connection);                  /* for the next request */
void connection_close(struct connection *connection);

enum { IO_AGAIN = -1, IO_LOST = -2 };
/* Both return a count of bytes > 0, or one of the above. */
ssize_t connection_send(struct connection *connection, const char *a, size_t a_len, const char *b,
                        size_t b_len);
ssize_t connection_receive(struct connection *connection, char *a, size_t a_len, char *b, size_t b_len);

/* --- http_client_exchange.c -------------------------------------------------------------------- */

#define SCRATCH_SIZE (16 * 1024)

/* What a call asks for; all of it lives as long as the call. */
struct transfer_request {
    const char *method;
    const char *url;
    char *headers[HTTP_CALL_HEADERS_MAX];
    unsigned header_count;
    const char *body;
    size_t body_len, max_body, headroom;
    bool fresh; /* not on a kept connection */
};

/* One request and its answer. Kept and reused when its call is over. */
struct transfer {
    struct transfer *next_free;
    struct http_pool *pool;
    void *owner;
    const struct transfer_request *request;
    struct connection *connection;
    struct buffer out; /* the head, and the body where it is small */
    size_t sent;
    size_t body_left_out; /* bytes of the body that are not in `out` */
    bool resent;
    bool mute; /* sending has failed; there may be an answer all the same */
    struct answer_reader reader;
};

struct transfer *transfer_get(struct http_pool *pool, const struct transfer_request *request,
                              void *owner);     /* or NULL */
void transfer_go(struct transfer *transfer);    /* may end at once: pool->over() */
void transfer_abort(struct transfer *transfer); /* nothing more is heard of it; then release it */
void transfer_release(struct http_pool *pool, struct transfer *transfer); /* accepts NULL */
void transfer_free(struct transfer *transfer);

/* For http_client_connect.c: the transfer's connection is there, could not be made, or something happened on
 * it. */
void transfer_connected(struct transfer *transfer);
void transfer_refused(struct transfer *transfer, enum http_outcome outcome);
void transfer_event(struct transfer *transfer, int events);

#endif
