#include "topics.h"

#include <errno.h>
#include <search.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct topic {
    struct topic_link *first;
    char device_id[];
};

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static struct topic *find(const struct topics *topics, const char *device_id)
{
    char **found = tfind(device_id, &topics->root, compare);

    return found == NULL ? NULL : (struct topic *)(void *)(*found - offsetof(struct topic, device_id));
}

static struct topic *find_or_make(struct topics *topics, const char *device_id)
{
    struct topic *topic = find(topics, device_id);
    if (topic != NULL)
        return topic;
    size_t size = strlen(device_id) + 1;
    topic = calloc(1, sizeof *topic + size);
    if (topic == NULL)
        return NULL;
    memcpy(topic->device_id, device_id, size);
    if (tsearch(topic->device_id, &topics->root, compare) != NULL)
        return topic;
    free(topic);
    return NULL;
}

int topics_add(struct topics *topics, struct topic_link *link, const char *device_id)
{
    struct topic *topic = find_or_make(topics, device_id);
    if (topic == NULL)
        return -ENOMEM;
    *link = (struct topic_link){.topic = topic, .next = topic->first};
    if (link->next != NULL)
        link->next->prev = link;
    topic->first = link;
    return 0;
}

void topics_remove(struct topics *topics, struct topic_link *link)
{
    struct topic *topic = link->topic;
    if (topic == NULL)
        return;
    if (topics->next == link)
        topics->next = link->next;
    *(link->prev != NULL ? &link->prev->next : &topic->first) = link->next;
    if (link->next != NULL)
        link->next->prev = link->prev;
    link->topic = NULL;
    if (topic->first == NULL) {
        tdelete(topic->device_id, &topics->root, compare);
        free(topic);
    }
}

const char *topics_device(const struct topic_link *link)
{
    return link->topic->device_id;
}

void topics_each(struct topics *topics, const char *device_id,
                 void (*offer)(struct topic_link *link, void *ctx), void *ctx)
{
    const struct topic *topic = find(topics, device_id);
    topics->next = topic != NULL ? topic->first : NULL;
    while (topics->next != NULL) {
        struct topic_link *link = topics->next;
        topics->next = link->next;
        offer(link, ctx);
    }
}
