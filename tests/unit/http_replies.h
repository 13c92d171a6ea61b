/*
 * http_replies.h - what a server may say to an HTTP client, byte for byte, and what the client is to make of
 * it.
 */
#ifndef TELEMETRYD_TEST_HTTP_REPLIES_H
#define TELEMETRYD_TEST_HTTP_REPLIES_H

#include "http_client.h"

#include <stdlib.h>
#include <string.h>

#define OK_2   "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#define KB(n)  ((n)*1024)
#define LONG_S 20000 /* ms; no test waits that long unless it fails */

/* --- the server -------------------------------------------------------------------------------- */

enum manner {
    KEEP,        /* the connection stays open */
    CLOSE,       /* it is closed after the answer */
    RESET,       /* it is reset after the answer */
    DRIP,        /* one byte at a time; stays open */
    KEEP_TRAILER /* stays open, and half a millisecond later `fill` bytes come that nobody asked for */
};

/* What is said to a request for /<index>. `fill` bytes x stand where the text has a 0x01. */
struct reply {
    const char *name;
    const char *text; /* NULL: nothing is ever said */
    size_t fill;
    enum manner manner;
    enum http_outcome outcome;
    unsigned status;
    const char *body; /* expected; NULL: fill bytes */
};

#define ANSWER(headers, body) "HTTP/1.1 200 OK\r\n" headers "\r\n" body

static const struct reply replies[] = {
    {"content-length", OK_2, 0, KEEP, HTTP_ANSWERED, 200, "ok"},
    {"content-length, then closed", OK_2, 0, CLOSE, HTTP_ANSWERED, 200, "ok"},
    {"one byte at a time", OK_2, 0, DRIP, HTTP_ANSWERED, 200, "ok"},
    {"chunked", ANSWER("Transfer-Encoding: chunked\r\n", "1\r\no\r\n1\r\nk\r\n0\r\n\r\n"), 0, KEEP,
     HTTP_ANSWERED, 200, "ok"},
    {"chunked, drip, with a trailer",
     ANSWER("Transfer-Encoding: Chunked\r\n", "2;a=b\r\nok\r\n0\r\nContent-Length: 9\r\n\r\n"), 0, DRIP,
     HTTP_ANSWERED, 200, "ok"},
    {"no content has no framing", "HTTP/1.1 204 No Content\r\n\r\n", 0, KEEP, HTTP_ANSWERED, 204, ""},
    {"not modified has no body", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", 0, KEEP,
     HTTP_ANSWERED, 304, ""},
    {"empty body", ANSWER("Content-Length: 0\r\n", ""), 0, KEEP, HTTP_ANSWERED, 200, ""},
    {"an error has a body too", "HTTP/1.1 429 Slow\r\nContent-Length: 4\r\n\r\nwait", 0, KEEP, HTTP_ANSWERED,
     429, "wait"},
    {"no reason phrase", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 0, KEEP, HTTP_ANSWERED, 200, "ok"},
    {"bare line feeds", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 0, KEEP, HTTP_ANSWERED, 200, "ok"},
    {"http/1.0 with a length", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 0, CLOSE, HTTP_ANSWERED, 200,
     "ok"},
    {"100 first", "HTTP/1.1 100 Continue\r\n\r\n" OK_2, 0, KEEP, HTTP_ANSWERED, 200, "ok"},
    {"103 with headers, then 102, drip",
     "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\nETag: early\r\n\r\nHTTP/1.1 102 "
     "Processing\r\n\r\n" OK_2,
     0, DRIP, HTTP_ANSWERED, 200, "ok"},
    {"close that is only said", ANSWER("Connection: keep-alive, Close\r\nContent-Length: 2\r\n", "ok"), 0,
     KEEP, HTTP_ANSWERED, 200, "ok"},
    {"http/1.0 that stays open", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 0, KEEP, HTTP_ANSWERED,
     200, "ok"},
    {"bytes behind the body", OK_2 OK_2, 0, KEEP, HTTP_ANSWERED, 200, "ok"},
    {"a body where none may be", "HTTP/1.1 204 No Content\r\n\r\nevil", 0, KEEP, HTTP_ANSWERED, 204, ""},
    {"bytes behind the last chunk", ANSWER("Transfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\nevil"), 0,
     KEEP, HTTP_ANSWERED, 200, "ok"},
    {"largest body", ANSWER("Content-Length: 204800\r\n", "\001"), KB(200), KEEP, HTTP_ANSWERED, 200, NULL},
    {"largest body in one chunk", ANSWER("Transfer-Encoding: chunked\r\n", "32000\r\n\001\r\n0\r\n\r\n"),
     KB(200), KEEP, HTTP_ANSWERED, 200, NULL},
    {"many headers", ANSWER("X-Fill: \001\r\nContent-Length: 2\r\n", "ok"), KB(60), KEEP, HTTP_ANSWERED, 200,
     "ok"},
    {"kept header at its bound", ANSWER("x-ms-continuation: \001\r\nContent-Length: 2\r\n", "ok"), KB(12),
     KEEP, HTTP_ANSWERED, 200, "ok"},

    {"body too long by its length", ANSWER("Content-Length: 204801\r\n", ""), 0, KEEP, HTTP_TOO_LARGE, 0,
     NULL},
    {"body too long by chunks", ANSWER("Transfer-Encoding: chunked\r\n", "32001\r\n\001\r\n0\r\n\r\n"),
     KB(200) + 1, KEEP, HTTP_TOO_LARGE, 0, NULL},
    {"length beyond any number", ANSWER("Content-Length: 99999999999999999999\r\n", ""), 0, CLOSE,
     HTTP_BROKEN, 0, NULL},

    {"closed at once", "", 0, CLOSE, HTTP_REFUSED, 0, NULL},
    {"reset at once", "", 0, RESET, HTTP_REFUSED, 0, NULL},
    {"closed within the first line", "HTTP/1.1 2", 0, CLOSE, HTTP_BROKEN, 0, NULL},
    {"closed after the status line", "HTTP/1.1 200 OK\r\n", 0, CLOSE, HTTP_BROKEN, 0, NULL},
    {"closed within the headers", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", 0, CLOSE, HTTP_BROKEN, 0, NULL},
    {"closed within a header", "HTTP/1.1 200 OK\r\nContent-Le", 0, CLOSE, HTTP_BROKEN, 0, NULL},
    {"closed after an interim answer", "HTTP/1.1 100 Continue\r\n\r\n", 0, CLOSE, HTTP_BROKEN, 0, NULL},
    {"closed within the body", ANSWER("Content-Length: 3\r\n", "ok"), 0, CLOSE, HTTP_BROKEN, 0, NULL},
    {"reset within the body", ANSWER("Content-Length: 3\r\n", "ok"), 0, RESET, HTTP_BROKEN, 0, NULL},
    {"closed within a chunk", ANSWER("Transfer-Encoding: chunked\r\n", "3\r\nok"), 0, CLOSE, HTTP_BROKEN, 0,
     NULL},
    {"closed before the last chunk", ANSWER("Transfer-Encoding: chunked\r\n", "2\r\nok\r\n"), 0, CLOSE,
     HTTP_BROKEN, 0, NULL},
    {"two lengths", ANSWER("Content-Length: 2\r\nContent-Length: 2\r\n", "ok"), 0, KEEP, HTTP_BROKEN, 0,
     NULL},
    {"two lengths that differ", ANSWER("Content-Length: 3\r\ncontent-length: 2\r\n", "ok"), 0, KEEP,
     HTTP_BROKEN, 0, NULL},
    {"two lengths in one line", ANSWER("Content-Length: 2, 2\r\n", "ok"), 0, CLOSE, HTTP_BROKEN, 0, NULL},
    {"signed length", ANSWER("Content-Length: +2\r\n", "ok"), 0, CLOSE, HTTP_BROKEN, 0, NULL},
    {"no length value", ANSWER("Content-Length:\r\n", "ok"), 0, CLOSE, HTTP_BROKEN, 0, NULL},
    {"length and chunks",
     ANSWER("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n"), 0, KEEP,
     HTTP_BROKEN, 0, NULL},
    {"two codings", ANSWER("Transfer-Encoding: gzip, chunked\r\n", "2\r\nok\r\n0\r\n\r\n"), 0, KEEP,
     HTTP_BROKEN, 0, NULL},
    {"chunks in http/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 0,
     CLOSE, HTTP_BROKEN, 0, NULL},
    {"no framing", ANSWER("", "ok"), 0, CLOSE, HTTP_BROKEN, 0, NULL},
    {"chunk size is no number", ANSWER("Transfer-Encoding: chunked\r\n", "zz\r\nok\r\n0\r\n\r\n"), 0, KEEP,
     HTTP_BROKEN, 0, NULL},
    {"chunk longer than it says", ANSWER("Transfer-Encoding: chunked\r\n", "1\r\nok\r\n0\r\n\r\n"), 0, KEEP,
     HTTP_BROKEN, 0, NULL},
    {"chunk size ends in a bare line feed", ANSWER("Transfer-Encoding: chunked\r\n", "2\nok\r\n0\r\n\r\n"), 0,
     KEEP, HTTP_BROKEN, 0, NULL},
    {"chunk size with a sign", ANSWER("Transfer-Encoding: chunked\r\n", "+2\r\nok\r\n0\r\n\r\n"), 0, KEEP,
     HTTP_BROKEN, 0, NULL},
    {"chunk size with a prefix", ANSWER("Transfer-Encoding: chunked\r\n", "0x2\r\nok\r\n0\r\n\r\n"), 0, KEEP,
     HTTP_BROKEN, 0, NULL},
    {"chunk size beyond any number",
     ANSWER("Transfer-Encoding: chunked\r\n", "ffffffffffffffff2\r\nok\r\n0\r\n\r\n"), 0, KEEP, HTTP_BROKEN,
     0, NULL},
    {"endless chunk extension", ANSWER("Transfer-Encoding: chunked\r\n", "2;\001\r\nok\r\n0\r\n\r\n"), 300,
     KEEP, HTTP_BROKEN, 0, NULL},
    {"endless line", "HTTP/1.1 200 OK\r\nX: \001", KB(80), KEEP, HTTP_BROKEN, 0, NULL},
    {"another protocol", "HTTP/1.1 101 Switching Protocols\r\n\r\n", 0, KEEP, HTTP_BROKEN, 0, NULL},
    {"folded header", ANSWER("X-A: b\r\n c\r\nContent-Length: 2\r\n", "ok"), 0, KEEP, HTTP_BROKEN, 0, NULL},
    {"blank before the colon", ANSWER("Content-Length : 2\r\nContent-Length: 2\r\n", "ok"), 0, KEEP,
     HTTP_BROKEN, 0, NULL},
    {"header without a colon", ANSWER("nonsense\r\nContent-Length: 2\r\n", "ok"), 0, KEEP, HTTP_BROKEN, 0,
     NULL},
    {"control character in a kept header", ANSWER("ETag: a\rb\r\nContent-Length: 2\r\n", "ok"), 0, KEEP,
     HTTP_BROKEN, 0, NULL},
    {"too many headers", ANSWER("X-Fill: \001\r\nContent-Length: 2\r\n", "ok"), KB(64), KEEP, HTTP_BROKEN, 0,
     NULL},
    {"kept header beyond its bound", ANSWER("x-ms-continuation: \001\r\nContent-Length: 2\r\n", "ok"),
     KB(12) + 1, KEEP, HTTP_BROKEN, 0, NULL},
    {"not http", "hello\r\n\r\n", 0, CLOSE, HTTP_BROKEN, 0, NULL},
    {"http/2 in text", "HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok", 0, CLOSE, HTTP_BROKEN, 0, NULL},
    {"status below 100", "HTTP/1.1 099 No\r\nContent-Length: 2\r\n\r\nok", 0, CLOSE, HTTP_BROKEN, 0, NULL},

    /* From here on answers for single tests, found by name. */
    {"silent", NULL, 0, KEEP, HTTP_TIMED_OUT, 0, NULL},
    {"half a body", ANSWER("Content-Length: 3\r\n", "ok"), 0, KEEP, HTTP_TIMED_OUT, 0, NULL},
    {"unasked", OK_2, 30, KEEP_TRAILER, HTTP_ANSWERED, 200, "ok"},
    {"headers",
     ANSWER("x-ms-continuation: c 1 \r\nX-MS-Request-Charge:\t2.5\r\nx-ms-substatus: "
            "1002\r\nx-ms-retry-after-ms: 7\r\n"
            "Retry-After: 3\r\nETag: \"a\"\r\nContent-Type: application/json\r\nETag: "
            "\"b\"\r\nContent-Length: 2\r\n",
            "ok"),
     0, KEEP, HTTP_ANSWERED, 200, "ok"},
};
enum { REPLIES = sizeof replies / sizeof replies[0], REPLIES_IN_TABLE = REPLIES - 4, CONNECTIONS_MAX = 256 };

static unsigned reply_index(const char *name)
{
    for (unsigned i = 0; i < REPLIES; i++)
        if (strcmp(replies[i].name, name) == 0)
            return i;
    abort();
}

#endif
