#include "entity.h"

#include "gzip.h"
#include "negotiate.h"
#include "request.h"
#include "respond.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <xxhash.h>

#define TAG_SIZE 48

const char *const entity_json_only[] = {"application/json", NULL};

struct found {
    const char *name;
    struct buffer lines;
};

static enum MHD_Result add_line(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct found *found = cls;
    if (strcasecmp(name, found->name) == 0 && value != NULL) {
        if (found->lines.len > 0)
            buffer_append_char(&found->lines, ',');
        buffer_append_text(&found->lines, value);
    }
    return MHD_YES;
}

char *entity_request_field(const struct request *request, const char *name)
{
    struct found found = {.name = name};
    if (MHD_lookup_connection_value(request->mhd, MHD_HEADER_KIND, name) == NULL)
        return NULL;
    MHD_get_connection_values(request->mhd, MHD_HEADER_KIND, add_line, &found);
    if (buffer_terminate(&found.lines) == NULL) {
        buffer_free(&found.lines);
        return NULL;
    }
    return buffer_take(&found.lines, NULL);
}

/* A window may be kept for a minute, but not for who signs in next. */
static const char *vary(const struct request *request)
{
    return request->worker->server->key_source != NULL ? "Accept, Accept-Encoding, Authorization"
                                                       : "Accept, Accept-Encoding";
}

int entity_choose_type(struct request *request, const char *const *offered)
{
    char *accept = entity_request_field(request, "Accept");
    int chosen = negotiate_media_type(accept, offered);
    free(accept);
    if (chosen < 0)
        entity_not_acceptable(request, "There is no format that the caller accepts");
    return chosen;
}

void entity_not_acceptable(struct request *request, const char *detail)
{
    respond_problem(request,
                    &(struct problem){.code = PROBLEM_NOT_ACCEPTABLE, .target = "Accept", .detail = detail});
    respond_header(request, "Vary", vary(request));
}

static bool wants_gzip(const struct request *request, size_t len)
{
    if (len <= ENTITY_GZIP_MIN)
        return false;
    char *accept = entity_request_field(request, "Accept-Encoding");
    bool wanted = negotiate_gzip(accept);
    free(accept);
    return wanted;
}

static bool known_to_caller(const struct request *request, const char *tag)
{
    char *tags = entity_request_field(request, "If-None-Match");
    bool known = negotiate_etag_matches(tags, tag);
    free(tags);
    return known;
}

static void write_tag(const struct entity *entity, bool gzip, char tag[TAG_SIZE])
{
    XXH128_hash_t hash =
        XXH3_128bits_withSeed(entity->text->data + entity->tagged_start, entity->tagged_len, entity->variant);
    snprintf(tag, TAG_SIZE, "\"%016" PRIx64 "%016" PRIx64 "%s\"", (uint64_t)hash.high64, (uint64_t)hash.low64,
             gzip ? "-gzip" : "");
}

/* Without memory the text goes as it is. */
static bool compress(struct request *request, const struct entity *entity, struct buffer *coded)
{
    struct worker *worker = request->worker;
    if (worker->gzip == NULL)
        worker->gzip = gzip_new();
    if (worker->gzip != NULL &&
        gzip_append(worker->gzip, entity->text->data + entity->start, entity->len, coded) == 0)
        return true;
    buffer_free(coded);
    return false;
}

void entity_respond(struct request *request, const struct entity *entity)
{
    char tag[TAG_SIZE];
    struct buffer coded = {0};

    if (entity->text->failed || entity->text->data == NULL) {
        respond_text(request, 200, entity->content_type, entity->text);
        return;
    }
    bool gzip = wants_gzip(request, entity->len) && compress(request, entity, &coded);
    write_tag(entity, gzip, tag);
    /* libmicrohttpd sends no body with a 304, but its length, which must be that of the 200. */
    unsigned status = known_to_caller(request, tag) ? 304 : 200;
    if (gzip) {
        buffer_free(entity->text);
        respond_text(request, status, entity->content_type, &coded);
        respond_header(request, "Content-Encoding", "gzip");
    } else {
        respond_slice(request, status, entity->content_type, entity->text, entity->start, entity->len);
    }
    respond_header(request, "ETag", tag);
    respond_header(request, "Vary", vary(request));
    respond_header(request, "Cache-Control",
                   entity->cache_control != NULL ? entity->cache_control : "private, no-cache");
}

void entity_respond_json(struct request *request, struct buffer *text)
{
    const struct entity entity = {
        .content_type = RESPOND_JSON_TYPE, .text = text, .len = text->len, .tagged_len = text->len};
    entity_respond(request, &entity);
}
