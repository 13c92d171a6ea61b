/*
 * topics.h - who on one worker follows which device.
 *
 * A topic is there as long as somebody follows its device. Links belong to those who follow; a link that is
 * zeroed is in no topic.
 */
#ifndef TELEMETRYD_TOPICS_H
#define TELEMETRYD_TOPICS_H

struct topic;

struct topic_link {
    struct topic *topic;
    struct topic_link *next, *prev;
};

/* Zeroed at first; has nothing to free when every link is removed. */
struct topics {
    void *root;
    struct topic_link *next; /* of the one that is being offered something */
};

/* 0 or -ENOMEM. */
int topics_add(struct topics *topics, struct topic_link *link, const char *device_id);
/* Does nothing to one that is in no topic. */
void topics_remove(struct topics *topics, struct topic_link *link);

/* The device of a link that is in a topic. */
const char *topics_device(const struct topic_link *link);

/* Calls offer() for everybody who follows the device. It may remove links, its own too. Not from inside of
 * itself. */
void topics_each(struct topics *topics, const char *device_id,
                 void (*offer)(struct topic_link *link, void *ctx), void *ctx);

#endif
