/*
 * The bytes of HTTP requests: what framing_feed() says of them must not depend on the pieces in which they
 * came, and what it lets through must be framed in one way only.
 */
#include "framing.h"
#include "fuzz.h"

#include <strings.h>

struct outcome {
    struct framing framing;
    size_t passed;
};

/* Feeds pieces whose sizes follow from `seed`; 0: all at once; 1: byte by byte. */
static struct outcome feed(const char *bytes, size_t len, uint32_t seed)
{
    struct outcome o;
    memset(&o, 0, sizeof o);
    for (size_t at = 0; at < len && !o.framing.fault;) {
        size_t piece = len - at;
        if (seed == 1)
            piece = 1;
        else if (seed != 0) {
            seed = seed * 1664525u + 1013904223u;
            size_t wanted = 1 + (seed >> 16) % (1u << (1 + (seed >> 8) % 8));
            piece = wanted < piece ? wanted : piece;
        }
        char *copy = fuzz_copy(bytes + at, piece);
        size_t n = framing_feed(&o.framing, copy, piece);
        free(copy);
        ALWAYS(n <= piece && (n == piece || o.framing.fault));
        o.passed += n;
        at += piece;
    }
    return o;
}

static void check_same(const struct outcome *whole, const struct outcome *pieces)
{
    ALWAYS(whole->framing.fault == pieces->framing.fault);
    ALWAYS(whole->framing.code == pieces->framing.code && whole->framing.detail == pieces->framing.detail);
    ALWAYS(whole->framing.state == pieces->framing.state &&
           whole->framing.body_left == pieces->framing.body_left);
    ALWAYS(whole->framing.head_len == pieces->framing.head_len &&
           whole->framing.fields == pieces->framing.fields);
    ALWAYS(framing_idle(&whole->framing) == framing_idle(&pieces->framing));
    ALWAYS(framing_in_head(&whole->framing) == framing_in_head(&pieces->framing));
    ALWAYS(whole->framing.fault ? whole->passed <= pieces->passed : whole->passed == pieces->passed);
}

static bool is_field(const char *line, size_t len, const char *name)
{
    size_t n = strlen(name);
    return len > n && line[n] == ':' && strncasecmp(line, name, n) == 0;
}

/* A head that was let through, read by the simplest parser there is. */
static void check_head(const char *head, size_t len)
{
    unsigned hosts = 0, lengths = 0, codings = 0, lines = 0;
    bool http_1_1 = false;

    ALWAYS(memchr(head, '\0', len) == NULL && len <= FRAMING_HEAD_MAX + 4);
    while (len > 0) {
        const char *end = memchr(head, '\n', len);
        ALWAYS(end != NULL && end > head && end[-1] == '\r');
        size_t line = (size_t)(end - head) - 1;
        ALWAYS(memchr(head, '\r', line) == NULL);
        if (lines++ == 0)
            http_1_1 = line > 8 && memcmp(head + line - 8, "HTTP/1.1", 8) == 0;
        else {
            const char *colon = memchr(head, ':', line);
            ALWAYS(colon != NULL && colon > head && colon[-1] != ' ' && colon[-1] != '\t');
            ALWAYS(head[0] != ' ' && head[0] != '\t');
            hosts += is_field(head, line, "host");
            lengths += is_field(head, line, "content-length");
            codings += is_field(head, line, "transfer-encoding");
        }
        len -= line + 2;
        head += line + 2;
    }
    ALWAYS(lines <= FRAMING_FIELDS_MAX + 1);
    ALWAYS(hosts == 1 || (hosts == 0 && !http_1_1));
    ALWAYS(lengths + codings <= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *bytes = (const char *)data;
    struct outcome whole = feed(bytes, size, 0);
    struct outcome single = feed(bytes, size, 1);
    struct outcome pieces =
        feed(bytes, size, (uint32_t)size * 2654435761u + (size > 0 ? data[size - 1] : 0) + 2);

    check_same(&whole, &single);
    check_same(&whole, &pieces);
    ALWAYS(!whole.framing.fault ||
           (whole.framing.detail != NULL && problem_row(whole.framing.code)->status >= 400));

    /* What was passed on is, by itself, beyond doubt; with a fault it ends between two requests. */
    struct outcome again = feed(bytes, whole.passed, 0);
    ALWAYS(!again.framing.fault && again.passed == whole.passed);
    ALWAYS(!whole.framing.fault || framing_idle(&again.framing));

    size_t start = 0;
    while (whole.passed - start >= 2 && bytes[start] == '\r' && bytes[start + 1] == '\n')
        start += 2;
    const char *end = memmem(bytes + start, whole.passed - start, "\r\n\r\n", 4);
    if (end != NULL)
        check_head(bytes + start, (size_t)(end - bytes) - start + 2);
    return 0;
}
