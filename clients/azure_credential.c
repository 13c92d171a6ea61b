#include "azure_internal.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct azure_credential {
    const struct azure_identity *identity;
    struct flight_table *flights;
    uv_mutex_t lock;
    struct azure_slot *slots[AZURE_RESOURCES_MAX]; /* they only ever become more */
    unsigned slot_count;
};

/* --- begin and end ----------------------------------------------------------------------------- */

int azure_credential_new(const struct azure_identity *identity, struct flight_table *flights,
                         struct azure_credential **ret_credential)
{
    struct azure_credential *credential = calloc(1, sizeof *credential);
    if (credential == NULL)
        return -ENOMEM;
    int r = uv_mutex_init(&credential->lock);
    if (r != 0) {
        free(credential);
        return r;
    }
    credential->identity = identity;
    credential->flights = flights;
    *ret_credential = credential;
    return 0;
}

static void drop_token(struct azure_slot *slot)
{
    if (slot->token != NULL)
        OPENSSL_cleanse(slot->token, slot->token_size);
    free(slot->token);
    slot->token = NULL;
    slot->token_size = 0;
}

static void slot_free(struct azure_slot *slot)
{
    if (slot == NULL)
        return;
    drop_token(slot);
    free(slot->resource);
    free(slot->fallback);
    free(slot->key);
    free(slot);
}

void azure_credential_free(struct azure_credential *credential)
{
    if (credential == NULL)
        return;
    for (unsigned i = 0; i < credential->slot_count; i++)
        slot_free(credential->slots[i]);
    uv_mutex_destroy(&credential->lock);
    free(credential);
}

const struct azure_identity *azure_credential_identity(const struct azure_credential *credential)
{
    return credential->identity;
}

struct flight_table *azure_credential_flights(const struct azure_credential *credential)
{
    return credential->flights;
}

/* --- slots ------------------------------------------------------------------------------------- */

static struct azure_slot *slot_new(struct azure_credential *credential, const char *resource,
                                   const char *fallback)
{
    static const char prefix[] = "azure token:";
    struct azure_slot *slot = calloc(1, sizeof *slot);
    if (slot == NULL)
        return NULL;
    slot->credential = credential;
    slot->resource = strdup(resource);
    slot->fallback = fallback != NULL ? strdup(fallback) : NULL;
    size_t key_size = sizeof prefix + strlen(resource);
    slot->key = malloc(key_size);
    if (slot->resource == NULL || slot->key == NULL || (fallback != NULL && slot->fallback == NULL)) {
        slot_free(slot);
        return NULL;
    }
    snprintf(slot->key, key_size, "%s%s", prefix, resource);
    /* A worker's empty copy is of generation 0. */
    atomic_init(&slot->generation, 1);
    atomic_init(&slot->due_ms, 0);
    return slot;
}

static struct azure_slot *find_or_add(struct azure_credential *credential, const char *resource,
                                      const char *fallback)
{
    for (unsigned i = 0; i < credential->slot_count; i++)
        if (strcmp(credential->slots[i]->resource, resource) == 0)
            return credential->slots[i];
    if (credential->slot_count == AZURE_RESOURCES_MAX) {
        errno = ENOSPC;
        return NULL;
    }
    struct azure_slot *slot = slot_new(credential, resource, fallback);
    if (slot != NULL)
        credential->slots[credential->slot_count++] = slot;
    else
        errno = ENOMEM;
    return slot;
}

struct azure_slot *azure_slot_open(struct azure_credential *credential, const char *resource,
                                   const char *fallback)
{
    uv_mutex_lock(&credential->lock);
    struct azure_slot *slot = find_or_add(credential, resource, fallback);
    uv_mutex_unlock(&credential->lock);
    return slot;
}

/* --- when to ask ------------------------------------------------------------------------------- */

static bool has_good_token(const struct azure_slot *slot, uint64_t now_ms)
{
    return slot->token != NULL && now_ms < slot->good_until_ms;
}

/* Without a token it is always due, whatever was planned when there was one. */
static bool due(struct azure_slot *slot, uint64_t now_ms)
{
    return !has_good_token(slot, now_ms) ||
           now_ms >= atomic_load_explicit(&slot->due_ms, memory_order_relaxed);
}

struct azure_outlook azure_slot_look(struct azure_slot *slot)
{
    uv_mutex_lock(&slot->credential->lock);
    struct azure_outlook outlook = {
        .failure = slot->failure,
        .failures = slot->failures,
        .retry = slot->retry,
        .patient = slot->patient,
        .under_way = slot->under_way,
        .next_ms = slot->next_ms,
    };
    uv_mutex_unlock(&slot->credential->lock);
    return outlook;
}

bool azure_slot_claim(struct azure_slot *slot, uint64_t now_ms, bool *ret_use_fallback)
{
    uv_mutex_lock(&slot->credential->lock);
    bool claimed = due(slot, now_ms) && now_ms >= slot->next_ms;
    if (claimed) {
        slot->under_way = true;
        slot->next_ms = now_ms + AZURE_PACE_MS;
        *ret_use_fallback = slot->use_fallback;
    }
    uv_mutex_unlock(&slot->credential->lock);
    return claimed;
}

bool azure_slot_due(struct azure_slot *slot, uint64_t now_ms)
{
    /* Most of the time there is a token, and the lock is not needed to see that. A dropped one sets it to 0.
     */
    if (now_ms < atomic_load_explicit(&slot->due_ms, memory_order_relaxed))
        return false;
    uv_mutex_lock(&slot->credential->lock);
    bool claimed =
        due(slot, now_ms) && !slot->under_way && now_ms >= slot->next_ms && now_ms >= slot->background_ms;
    if (claimed)
        slot->background_ms = now_ms + AZURE_BACKGROUND_MS;
    uv_mutex_unlock(&slot->credential->lock);
    return claimed;
}

/* --- what came of it --------------------------------------------------------------------------- */

/* When to renew a token that lives for so long. */
static uint64_t renew_after_ms(int64_t lifetime_s)
{
    uint64_t life = (uint64_t)lifetime_s * 1000, margin = AZURE_MARGIN_S * 1000;
    bool half = lifetime_s > AZURE_LONG_LIFE_S || life < 2 * margin;

    return half ? life / 2 : life - margin;
}

/* A token about to end is not used any more: it may end on its way. */
static uint64_t good_for_ms(int64_t lifetime_s)
{
    uint64_t life = (uint64_t)lifetime_s * 1000;

    return life - (life / 10 < 5000 ? life / 10 : 5000);
}

/* With the lock held, after a change of the token. */
static void publish(struct azure_slot *slot)
{
    atomic_fetch_add_explicit(&slot->generation, 1, memory_order_release);
}

unsigned azure_slot_take(struct azure_slot *slot, struct azure_token_answer *answer, bool use_fallback,
                         uint64_t now_ms)
{
    uv_mutex_lock(&slot->credential->lock);
    unsigned failures = slot->failures;
    drop_token(slot);
    slot->token = answer->token;
    slot->token_size = answer->token_size;
    answer->token = NULL;
    slot->good_until_ms = now_ms + good_for_ms(answer->lifetime_s);
    atomic_store_explicit(&slot->due_ms, now_ms + renew_after_ms(answer->lifetime_s), memory_order_relaxed);
    slot->use_fallback = use_fallback;
    slot->under_way = false;
    slot->failures = 0;
    slot->failure = UPSTREAM_OK;
    slot->background_ms = 0;
    publish(slot);
    uv_mutex_unlock(&slot->credential->lock);
    return failures;
}

void azure_slot_failed(struct azure_slot *slot, const struct azure_token_answer *answer, uint64_t now_ms)
{
    uv_mutex_lock(&slot->credential->lock);
    int64_t wait = ++slot->failures > 1 && answer->retry ? AZURE_PACE_FAILED_MS : AZURE_PACE_MS;
    if (answer->retry_after_ms > wait)
        wait = answer->retry_after_ms < AZURE_WAIT_MAX_MS ? answer->retry_after_ms : AZURE_WAIT_MAX_MS;
    slot->under_way = false;
    slot->next_ms = now_ms + (uint64_t)wait;
    slot->failure = answer->status;
    slot->retry = answer->retry;
    slot->patient = answer->patient;
    uv_mutex_unlock(&slot->credential->lock);
}

void azure_slot_given_up(struct azure_slot *slot)
{
    uv_mutex_lock(&slot->credential->lock);
    slot->under_way = false;
    slot->next_ms = 0;
    slot->background_ms = 0;
    uv_mutex_unlock(&slot->credential->lock);
}

void azure_slot_refused(struct azure_slot *slot, unsigned generation)
{
    uv_mutex_lock(&slot->credential->lock);
    if (slot->token != NULL && atomic_load_explicit(&slot->generation, memory_order_relaxed) == generation) {
        drop_token(slot);
        atomic_store_explicit(&slot->due_ms, 0, memory_order_relaxed);
        publish(slot);
    }
    uv_mutex_unlock(&slot->credential->lock);
}

void azure_slot_copy(struct azure_slot *slot, const char *prefix, struct buffer *out,
                     uint64_t *ret_good_until_ms, unsigned *ret_generation)
{
    azure_secret_free(out);
    uv_mutex_lock(&slot->credential->lock);
    if (slot->token != NULL && buffer_reserve(out, strlen(prefix) + slot->token_size) == 0) {
        buffer_append_text(out, prefix);
        buffer_append_text(out, slot->token);
        buffer_terminate(out);
    }
    *ret_good_until_ms = slot->good_until_ms;
    /* Without memory the copy is tried again. */
    *ret_generation = out->failed ? 0 : atomic_load_explicit(&slot->generation, memory_order_relaxed);
    uv_mutex_unlock(&slot->credential->lock);
}
