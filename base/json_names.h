/*
 * json_names.h - the member names of the objects that are open at one point of a text, to find one that
 * stands twice.
 *
 * Internal to base/json_check.c. Names are compared by their decoded bytes (json_utf8.h). They are kept in a
 * hash table keyed with the random bytes that the kernel gives each process, so that nobody can choose names
 * which collide; an object's names are forgotten when it closes, which bounds the memory by what is open. A
 * few names need no allocation.
 */
#ifndef TELEMETRYD_JSON_NAMES_H
#define TELEMETRYD_JSON_NAMES_H

#include <stddef.h>
#include <stdint.h>

struct json_name_entry {
    const char *name; /* inside the text, without quotes; NULL marks where an object begins */
    size_t len;       /* of a mark: the index of the mark of the object around it */
    uint64_t hash;
};

enum { JSON_NAMES_FIRST = 32 };

struct json_names {
    struct json_name_entry *entries; /* a stack; first_entries until it grows */
    uint32_t *slots;          /* open addressing: an index into entries plus 1, 0 where free; twice as many */
    uint32_t count, capacity; /* of entries */
    uint32_t mark;            /* of the innermost open object */
    uint64_t key[2];
    struct json_name_entry first_entries[JSON_NAMES_FIRST];
    uint32_t first_slots[2 * JSON_NAMES_FIRST];
};

void json_names_init(struct json_names *names);
void json_names_free(struct json_names *names);

/* An object opens: 0 or -ENOMEM. It closes: its names are forgotten. */
int json_names_open(struct json_names *names);
void json_names_close(struct json_names *names);

/* Adds a name (the checked inside of a string) to the innermost object. The text must stay. 0, -EEXIST,
 * -ENOMEM. */
int json_names_add(struct json_names *names, const char *name, size_t len);

#endif
