/*
 * entity.h - answers that a caller may keep: with an entity tag, in the coding that the caller takes, or 304
 * where the caller has them already (RFC 9110, 8.8.3, 12.5.3, 13.1.2).
 *
 * The tag is strong and made of what the answer says (XXH3, 128 bits, no seed: the same in every process and
 * after every restart), of its format and of its coding.
 */
#ifndef TELEMETRYD_ENTITY_H
#define TELEMETRYD_ENTITY_H

#include "buffer.h"

#include <stdbool.h>
#include <stddef.h>

struct request;

/* Bodies over this size are worth their compression. */
#define ENTITY_GZIP_MIN 1024

struct entity {
    const char *content_type;
    struct buffer *text; /* taken over */
    size_t start, len;   /* the body within it */
    /* What the tag is made of: usually the body itself. */
    size_t tagged_start, tagged_len;
    unsigned variant;          /* of the same tagged bytes: format, more to come.. */
    const char *cache_control; /* NULL: "private, no-cache" */
};

/* Answers 200, or 304 without a body. Use respond_header() afterwards as with the respond functions. */
void entity_respond(struct request *request, const struct entity *entity);

/* The whole of a JSON text. */
void entity_respond_json(struct request *request, struct buffer *text);

/* Which of `offered` the request's Accept fields like best (negotiate.h). Where there is none the request is
 * answered 406 and -1 returned. */
int entity_choose_type(struct request *request, const char *const *offered);

/* 406. */
void entity_not_acceptable(struct request *request, const char *detail);

extern const char *const entity_json_only[];

/* All lines of a request's field, joined by commas; NULL where there is none (or no memory). The text is the
 * caller's to free. */
char *entity_request_field(const struct request *request, const char *name);

#endif
