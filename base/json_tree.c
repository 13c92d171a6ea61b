#include "json_tree.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

/* Thread-local because jansson's allocator has no argument through which it could be told apart. */
static _Thread_local bool denied;

static void *watched_malloc(size_t size)
{
    void *block = malloc(size);
    denied = denied || block == NULL;
    return block;
}

static void watch(void)
{
    json_set_alloc_funcs(watched_malloc, free);
}

int json_tree_load(const char *text, size_t len, struct json_t **ret_json)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, watch);
    denied = false;
    json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    if (denied) {
        json_decref(json);
        return -ENOMEM;
    }
    if (json == NULL)
        return -EINVAL;
    *ret_json = json;
    return 0;
}
