/*
 * stream.h - a listener: Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html)
 * over a connection that has left libmicrohttpd.
 *
 * Why it leaves: libmicrohttpd keeps a pool of 32 KiB for every connection and walks all suspended ones
 * whenever one is resumed; a listener stays for hours and would cost every other request. Here one costs its
 * follow (telemetry_follow.h), a poll handle and what waits to be sent.
 *
 * What is written:
 *     retry: 2000            once, with the position at the beginning, so that who is cut off before the
 *     id: POSITION           first reading resumes all the same
 *
 *     event: reading | resync
 *     id: POSITION
 *     data: JSON             one line for each line of the stored text
 *
 *     : heartbeat            every TELEMETRYD_STREAM_HEARTBEAT; now and then with the id of the moment, so
 *                            that a position does not age while nothing is stored
 *
 * What waits for a listener is bounded by TELEMETRYD_STREAM_BUFFER; a single reading may be larger when
 * nothing else waits. Past that the follow is told that there is no room.
 *
 * Threads: all of one worker.
 */
#ifndef TELEMETRYD_STREAM_H
#define TELEMETRYD_STREAM_H

#include "connections.h"
#include "telemetry_follow.h"
#include "token.h"

#include <stdbool.h>
#include <stdint.h>

struct worker;
struct stream;

/* A worker's listeners; zeroed at first. */
struct streams {
    struct stream *first, *last; /* by their next heartbeat */
    struct stream *dirty;        /* have something to send at the end of the turn */
    int64_t next_expiry_s;       /* no token ends before */
};

/* Takes the follow over, and a reference to the principal (NULL: no token). request_id: for the log. NULL:
 * out of memory, and then the follow is still the caller's. */
struct stream *stream_new(struct worker *worker, struct telemetry_follow *follow, struct principal *principal,
                          const char *request_id);
void stream_free(struct stream *stream); /* one that was not started; accepts NULL */

/* Starts on a connection of CONNECTION_STREAM, which it takes over. head: the answer's head; chunked: the
 * body is sent in chunks. From here on the stream frees itself. */
void stream_start(struct stream *stream, struct connection *connection, const struct buffer *head,
                  bool chunked);

/* --- for the worker ---------------------------------------------------------------------------- */

void streams_flush(struct streams *streams);                    /* at the end of each turn */
void streams_tick(struct streams *streams, uint64_t now_ms);    /* heartbeats, ends of tokens */
void streams_end(struct streams *streams, const char *comment); /* all of them, at once */

#endif
