/*
 * network.h - addresses of callers and proxies, and which networks they belong to.
 *
 * An address is 16 bytes, IPv4 in its mapped form (::ffff:a.b.c.d), so that both families compare alike.
 * Pure; no threads.
 */
#ifndef TELEMETRYD_NETWORK_H
#define TELEMETRYD_NETWORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define NETWORKS_MAX 64

struct network_address {
    uint8_t bytes[16];
};

struct network {
    struct network_address address;
    unsigned prefix; /* bits, 0..128, of the mapped form */
};

struct network_list {
    unsigned count;
    struct network networks[NETWORKS_MAX];
};

/* The text of an IPv4 or IPv6 address: no brackets, no port, no zone. */
bool network_address_parse(const char *text, size_t len, struct network_address *ret);

/* All zeroes (unspecified) for another family. */
struct network_address network_address_of(const struct sockaddr *address);

/* 127.0.0.0/8 and ::1. */
bool network_address_is_loopback(const struct network_address *address);

/* Whom an address stands for where callers are counted: IPv4 for itself, IPv6 for its /64, since whoever has
 * one of those has the 2^64 beside it. */
struct network_address network_address_holder(const struct network_address *address);

/* Comma-separated addresses and CIDRs ("10.0.0.0/8,::1"); blanks around a piece are skipped. Bits behind the
 * prefix must be zero. False for anything else, an empty piece and more than NETWORKS_MAX included; *ret is
 * then untouched. */
bool network_list_parse(const char *text, struct network_list *ret);

bool network_list_has(const struct network_list *list, const struct network_address *address);

/* The address of the caller of a request: the peer itself, unless it is a trusted proxy; then the
 * X-Forwarded-For fields are read from the right, trusted hops skipped, and the first that is not trusted is
 * the caller. `lines` are the field's lines in order (several are one list). Where an element is not an
 * address (a name, "unknown", with a port that cannot be parsed off), the hop before it (the last one known)
 * is the caller. Elements may be "1.2.3.4:567" and "[::1]:567". */
struct network_address network_caller(const struct network_list *trusted, const struct network_address *peer,
                                      const char *const *lines, size_t count);

#endif
