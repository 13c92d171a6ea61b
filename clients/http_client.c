/*
 * Calls: those in flight have a transfer, the others wait in a FIFO. All that happens to a call is noted
 * first; callbacks run only from http_client_turn(), when neither curl nor an exchange is on the stack.
 */
#include "clock.h"
#include "http_client_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum call_state { CALL_WAITING, CALL_IN_FLIGHT, CALL_FINISHED };

struct call {
    struct operation op;
    struct http_client *client;
    enum call_state state;
    struct call *prev, *next;  /* in the FIFO, or among the finished ones */
    struct transfer *transfer; /* from the start of its flight until its callback */
    size_t heap_index;
    enum http_outcome outcome; /* once finished */
    http_call_cb *done;
    void *ctx;
    uint64_t deadline_ms, started_us;
    struct transfer_request request;
    size_t text_size;
    char text[]; /* of its url and headers, cleared after use: credentials are among them */
};

struct call_list {
    struct call *first, *last;
};

struct http_client {
    struct http_sockets sockets;
    CURLM *multi;
    unsigned max_in_flight, max_waiting;
    unsigned in_flight, waiting, finished;
    struct call_list waiting_list, finished_list;
    struct http_pool pool;
    struct call **heap; /* waiting and flying calls; the one with the nearest deadline on top */
    size_t heap_len;
};

/* --- lists ------------------------------------------------------------------------------------- */

static void list_append(struct call_list *list, struct call *call)
{
    call->prev = list->last;
    call->next = NULL;
    if (list->last != NULL)
        list->last->next = call;
    else
        list->first = call;
    list->last = call;
}

static void list_remove(struct call_list *list, struct call *call)
{
    if (call->prev != NULL)
        call->prev->next = call->next;
    else
        list->first = call->next;
    if (call->next != NULL)
        call->next->prev = call->prev;
    else
        list->last = call->prev;
}

/* --- deadlines: a binary heap ------------------------------------------------------------------ */

static void heap_put(struct http_client *client, size_t i, struct call *call)
{
    client->heap[i] = call;
    call->heap_index = i;
}

static void heap_up(struct http_client *client, size_t i, struct call *call)
{
    while (i > 0 && client->heap[(i - 1) / 2]->deadline_ms > call->deadline_ms) {
        heap_put(client, i, client->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    heap_put(client, i, call);
}

static void heap_down(struct http_client *client, size_t i, struct call *call)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= client->heap_len)
            break;
        if (child + 1 < client->heap_len &&
            client->heap[child + 1]->deadline_ms < client->heap[child]->deadline_ms)
            child++;
        if (client->heap[child]->deadline_ms >= call->deadline_ms)
            break;
        heap_put(client, i, client->heap[child]);
        i = child;
    }
    heap_put(client, i, call);
}

static void heap_add(struct http_client *client, struct call *call)
{
    heap_up(client, client->heap_len++, call);
}

static void heap_remove(struct http_client *client, struct call *call)
{
    size_t i = call->heap_index;
    struct call *last = client->heap[--client->heap_len];
    if (last == call)
        return;
    if (i > 0 && client->heap[(i - 1) / 2]->deadline_ms > last->deadline_ms)
        heap_up(client, i, last);
    else
        heap_down(client, i, last);
}

/* --- calls ------------------------------------------------------------------------------------- */

/* Takes a flying call back; its connection is closed, for nobody knows what is still to come on it. */
static void land(struct http_client *client, struct call *call)
{
    transfer_abort(call->transfer);
    client->in_flight--;
}

static void leave_fifo(struct http_client *client, struct call *call)
{
    list_remove(&client->waiting_list, call);
    client->waiting--;
}

static void finish(struct http_client *client, struct call *call, enum http_outcome outcome)
{
    heap_remove(client, call);
    call->outcome = outcome;
    call->state = CALL_FINISHED;
    list_append(&client->finished_list, call);
    client->finished++;
}

/* Returns false when out of memory. It may be over at once. */
static bool take_off(struct http_client *client, struct call *call)
{
    call->transfer = transfer_get(&client->pool, &call->request, call);
    if (call->transfer == NULL)
        return false;
    call->state = CALL_IN_FLIGHT;
    client->in_flight++;
    transfer_go(call->transfer);
    return true;
}

static void on_over(struct http_pool *pool, void *owner, enum http_outcome outcome)
{
    struct call *call = owner;
    (void)pool;
    call->client->in_flight--;
    finish(call->client, call, outcome);
}

static void start_waiting(struct http_client *client)
{
    while (client->waiting > 0 && client->in_flight < client->max_in_flight) {
        struct call *call = client->waiting_list.first;
        leave_fifo(client, call);
        if (!take_off(client, call))
            finish(client, call, HTTP_NO_MEMORY);
    }
}

static void call_free(struct call *call)
{
    explicit_bzero(call->text, call->text_size);
    free(call);
}

static void call_cancel(struct operation *op)
{
    struct call *call = (struct call *)op;
    struct http_client *client = call->client;

    switch (call->state) {
    case CALL_WAITING:
        leave_fifo(client, call);
        heap_remove(client, call);
        break;
    case CALL_IN_FLIGHT:
        land(client, call);
        heap_remove(client, call);
        break;
    case CALL_FINISHED:
        list_remove(&client->finished_list, call);
        client->finished--;
        break;
    }
    transfer_release(&client->pool, call->transfer);
    call_free(call);
}

/* The length of all texts with their NULs, or 0 for what must not be sent. */
static size_t text_size(const struct http_call_options *options, unsigned *ret_header_count)
{
    size_t size = strlen(options->url) + 1;
    unsigned count = 0;
    while (count < HTTP_CALL_HEADERS_MAX && options->headers[count] != NULL) {
        const char *header = options->headers[count];
        size_t len = strcspn(header, "\r\n");
        if (header[len] != '\0')
            return 0;
        size += len + 1;
        count++;
    }
    *ret_header_count = count;
    return size;
}

static struct call *call_new(struct http_client *client, const struct http_call_options *options)
{
    unsigned header_count;
    size_t size = origin_length(options->url) > 0 ? text_size(options, &header_count) : 0;
    if (size == 0) {
        errno = EINVAL;
        return NULL;
    }
    struct call *call = malloc(sizeof *call + size);
    if (call == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    *call = (struct call){
        .op.cancel = call_cancel,
        .client = client,
        .text_size = size,
        .state = CALL_WAITING,
        .deadline_ms = options->deadline_ms,
        .started_us = clock_monotonic_us(),
        .request = {.method = options->method,
                    .url = call->text,
                    .header_count = header_count,
                    .body = options->body,
                    .body_len = options->body_len,
                    .max_body = options->max_body,
                    .headroom = options->headroom,
                    .fresh = options->fresh},
    };
    char *end = stpcpy(call->text, options->url) + 1;
    for (unsigned i = 0; i < header_count; i++) {
        call->request.headers[i] = end;
        end = stpcpy(end, options->headers[i]) + 1;
    }
    return call;
}

struct operation *http_call_start(struct http_client *client, const struct http_call_options *options,
                                  http_call_cb *done, void *ctx)
{
    bool at_once = client->waiting == 0 && client->in_flight < client->max_in_flight;
    if (!at_once && client->waiting >= client->max_waiting) {
        errno = EBUSY;
        return NULL;
    }
    struct call *call = call_new(client, options);
    if (call == NULL)
        return NULL;
    call->done = done;
    call->ctx = ctx;
    heap_add(client, call);
    if (!at_once) {
        list_append(&client->waiting_list, call);
        client->waiting++;
    } else if (!take_off(client, call)) {
        heap_remove(client, call);
        call_free(call);
        errno = ENOMEM;
        return NULL;
    }
    return &call->op;
}

/* --- the turn ---------------------------------------------------------------------------------- */

/* Connections that curl has made, or could not. */
static void collect_opened(struct http_client *client)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
        char *private = NULL;
        CURLcode code = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
        connection_opened((struct connection *)(void *)private, code);
    }
}

static void expire(struct http_client *client, uint64_t now)
{
    while (client->heap_len > 0 && client->heap[0]->deadline_ms <= now) {
        struct call *call = client->heap[0];
        if (call->state == CALL_WAITING)
            leave_fifo(client, call);
        else
            land(client, call);
        finish(client, call, HTTP_TIMED_OUT);
    }
}

static void call_back(struct http_client *client, struct call *call)
{
    struct http_answer answer = {.outcome = call->outcome};
    struct transfer *transfer = call->transfer;
    http_call_cb *done = call->done;
    void *ctx = call->ctx;

    if (transfer != NULL)
        answer.resent = transfer->resent;
    if (call->outcome == HTTP_ANSWERED) {
        struct answer_reader *reader = &transfer->reader;
        answer.status = reader->status;
        answer.body = reader->body;
        answer.body_start = reader->headroom;
        answer.body_len = reader->body.len - reader->headroom;
        reader->body = (struct buffer){0};
        answer.continuation = answer_kept(reader, KEPT_CONTINUATION);
        answer.request_charge = answer_kept(reader, KEPT_REQUEST_CHARGE);
        answer.substatus = answer_kept(reader, KEPT_SUBSTATUS);
        answer.retry_after_ms = answer_kept(reader, KEPT_RETRY_AFTER_MS);
        answer.retry_after = answer_kept(reader, KEPT_RETRY_AFTER);
        answer.etag = answer_kept(reader, KEPT_ETAG);
        answer.content_type = answer_kept(reader, KEPT_CONTENT_TYPE);
    }
    answer.elapsed_us = (unsigned long)(clock_monotonic_us() - call->started_us);
    call_free(call);
    done(ctx, &answer);
    buffer_free(&answer.body);
    transfer_release(&client->pool, transfer);
}

bool http_client_turn(struct http_client *client)
{
    struct http_sockets *sockets = &client->sockets;
    uint64_t now = clock_monotonic_ms();
    int running;

    expire(client, now);
    start_waiting(client);
    if (sockets->curl_at <= now) {
        sockets->curl_at = NEVER; /* curl tells again what it waits for */
        curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
    collect_opened(client);
    while (client->finished_list.first != NULL) {
        struct call *call = client->finished_list.first;
        list_remove(&client->finished_list, call);
        client->finished--;
        call_back(client, call);
    }
    start_waiting(client);

    bool more = sockets->curl_at == 0 || client->finished > 0;
    uint64_t deadline = client->heap_len > 0 ? client->heap[0]->deadline_ms : NEVER;
    sockets_wake_at(sockets, more ? 0 : deadline < sockets->curl_at ? deadline : sockets->curl_at, now);
    return more;
}

unsigned http_client_in_flight(const struct http_client *client)
{
    return client->in_flight + client->waiting + client->finished;
}

/* --- begin and end ----------------------------------------------------------------------------- */

static void client_free(struct http_client *client)
{
    pool_free(&client->pool);
    if (client->multi != NULL)
        curl_multi_cleanup(client->multi);
    free(client->heap);
}

static void on_sockets_closed(struct http_sockets *sockets)
{
    free(sockets); /* the client, whose first member they are */
    curl_global_cleanup();
}

int http_client_new(uv_loop_t *loop, const struct http_client_options *options,
                    struct http_client **ret_client)
{
    if (options->max_in_flight == 0)
        return -EINVAL;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return -ENOMEM;
    int r = -ENOMEM;
    struct http_client *client = calloc(1, sizeof *client);
    if (client == NULL)
        goto fail;
    client->max_in_flight = options->max_in_flight;
    client->max_waiting = options->max_waiting;
    client->pool.over = on_over;
    client->heap = calloc((size_t)options->max_in_flight + options->max_waiting, sizeof(struct call *));
    client->multi = curl_multi_init();
    if (client->heap == NULL || client->multi == NULL ||
        !pool_init(&client->pool, options, &client->sockets, client->multi))
        goto fail_client;
    r = sockets_init(&client->sockets, loop, client->multi, on_sockets_closed);
    if (r != 0)
        goto fail_client;
    *ret_client = client;
    return 0;

fail_client:
    client_free(client);
    free(client);
fail:
    curl_global_cleanup();
    return r;
}

void http_client_close(struct http_client *client)
{
    if (client == NULL)
        return;
    assert(http_client_in_flight(client) == 0);
    client_free(client);
    sockets_close(&client->sockets);
}
