#include "cosmos_internal.h"

#include "json_tree.h"
#include "percent.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    REASONS_MAX = 8,
    REASON_SIZE = 256,
};

/* The partition keys that we fill, as a container's definition names them. */
static const struct {
    const char *path, *property;
} partition_keys[] = {{"/deviceId", "deviceId"}, {"/partitionKey", "partitionKey"}};

struct cosmos_account {
    struct cosmos_account_settings settings;
    bool allow_http;
    char *container_path, *container_link, *docs_path, *ranges_path;
    struct flight_table *flights;
    struct cosmos_feed *feed;

    atomic_uint generation;     /* of view; raised under the lock whenever view changes */
    _Atomic int64_t last_stamp; /* microseconds */

    uv_mutex_t lock; /* guards what follows */
    struct cosmos_view view;
    uint64_t account_tried_ms;  /* when somebody last set out to read the account document */
    char *reasons[REASONS_MAX]; /* texts given out; kept, since nobody says when he has done with one */
};

static char *join_path(const char *database, const char *container, bool encode, const char *lead,
                       const char *tail)
{
    struct buffer b = {0};

    buffer_append_text(&b, lead);
    buffer_append_text(&b, "dbs/");
    if (encode)
        percent_encode(&b, database, strlen(database));
    else
        buffer_append_text(&b, database);
    buffer_append_text(&b, "/colls/");
    if (encode)
        percent_encode(&b, container, strlen(container));
    else
        buffer_append_text(&b, container);
    buffer_append_text(&b, tail);
    return buffer_take(&b, NULL);
}

int cosmos_account_new(const struct cosmos_options *options, struct flight_table *flights,
                       struct cosmos_account **ret_account)
{
    struct cosmos_account *account = calloc(1, sizeof *account);
    if (account == NULL)
        return -ENOMEM;
    int r = uv_mutex_init(&account->lock);
    if (r != 0) {
        free(account);
        return r;
    }
    account->settings = options->account;
    account->allow_http = options->allow_http;
    account->flights = flights;
    account->container_path = join_path(options->database, options->container, true, "/", "");
    account->container_link = join_path(options->database, options->container, false, "", "");
    account->docs_path = join_path(options->database, options->container, true, "/", "/docs");
    account->ranges_path = join_path(options->database, options->container, true, "/", "/pkranges");
    if (account->container_path == NULL || account->container_link == NULL || account->docs_path == NULL ||
        account->ranges_path == NULL || cosmos_feed_new(options->feed_interval_ms, &account->feed) != 0) {
        cosmos_account_free(account);
        return -ENOMEM;
    }

    struct cosmos_view *view = &account->view;
    _Static_assert(sizeof view->endpoints[0].url >= sizeof options->account.endpoint, "an endpoint must fit");
    memcpy(view->endpoints[0].url, options->account.endpoint, sizeof options->account.endpoint);
    view->endpoints[0].readable = true;
    view->endpoint_count = 1;
    view->generation = 1; /* a store's zeroed copy is of generation 0 */
    atomic_init(&account->generation, 1);
    *ret_account = account;
    return 0;
}

void cosmos_account_free(struct cosmos_account *account)
{
    if (account == NULL)
        return;
    for (unsigned i = 0; i < REASONS_MAX; i++)
        free(account->reasons[i]);
    free(account->container_path);
    free(account->container_link);
    free(account->docs_path);
    free(account->ranges_path);
    cosmos_feed_free(account->feed);
    uv_mutex_destroy(&account->lock);
    OPENSSL_cleanse(&account->settings, sizeof account->settings);
    free(account);
}

struct cosmos_names cosmos_account_names(const struct cosmos_account *account)
{
    return (struct cosmos_names){
        .settings = &account->settings,
        .container_path = account->container_path,
        .container_link = account->container_link,
        .docs_path = account->docs_path,
        .ranges_path = account->ranges_path,
        .flights = account->flights,
        .feed = account->feed,
    };
}

/* --- the view ---------------------------------------------------------------------------------- */

void cosmos_account_view(struct cosmos_account *account, struct cosmos_view *view)
{
    if (atomic_load_explicit(&account->generation, memory_order_acquire) == view->generation)
        return;
    uv_mutex_lock(&account->lock);
    *view = account->view;
    uv_mutex_unlock(&account->lock);
}

/* With the lock held, after a change. */
static void publish(struct cosmos_account *account)
{
    account->view.generation++;
    atomic_store_explicit(&account->generation, account->view.generation, memory_order_release);
}

static struct cosmos_endpoint *find_endpoint(struct cosmos_view *view, const char *url)
{
    for (unsigned i = 0; i < view->endpoint_count; i++)
        if (strcmp(view->endpoints[i].url, url) == 0)
            return &view->endpoints[i];
    return NULL;
}

void cosmos_account_region_failed(struct cosmos_account *account, const char *url, uint64_t now_ms)
{
    uv_mutex_lock(&account->lock);
    struct cosmos_endpoint *endpoint = find_endpoint(&account->view, url);
    if (endpoint != NULL) {
        endpoint->unavailable_until_ms = now_ms + COSMOS_UNAVAILABLE_MS;
        publish(account);
    }
    uv_mutex_unlock(&account->lock);
}

void cosmos_account_writes_moved(struct cosmos_account *account)
{
    uv_mutex_lock(&account->lock);
    if (!account->view.writes_moved) {
        account->view.writes_moved = true;
        publish(account);
    }
    uv_mutex_unlock(&account->lock);
}

static bool available(const struct cosmos_endpoint *endpoint, uint64_t now_ms)
{
    return now_ms >= endpoint->unavailable_until_ms;
}

/* The configured endpoint comes first: an account may advertise addresses that cannot be reached from here
 * (an emulator, a private link). Where every region is unavailable, the order is as if none was. */
static unsigned read_endpoint(const struct cosmos_view *view, uint64_t now_ms)
{
    for (unsigned i = 0; i < view->endpoint_count; i++)
        if (view->endpoints[i].readable && available(&view->endpoints[i], now_ms))
            return i;
    return 0;
}

/* Writes have two names for one region: the configured endpoint, and what the account document calls it. */
static unsigned write_endpoint(const struct cosmos_view *view, uint64_t now_ms)
{
    unsigned first = view->writes_moved ? view->write_region : 0;
    unsigned second = view->writes_moved ? 0 : view->write_region;
    bool use_second =
        !available(&view->endpoints[first], now_ms) && available(&view->endpoints[second], now_ms);
    return use_second ? second : first;
}

unsigned cosmos_view_endpoint(const struct cosmos_view *view, bool write, uint64_t now_ms)
{
    return write ? write_endpoint(view, now_ms) : read_endpoint(view, now_ms);
}

bool cosmos_view_another(const struct cosmos_view *view, bool write, const char *failed, uint64_t now_ms)
{
    for (unsigned i = 0; i < view->endpoint_count; i++) {
        const struct cosmos_endpoint *endpoint = &view->endpoints[i];
        bool fits = write ? i == 0 || i == view->write_region : endpoint->readable;
        if (fits && available(endpoint, now_ms) && strcmp(endpoint->url, failed) != 0)
            return true;
    }
    return false;
}

/* --- the account document ---------------------------------------------------------------------- */

/* Adds one advertised location unless it cannot be used: not https (nor http where that is allowed), or one
 * too many. */
static void add_location(const struct cosmos_account *account, struct cosmos_view *view, json_t *location,
                         bool write)
{
    const char *advertised = json_string_value(json_object_get(location, "databaseAccountEndpoint"));
    char url[COSMOS_URL_SIZE], message[128];

    if (advertised == NULL ||
        !upstream_url_check(advertised, account->allow_http, url, sizeof url, message, sizeof message))
        return;
    struct cosmos_endpoint *endpoint = find_endpoint(view, url);
    if (endpoint == NULL) {
        /* The last place is the write region's, however many regions there are to read from. */
        if (view->endpoint_count == COSMOS_REGIONS_MAX + (write ? 1 : 0))
            return;
        endpoint = &view->endpoints[view->endpoint_count++];
        *endpoint = (struct cosmos_endpoint){0};
        memcpy(endpoint->url, url, strlen(url) + 1);
    }
    if (write)
        view->write_region = (unsigned)(endpoint - view->endpoints);
    else
        endpoint->readable = true;
}

/* Rebuilds the regions from a document; what is known of an endpoint's availability stays known. */
static void take_locations(const struct cosmos_account *account, struct cosmos_view *view, json_t *writable,
                           json_t *readable)
{
    const struct cosmos_view *before = &account->view;
    size_t i;
    json_t *location;

    view->endpoint_count = 1;
    view->write_region = 0;
    json_array_foreach(readable, i, location) add_location(account, view, location, false);
    add_location(account, view, json_array_get(writable, 0), true);
    for (unsigned k = 1; k < view->endpoint_count; k++)
        for (unsigned old = 1; old < before->endpoint_count; old++)
            if (strcmp(view->endpoints[k].url, before->endpoints[old].url) == 0)
                view->endpoints[k].unavailable_until_ms = before->endpoints[old].unavailable_until_ms;
}

bool cosmos_account_take_document(struct cosmos_account *account, const char *text, size_t len,
                                  uint64_t now_ms)
{
    json_t *document = NULL;
    json_tree_load(text, len, &document);
    json_t *writable = json_object_get(document, "writableLocations");
    json_t *readable = json_object_get(document, "readableLocations");
    bool ok = json_is_array(writable) && json_is_array(readable);

    if (ok) {
        uv_mutex_lock(&account->lock);
        struct cosmos_view view = account->view;
        take_locations(account, &view, writable, readable);
        view.account_at_ms = now_ms;
        account->view = view;
        publish(account);
        uv_mutex_unlock(&account->lock);
    }
    json_decref(document);
    return ok;
}

bool cosmos_account_claim_refresh(struct cosmos_account *account, uint64_t now_ms)
{
    uv_mutex_lock(&account->lock);
    uint64_t read = account->view.account_at_ms, tried = account->account_tried_ms;
    bool claimed = (read == 0 || now_ms - read >= COSMOS_ACCOUNT_AGE_MS) &&
                   (tried == 0 || now_ms - tried >= COSMOS_RECHECK_MS);
    if (claimed)
        account->account_tried_ms = now_ms;
    uv_mutex_unlock(&account->lock);
    return claimed;
}

/* --- the container's definition ---------------------------------------------------------------- */

/* With the lock held. Returns a text that lives as long as the account. */
static const char *keep_reason(struct cosmos_account *account, const char *reason)
{
    for (unsigned i = 0; i < REASONS_MAX; i++) {
        if (account->reasons[i] == NULL)
            account->reasons[i] = strdup(reason);
        if (account->reasons[i] != NULL && strcmp(account->reasons[i], reason) == 0)
            return account->reasons[i];
    }
    return "the container's partition key is neither /deviceId nor /partitionKey";
}

static void set_container(struct cosmos_account *account, enum cosmos_container_state state,
                          const char *partition_key, const char *reason, uint64_t now_ms)
{
    uv_mutex_lock(&account->lock);
    struct cosmos_view *view = &account->view;
    view->container = state;
    view->container_at_ms = now_ms;
    view->partition_key = partition_key;
    view->reason = reason != NULL ? keep_reason(account, reason) : NULL;
    publish(account);
    uv_mutex_unlock(&account->lock);
}

/* "the container's partition key is /a, /b; .." in printable ASCII. */
static void describe_paths(json_t *paths, const char *kind, char out[REASON_SIZE])
{
    struct buffer b = {0};
    size_t i;
    json_t *path;

    json_array_foreach(paths, i, path)
    {
        const char *text = json_string_value(path);
        buffer_append_text(&b, i > 0 ? ", " : "");
        buffer_append_text(&b, text != NULL ? text : "?");
        if (b.len > REASON_SIZE / 2)
            break;
    }
    const char *named = buffer_terminate(&b);
    snprintf(out, REASON_SIZE,
             "the container's partition key is %.150s%s; it must be /deviceId or /partitionKey",
             named != NULL && *named != '\0' ? named : "missing",
             strcmp(kind, "Hash") == 0 ? "" : " (not of kind Hash)");
    for (char *c = out; *c != '\0'; c++)
        if (*c < 0x20 || *c > 0x7e)
            *c = '?';
    buffer_free(&b);
}

bool cosmos_account_take_container(struct cosmos_account *account, const char *text, size_t len,
                                   uint64_t now_ms)
{
    json_t *definition = NULL;
    json_tree_load(text, len, &definition);
    if (!json_is_object(definition)) {
        json_decref(definition);
        return false;
    }
    json_t *key = json_object_get(definition, "partitionKey");
    json_t *paths = json_object_get(key, "paths");
    const char *kind = json_string_value(json_object_get(key, "kind"));
    const char *only = json_array_size(paths) == 1 ? json_string_value(json_array_get(paths, 0)) : NULL;
    const char *property = NULL;

    if (kind == NULL)
        kind = "Hash"; /* the kind of every container that does not say */
    for (size_t i = 0; i < sizeof partition_keys / sizeof partition_keys[0]; i++)
        if (only != NULL && strcmp(only, partition_keys[i].path) == 0 && strcmp(kind, "Hash") == 0)
            property = partition_keys[i].property;
    if (property != NULL) {
        set_container(account, COSMOS_CONTAINER_GOOD, property, NULL, now_ms);
    } else {
        char reason[REASON_SIZE];
        describe_paths(paths, kind, reason);
        set_container(account, COSMOS_CONTAINER_UNUSABLE, NULL, reason, now_ms);
    }
    json_decref(definition);
    return true;
}

void cosmos_account_container_missing(struct cosmos_account *account, uint64_t now_ms)
{
    set_container(account, COSMOS_CONTAINER_MISSING, NULL, "the database or the container does not exist",
                  now_ms);
}

void cosmos_account_forget_container(struct cosmos_account *account)
{
    set_container(account, COSMOS_CONTAINER_UNKNOWN, NULL, NULL, 0);
}

int64_t cosmos_account_stamp(struct cosmos_account *account, int64_t now_us, size_t count)
{
    int64_t last = atomic_load_explicit(&account->last_stamp, memory_order_relaxed);
    int64_t first;

    do {
        first = now_us > last ? now_us : last + 1;
    } while (!atomic_compare_exchange_weak_explicit(&account->last_stamp, &last, first + (int64_t)count - 1,
                                                    memory_order_relaxed, memory_order_relaxed));
    return first;
}
