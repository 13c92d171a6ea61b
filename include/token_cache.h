/*
 * token_cache.h - tokens that this worker has verified, so that a signature is checked once and not with
 * every request.
 *
 * Found by the SHA-256 of the token's text, which is itself not kept. Bounded: TOKEN_CACHE_MAX entries, and
 * about 12 MB for the grants of all of them; the one that was not used for longest gives way. An entry is
 * gone when its token expires, and all are when the key set changed. A hit costs about a microsecond for a
 * token of 1 kB, nearly all of it the hash.
 *
 * Threads: one per worker.
 */
#ifndef TELEMETRYD_TOKEN_CACHE_H
#define TELEMETRYD_TOKEN_CACHE_H

#include "token.h"

#define TOKEN_CACHE_MAX 4096

struct token_cache;

int token_cache_new(struct token_cache **ret_cache); /* 0 or -ENOMEM */
void token_cache_free(struct token_cache *cache);    /* accepts NULL */

/* The principal (the cache's reference; take one to keep it), or NULL. generation: of the key set in use;
 * when it is not that of the last call, everything is forgotten first. */
struct principal *token_cache_find(struct token_cache *cache, const char *token, size_t len,
                                   unsigned generation, int64_t now_s);

/* Keeps a token that was just verified with the key set of that generation; takes a reference of its own. Out
 * of memory it does nothing. */
void token_cache_put(struct token_cache *cache, const char *token, size_t len, unsigned generation,
                     struct principal *principal);

#endif
