#include "key_internal.h"

#include "jwk_set.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct key_fetch {
    struct operation op;
    struct letter
        letter; /* a file is read when it is delivered, since an operation ends later than it began */
    struct key_fetch_options options;
    struct operation *call;
    char *url;
    bool discovering;
    bool discovered;
    bool cancelled; /* while the letter is on its way */
    key_fetch_cb *done;
    void *ctx;
};

static void fetch_free(struct key_fetch *fetch)
{
    free(fetch->url);
    free(fetch);
}

static void fetch_cancel(struct operation *op)
{
    struct key_fetch *fetch = (struct key_fetch *)op;

    if (fetch->call == NULL) {
        fetch->cancelled = true;
        return;
    }
    operation_cancel(fetch->call);
    fetch_free(fetch);
}

static void finish(struct key_fetch *fetch, struct key_fetch_result *result)
{
    result->url = fetch->url;
    result->jwks_uri = fetch->discovered ? fetch->url : NULL;
    fetch->done(fetch->ctx, result);
    fetch_free(fetch);
}

/* --- a file ------------------------------------------------------------------------------------ */

static const char *read_all(int fd, char *text, size_t *ret_len)
{
    size_t len = 0;
    for (;;) {
        ssize_t n = read(fd, text + len, JWK_SET_TEXT_MAX + 1 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return "unreadable";
        len += (size_t)n;
        if (len > JWK_SET_TEXT_MAX)
            return "too large";
        if (n == 0)
            break;
    }
    *ret_len = len;
    return NULL;
}

const char *key_fetch_file(const char *path, char **ret_text, size_t *ret_len)
{
    /* Not blocking: opening a FIFO would wait for its writer. */
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? "no such file" : "unreadable";
    struct stat info;
    char *text = NULL;
    const char *fault = NULL;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        fault = "not a regular file";
    else if ((text = malloc(JWK_SET_TEXT_MAX + 1)) == NULL)
        fault = "out of memory";
    else
        fault = read_all(fd, text, ret_len);
    close(fd);
    if (fault != NULL)
        free(text);
    else
        *ret_text = text;
    return fault;
}

static void on_letter(struct letter *letter)
{
    struct key_fetch *fetch = (struct key_fetch *)((char *)letter - offsetof(struct key_fetch, letter));
    struct key_fetch_result result = {0};
    char *text = NULL;

    if (fetch->cancelled) {
        fetch_free(fetch);
        return;
    }
    result.fault = key_fetch_file(fetch->options.jwks, &text, &result.len);
    result.text = text;
    finish(fetch, &result);
    free(text);
}

/* --- over HTTP --------------------------------------------------------------------------------- */

static const char *fault_of(const struct http_answer *answer)
{
    switch (answer->outcome) {
    case HTTP_REFUSED: return "no connection";
    case HTTP_BROKEN: return "broken answer";
    case HTTP_TIMED_OUT: return "timeout";
    case HTTP_TOO_LARGE: return "too large";
    case HTTP_NO_MEMORY: return "out of memory";
    case HTTP_ANSWERED: break;
    }
    if (answer->status == 200)
        return NULL;
    return answer->status >= 300 && answer->status < 400 ? "redirect" : "status";
}

static bool ask(struct key_fetch *fetch);

static void on_answer(void *ctx, struct http_answer *answer)
{
    struct key_fetch *fetch = ctx;
    struct key_fetch_result result = {.status = answer->status, .fault = fault_of(answer)};
    const char *text = result.fault == NULL ? answer->body.data + answer->body_start : NULL;

    fetch->call = NULL;
    metrics_upstream(fetch->options.metrics, "issuer", fetch->discovering ? "discovery" : "keys",
                     answer->status, answer->elapsed_us);
    if (fetch->discovering && result.fault == NULL) {
        char *uri;
        result.fault = key_discovery_read(text, answer->body_len, fetch->options.issuer, &uri);
        if (result.fault == NULL) {
            free(fetch->url);
            fetch->url = uri;
            fetch->discovering = false;
            fetch->discovered = true;
            if (ask(fetch))
                return;
            result = (struct key_fetch_result){.fault = "too much in flight"};
        }
    }
    if (result.fault == NULL) {
        result.text = text;
        result.len = answer->body_len;
    }
    finish(fetch, &result);
}

static bool ask(struct key_fetch *fetch)
{
    const struct http_call_options call = {
        .method = "GET",
        .url = fetch->url,
        .headers = {"Accept: application/json"},
        .max_body = JWK_SET_TEXT_MAX,
        /* The last fetch was a minute ago or a day: what was kept since then would be dead. */
        .fresh = !fetch->discovered,
        .deadline_ms = fetch->options.deadline_ms,
    };
    fetch->call = http_call_start(fetch->options.http, &call, on_answer, fetch);
    return fetch->call != NULL;
}

bool key_fetch_is_url(const char *jwks)
{
    return strncmp(jwks, "https://", 8) == 0 || strncmp(jwks, "http://", 7) == 0;
}

static bool begin(struct key_fetch *fetch)
{
    const struct key_fetch_options *options = &fetch->options;

    if (options->jwks[0] != '\0' && !key_fetch_is_url(options->jwks)) {
        mailbox_post(options->mailbox, &fetch->letter);
        return true;
    }
    fetch->discovering = options->jwks[0] == '\0' && options->jwks_uri == NULL;
    if (fetch->discovering)
        fetch->url = key_discovery_url(options->issuer);
    else
        fetch->url = strdup(options->jwks[0] != '\0' ? options->jwks : options->jwks_uri);
    return fetch->url != NULL && ask(fetch);
}

struct operation *key_fetch_start(const struct key_fetch_options *options, key_fetch_cb *done, void *ctx)
{
    struct key_fetch *fetch = calloc(1, sizeof *fetch);
    if (fetch == NULL)
        return NULL;
    fetch->op.cancel = fetch_cancel;
    fetch->letter.deliver = on_letter;
    fetch->options = *options;
    fetch->done = done;
    fetch->ctx = ctx;
    if (begin(fetch))
        return &fetch->op;
    fetch_free(fetch);
    return NULL;
}
