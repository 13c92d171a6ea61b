/*
 * A fixed slab of entries, linked twice by index: in the chain of its bucket, and in the order of use. Who
 * can choose digests that share a bucket must first get such tokens verified, so chains stay short.
 */
#include "token_cache.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define DIGEST_SIZE 32
#define BUCKETS     8192u /* a power of two */
/* Grants take at most 24 bytes for each 4 of their token (`"",` in base64url): 12 MB at worst. */
#define GRANTS_TEXT_MAX (2u << 20)

typedef uint16_t slot; /* index into entries; 0 is none */

struct entry {
    unsigned char digest[DIGEST_SIZE];
    struct principal *principal;
    uint32_t grants_text; /* length of the token where it has grants, else 0 */
    slot chain;           /* the next in the bucket, or in the list of free entries */
    slot newer, older;
};

struct token_cache {
    EVP_MD *sha256;  /* fetched once, and one context: a lookup of either costs more than the */
    EVP_MD_CTX *ctx; /* hash of a short token */
    unsigned generation;
    size_t grants_text; /* sum over all entries */
    slot newest, oldest, free;
    slot buckets[BUCKETS];
    struct entry entries[TOKEN_CACHE_MAX + 1]; /* the first is not used */
};

_Static_assert(TOKEN_CACHE_MAX < UINT16_MAX, "a slot is 16 bits");

int token_cache_new(struct token_cache **ret_cache)
{
    struct token_cache *cache = calloc(1, sizeof *cache);
    if (cache == NULL)
        return -ENOMEM;
    cache->sha256 = EVP_MD_fetch(NULL, "SHA2-256", NULL);
    cache->ctx = EVP_MD_CTX_new();
    if (cache->sha256 == NULL || cache->ctx == NULL) {
        token_cache_free(cache);
        return -ENOMEM;
    }
    for (slot i = TOKEN_CACHE_MAX; i > 0; i--) {
        cache->entries[i].chain = cache->free;
        cache->free = i;
    }
    *ret_cache = cache;
    return 0;
}

static bool digest_of(struct token_cache *cache, const char *token, size_t len, unsigned char *out)
{
    return len <= TOKEN_MAX && EVP_DigestInit_ex2(cache->ctx, cache->sha256, NULL) == 1 &&
           EVP_DigestUpdate(cache->ctx, token, len) == 1 && EVP_DigestFinal_ex(cache->ctx, out, NULL) == 1;
}

/* --- the links --------------------------------------------------------------------------------- */

static slot *bucket_of(struct token_cache *cache, const unsigned char *digest)
{
    return &cache->buckets[(digest[0] | (unsigned)digest[1] << 8) & (BUCKETS - 1)];
}

/* Where the entry is linked in its chain, or the chain's end. */
static slot *look_up(struct token_cache *cache, const unsigned char *digest)
{
    slot *at = bucket_of(cache, digest);
    while (*at != 0 && memcmp(cache->entries[*at].digest, digest, DIGEST_SIZE) != 0)
        at = &cache->entries[*at].chain;
    return at;
}

static void unlink_use(struct token_cache *cache, slot i)
{
    const struct entry *entry = &cache->entries[i];
    *(entry->newer != 0 ? &cache->entries[entry->newer].older : &cache->newest) = entry->older;
    *(entry->older != 0 ? &cache->entries[entry->older].newer : &cache->oldest) = entry->newer;
}

static void link_newest(struct token_cache *cache, slot i)
{
    cache->entries[i].newer = 0;
    cache->entries[i].older = cache->newest;
    *(cache->newest != 0 ? &cache->entries[cache->newest].newer : &cache->oldest) = i;
    cache->newest = i;
}

/* at: where it is linked in its chain. */
static void drop(struct token_cache *cache, slot *at)
{
    slot i = *at;
    struct entry *entry = &cache->entries[i];

    *at = entry->chain;
    unlink_use(cache, i);
    principal_unref(entry->principal);
    cache->grants_text -= entry->grants_text;
    entry->principal = NULL;
    entry->chain = cache->free;
    cache->free = i;
}

static void drop_oldest(struct token_cache *cache)
{
    drop(cache, look_up(cache, cache->entries[cache->oldest].digest));
}

static void drop_all(struct token_cache *cache)
{
    while (cache->oldest != 0)
        drop_oldest(cache);
}

void token_cache_free(struct token_cache *cache)
{
    if (cache == NULL)
        return;
    drop_all(cache);
    EVP_MD_CTX_free(cache->ctx);
    EVP_MD_free(cache->sha256);
    free(cache);
}

/* --- finding and keeping ----------------------------------------------------------------------- */

static void follow(struct token_cache *cache, unsigned generation)
{
    if (cache->generation != generation)
        drop_all(cache);
    cache->generation = generation;
}

struct principal *token_cache_find(struct token_cache *cache, const char *token, size_t len,
                                   unsigned generation, int64_t now_s)
{
    unsigned char digest[DIGEST_SIZE];

    follow(cache, generation);
    if (cache->newest == 0 || !digest_of(cache, token, len, digest))
        return NULL;
    slot *at = look_up(cache, digest), i = *at;
    if (i == 0)
        return NULL;
    if (!principal_current(cache->entries[i].principal, now_s)) {
        drop(cache, at);
        return NULL;
    }
    if (i != cache->newest) {
        unlink_use(cache, i);
        link_newest(cache, i);
    }
    return cache->entries[i].principal;
}

void token_cache_put(struct token_cache *cache, const char *token, size_t len, unsigned generation,
                     struct principal *principal)
{
    unsigned char digest[DIGEST_SIZE];
    uint32_t grants_text = principal->grants != NULL ? (uint32_t)len : 0;

    follow(cache, generation);
    if (!digest_of(cache, token, len, digest))
        return;
    slot *at = look_up(cache, digest);
    if (*at != 0)
        drop(cache, at);
    while (cache->free == 0 || cache->grants_text + grants_text > GRANTS_TEXT_MAX)
        drop_oldest(cache);
    slot i = cache->free, *bucket = bucket_of(cache, digest);
    struct entry *entry = &cache->entries[i];
    cache->free = entry->chain;
    memcpy(entry->digest, digest, sizeof entry->digest);
    entry->principal = principal_ref(principal);
    entry->grants_text = grants_text;
    entry->chain = *bucket;
    *bucket = i;
    link_newest(cache, i);
    cache->grants_text += grants_text;
}
