#include "iothub_internal.h"

#include "clock.h"
#include "grants.h"
#include "json.h"
#include "percent.h"

#include <stdlib.h>
#include <string.h>

#define LIST_KEPT_MS   30000
#define ENTRA_RESOURCE "https://iothubs.azure.net"
#define JOIN_AGAIN_MS  50 /* with less time left another read is not worth starting */

static const char probe_device[] =
    "telemetryd-readyz"; /* need not exist: that the hub says so is what is asked for */

/* --- waits ------------------------------------------------------------------------------------- */

enum asked { ASKED_STATUS, ASKED_LIST, ASKED_CHECK };

struct wait {
    struct operation op;
    struct letter letter; /* for an answer that needs no flight */
    struct iothub_registry *registry;
    struct operation *flight;
    enum asked asked;
    bool cancelled;
    uint64_t deadline_ms;
    struct grants *grants; /* of ASKED_LIST */
    union {
        device_status_cb *status;
        device_list_cb *list;
        device_check_cb *check;
    } done;
    void *ctx;
    struct iothub_question question; /* its texts are in the key */
    struct buffer key;
};

static void wait_free(struct wait *wait)
{
    grants_unref(wait->grants);
    buffer_free(&wait->key);
    free(wait);
}

static void wait_cancel(struct operation *op)
{
    struct wait *wait = (struct wait *)op;
    if (wait->flight == NULL) {
        wait->cancelled = true; /* its letter is on the way */
        return;
    }
    operation_cancel(wait->flight);
    wait_free(wait);
}

static const char *check_reason(enum upstream_status status)
{
    switch (status) {
    case UPSTREAM_OK: return NULL;
    case UPSTREAM_UNAUTHORIZED: return "the IoT hub refuses the credentials";
    case UPSTREAM_THROTTLED: return "the IoT hub is throttling";
    case UPSTREAM_TIMEOUT: return "the IoT hub does not answer in time";
    default: return "the IoT hub cannot be reached, or is not there";
    }
}

/* The page is everybody's, so what one caller may not see is left out behind it. */
static void append_granted(struct buffer *out, const struct grants *grants, const char *text, size_t len)
{
    char device_id[DEVICE_ID_MAX + 1];
    struct json_iter it = json_iter(json_root(text, len));

    buffer_append_char(out, '[');
    while (json_next(&it)) {
        if (json_string_decode(json_member(it.value, "deviceId"), device_id, sizeof device_id) < 0 ||
            !grants_has(grants, device_id))
            continue;
        if (out->len > 1)
            buffer_append_char(out, ',');
        buffer_append(out, it.value.text, it.value.len);
    }
    buffer_append_char(out, ']');
}

static void answer_list(const struct wait *wait, const struct flight_answer *answer)
{
    struct upstream_result result = answer->result;
    struct buffer granted = {0};
    struct device_list list = {
        .text = answer->text,
        .len = answer->len,
        .next = answer->next,
        .age_s = (unsigned)((clock_monotonic_ms() - answer->at_ms) / 1000),
        .max_age_s = LIST_KEPT_MS / 1000,
    };
    if (result.status == UPSTREAM_OK && wait->grants != NULL) {
        append_granted(&granted, wait->grants, answer->text, answer->len);
        list.text = granted.data;
        list.len = granted.len;
        if (granted.failed)
            result.status = UPSTREAM_NO_MEMORY;
    }
    wait->done.list(wait->ctx, &result, result.status == UPSTREAM_OK ? &list : NULL);
    buffer_free(&granted);
}

/* The last that is done with a wait. */
static void answer_wait(struct wait *wait, const struct flight_answer *answer)
{
    struct upstream_result result = answer->result;
    switch (wait->asked) {
    case ASKED_STATUS: wait->done.status(wait->ctx, &result, answer->text, answer->len); break;
    case ASKED_LIST: answer_list(wait, answer); break;
    case ASKED_CHECK:
        if (result.status == UPSTREAM_NOT_FOUND)
            result.status = UPSTREAM_OK; /* the hub answers */
        wait->done.check(wait->ctx, &result, check_reason(result.status));
        break;
    }
    wait_free(wait);
}

static bool board(struct wait *wait);

static void on_landed(void *ctx, const struct flight_answer *answer)
{
    struct wait *wait = ctx;
    wait->flight = NULL;
    /* Who joined a read late has time left when its deadline has passed. */
    if (answer->result.status == UPSTREAM_TIMEOUT &&
        clock_monotonic_ms() + JOIN_AGAIN_MS < wait->deadline_ms && board(wait))
        return;
    answer_wait(wait, answer);
}

static bool board(struct wait *wait)
{
    struct iothub_start start = {
        .registry = wait->registry, .question = &wait->question, .deadline_ms = wait->deadline_ms};
    wait->flight =
        flight_join(wait->registry->flights, wait->registry->mailbox, wait->key.data,
                    wait->asked == ASKED_LIST ? LIST_KEPT_MS : 0, iothub_start_read, &start, on_landed, wait);
    return wait->flight != NULL;
}

static struct wait *wait_new(struct device_registry *registry, enum asked asked, uint64_t deadline_ms,
                             void *ctx)
{
    struct wait *wait = malloc(sizeof *wait);
    if (wait != NULL)
        *wait = (struct wait){.op.cancel = wait_cancel,
                              .registry = (struct iothub_registry *)registry,
                              .asked = asked,
                              .deadline_ms = deadline_ms,
                              .ctx = ctx};
    return wait;
}

/* Asks for a twin; the id is the end of the key. */
static struct operation *wait_for_twin(struct wait *wait, const char *prefix, const char *device_id)
{
    buffer_append_text(&wait->key, prefix);
    buffer_append_text(&wait->key, device_id);
    if (buffer_terminate(&wait->key) == NULL)
        goto fail;
    wait->question =
        (struct iothub_question){.kind = IOTHUB_TWIN, .device_id = wait->key.data + strlen(prefix)};
    if (!board(wait))
        goto fail;
    return &wait->op;
fail:
    wait_free(wait);
    return NULL;
}

static struct operation *registry_status(struct device_registry *registry, const char *device_id,
                                         uint64_t deadline_ms, device_status_cb *done, void *ctx)
{
    struct wait *wait = wait_new(registry, ASKED_STATUS, deadline_ms, ctx);
    if (wait == NULL)
        return NULL;
    wait->done.status = done;
    return wait_for_twin(wait, "twin:", device_id);
}

static struct operation *registry_check(struct device_registry *registry, uint64_t deadline_ms,
                                        device_check_cb *done, void *ctx)
{
    struct wait *wait = wait_new(registry, ASKED_CHECK, deadline_ms, ctx);
    if (wait == NULL)
        return NULL;
    wait->done.check = done;
    return wait_for_twin(wait, "hub:", probe_device);
}

static void deliver_bad_position(struct letter *letter)
{
    struct wait *wait = (struct wait *)((char *)letter - offsetof(struct wait, letter));
    const struct flight_answer answer = {.result.status = UPSTREAM_BAD_CURSOR, .at_ms = clock_monotonic_ms()};
    if (wait->cancelled)
        wait_free(wait);
    else
        answer_wait(wait, &answer);
}

static struct operation *registry_list(struct device_registry *registry, unsigned limit, const char *position,
                                       struct grants *grants, uint64_t deadline_ms, device_list_cb *done,
                                       void *ctx)
{
    struct wait *wait = wait_new(registry, ASKED_LIST, deadline_ms, ctx);
    if (wait == NULL)
        return NULL;
    wait->done.list = done;
    wait->grants = grants_ref(grants);
    if (position != NULL && !iothub_position_valid(position)) {
        wait->letter.deliver = deliver_bad_position;
        mailbox_post(wait->registry->mailbox, &wait->letter);
        return &wait->op;
    }

    buffer_printf(&wait->key, "devices:%u:", limit);
    size_t position_at = wait->key.len;
    buffer_append_text(&wait->key, position != NULL ? position : "");
    if (buffer_terminate(&wait->key) == NULL)
        goto fail;
    wait->question =
        (struct iothub_question){.kind = IOTHUB_DEVICES,
                                 .limit = limit,
                                 .position = position != NULL ? wait->key.data + position_at : NULL};
    if (!board(wait))
        goto fail;
    return &wait->op;
fail:
    wait_free(wait);
    return NULL;
}

/* --- begin and end ----------------------------------------------------------------------------- */

static void registry_free(struct device_registry *base)
{
    struct iothub_registry *registry = (struct iothub_registry *)base;
    if (registry == NULL)
        return;
    iothub_abandon_reads(registry);
    iothub_sas_free(&registry->sas);
    buffer_free(&registry->base);
    free(registry);
}

struct device_registry *iothub_registry_new(const struct iothub_options *options, struct azure_agent *azure,
                                            struct http_client *http, struct flight_table *flights,
                                            struct mailbox *mailbox, uv_loop_t *loop, struct metrics *metrics)
{
    static const struct device_registry_ops ops = {
        .mode = "iothub",
        .status = registry_status,
        .list = registry_list,
        .check = registry_check,
        .free = registry_free,
    };
    struct iothub_registry *registry = malloc(sizeof *registry);
    if (registry == NULL)
        return NULL;
    *registry = (struct iothub_registry){
        .registry.ops = &ops,
        .hub = &options->hub,
        .http = http,
        .flights = flights,
        .mailbox = mailbox,
        .loop = loop,
        .metrics = metrics,
    };
    if (options->endpoint != NULL)
        buffer_append_text(&registry->base, options->endpoint);
    else
        buffer_printf(&registry->base, "https://%s", options->hub.host);
    bool ok = buffer_terminate(&registry->base) != NULL;
    if (options->hub.key_len == 0)
        ok = ok && azure != NULL &&
             azure_token_open(azure, ENTRA_RESOURCE, NULL, "Bearer ", &registry->token) == 0;
    if (!ok) {
        registry_free(&registry->registry);
        return NULL;
    }
    return &registry->registry;
}
