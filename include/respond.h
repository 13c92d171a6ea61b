/*
 * respond.h - answers. Each function may be called once per request, from a handler or an operation's
 * callback; headers are added after it, before the step returns.
 */
#ifndef TELEMETRYD_RESPOND_H
#define TELEMETRYD_RESPOND_H

#include "buffer.h"
#include "problem.h"

#include <stddef.h>

struct request;
struct stream;

#define RESPOND_JSON_TYPE "application/json; charset=utf-8"

/* Bytes [start, start + len) of text as application/json; the text is taken over (the buffer is empty
 * afterwards). */
void respond_json(struct request *request, unsigned status, struct buffer *text, size_t start, size_t len);

/* The same for text of another type. */
void respond_slice(struct request *request, unsigned status, const char *content_type, struct buffer *text,
                   size_t start, size_t len);

/* Static text that outlives the process. */
void respond_static(struct request *request, unsigned status, const char *content_type, const char *text,
                    size_t len);

/* The whole of a text; taken over. */
void respond_text(struct request *request, unsigned status, const char *content_type, struct buffer *text);

void respond_empty(struct request *request, unsigned status);

/* 200; the connection becomes the stream's, which is taken over. For HEAD it is not started. */
void respond_stream(struct request *request, struct stream *stream);

void respond_problem(struct request *request, const struct problem *problem);
void respond_problem_code(struct request *request, enum problem_code code, const char *detail);

/* Adds a header to the answer made before; replaces Cache-Control, which is no-store unless a route says
 * otherwise. */
void respond_header(struct request *request, const char *name, const char *value);

#endif
