/* curl's easy handles: what is set once, what is set for each call, and the pool of those that are free. */
#include "http_client_internal.h"

#include <stdlib.h>
#include <string.h>

#define CONNECT_TIMEOUT_MS 5000L
/* One read takes that much. A page of readings is 100 kB, and each further read costs a turn of the loop. */
#define READ_BUFFER_SIZE (128L * 1024)

/* Without this header curl announces large bodies and waits for a 100 before it sends them. */
static char no_expect[] = "Expect:";

static size_t on_header(char *line, size_t size, size_t count, void *ctx) {
    struct transfer *transfer = ctx;
    return answer_header(&transfer->reader, line, size * count) ? size * count : 0;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *ctx) {
    struct transfer *transfer = ctx;
    return answer_body(&transfer->reader, bytes, size * count) ? size * count : 0;
}

/* Called before each time the request is sent. When a kept connection turns out to be dead, curl sends the
 * request again, up to five times while it finds other kept ones; on a fresh connection it does so once. */
static int on_send(void *ctx, char *remote_ip, char *local_ip, int remote_port, int local_port) {
    struct transfer *transfer = ctx;
    (void)remote_ip, (void)local_ip, (void)remote_port, (void)local_port;

    transfer->sends++;
    curl_easy_setopt(transfer->easy, CURLOPT_FRESH_CONNECT, 1L);
    return CURL_PREREQFUNC_OK;
}

static bool set_once(const struct transfer_pool *pool, struct transfer *transfer) {
    static const struct {
        CURLoption option;
        long value;
    } numbers[] = {
        {CURLOPT_NOSIGNAL, 1},
        {CURLOPT_NOPROGRESS, 1},
        {CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
        {CURLOPT_FOLLOWLOCATION, 0},
        {CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS},
        {CURLOPT_TCP_NODELAY, 1},
        {CURLOPT_TCP_KEEPALIVE, 1},
        {CURLOPT_BUFFERSIZE, READ_BUFFER_SIZE},
        {CURLOPT_HTTP_CONTENT_DECODING, 0},
        {CURLOPT_SUPPRESS_CONNECT_HEADERS, 1},
        {CURLOPT_PATH_AS_IS, 1},
        {CURLOPT_DISALLOW_USERNAME_IN_URL, 1},
        /* Otherwise giving up a transfer waits for the name resolver's thread, and the loop with it. */
        {CURLOPT_QUICK_EXIT, 1},
    };
    CURL *easy = transfer->easy;

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (curl_easy_setopt(easy, numbers[i].option, numbers[i].value) != CURLE_OK)
            return false;
    if (curl_easy_setopt(easy, CURLOPT_PROXY, "") != CURLE_OK ||
        curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") != CURLE_OK ||
        (pool->ca_file != NULL && curl_easy_setopt(easy, CURLOPT_CAINFO, pool->ca_file) != CURLE_OK))
        return false;
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_send);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
    sockets_adopt(pool->sockets, easy);
    return true;
}

static void transfer_free(struct transfer *transfer) {
    if (transfer == NULL)
        return;
    curl_easy_cleanup(transfer->easy);
    answer_free(&transfer->reader);
    free(transfer);
}

struct transfer *transfer_get(struct transfer_pool *pool) {
    struct transfer *transfer = pool->idle;
    if (transfer != NULL) {
        pool->idle = transfer->next_idle;
        pool->idle_count--;
        return transfer;
    }
    transfer = calloc(1, sizeof *transfer);
    if (transfer == NULL)
        return NULL;
    transfer->easy = curl_easy_init();
    if (transfer->easy == NULL || !set_once(pool, transfer)) {
        transfer_free(transfer);
        return NULL;
    }
    return transfer;
}

void transfer_release(struct transfer_pool *pool, struct transfer *transfer) {
    if (transfer == NULL)
        return;
    buffer_free(&transfer->reader.body);
    if (pool->idle_count >= pool->max_idle) {
        transfer_free(transfer);
        return;
    }
    transfer->next_idle = pool->idle;
    pool->idle = transfer;
    pool->idle_count++;
}

static bool set_method(struct transfer *transfer, const struct transfer_request *request) {
    CURL *easy = transfer->easy;
    bool get = strcmp(request->method, "GET") == 0, post = strcmp(request->method, "POST") == 0;
    bool head = strcmp(request->method, "HEAD") == 0;
    bool with_body = !head && (request->body != NULL || post || strcmp(request->method, "PUT") == 0 ||
                               strcmp(request->method, "PATCH") == 0);

    curl_easy_setopt(easy, CURLOPT_NOBODY, (long)head);
    if (with_body) {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_len);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body != NULL ? request->body : "");
    } else if (!head) {
        curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    }
    bool custom = !head && (with_body ? !post : !get);
    if (!custom && !transfer->custom_method)
        return true;
    transfer->custom_method = custom;
    return curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, custom ? request->method : NULL) == CURLE_OK;
}

/* Sets what differs from call to call; the rest stays from set_once(). */
bool transfer_set(struct transfer *transfer, const struct transfer_request *request, void *owner) {
    CURL *easy = transfer->easy;
    struct curl_slist *header = transfer->headers;

    *header = (struct curl_slist){.data = no_expect};
    for (unsigned i = 0; i < request->header_count; i++) {
        header->next = header + 1;
        *++header = (struct curl_slist){.data = request->headers[i]};
    }
    transfer->sends = 0;
    answer_begin(&transfer->reader, strcmp(request->method, "HEAD") == 0, request->max_body,
                 request->headroom);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers);
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, request->fresh ? 1L : 0L);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, owner);
    return curl_easy_setopt(easy, CURLOPT_URL, request->url) == CURLE_OK && set_method(transfer, request);
}

bool transfer_pool_init(struct transfer_pool *pool, const struct http_client_options *options,
                        struct http_sockets *sockets) {
    *pool = (struct transfer_pool){.max_idle = options->max_in_flight, .sockets = sockets};
    if (options->ca_file != NULL)
        pool->ca_file = strdup(options->ca_file);
    return options->ca_file == NULL || pool->ca_file != NULL;
}

void transfer_pool_free(struct transfer_pool *pool) {
    struct transfer *transfer;
    while ((transfer = pool->idle) != NULL) {
        pool->idle = transfer->next_idle;
        transfer_free(transfer);
    }
    pool->idle_count = 0;
    free(pool->ca_file);
    pool->ca_file = NULL;
}
