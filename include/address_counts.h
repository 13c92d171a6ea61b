/*
 * address_counts.h - how many connections each client address has in the whole process, and a limit on that.
 *
 * IPv6 counts per /64, which is what one customer gets. Memory: one small entry per address that has
 * connections, so at most one per connection. The hash is keyed: nobody can choose whom they collide with.
 *
 * Threads: any; one lock, held for a few dozen instructions when a connection begins and ends.
 */
#ifndef TELEMETRYD_ADDRESS_COUNTS_H
#define TELEMETRYD_ADDRESS_COUNTS_H

#include "network.h"

#include <stdbool.h>

struct address_counts;

/* limit: connections per address, 1 or more. connections: how many there may be in all. 0, -ENOMEM, or -EIO
 * where the kernel gives no random bytes. */
int address_counts_new(unsigned limit, unsigned connections, struct address_counts **ret_counts);
void address_counts_free(struct address_counts *counts); /* accepts NULL */

/* Counts a connection in. False, and nothing is counted, when its address has as many as it may, or without
 * memory. */
bool address_counts_enter(struct address_counts *counts, const struct network_address *address);
void address_counts_leave(struct address_counts *counts, const struct network_address *address);

/* Whether enter would refuse for the limit's sake. */
bool address_counts_at_limit(struct address_counts *counts, const struct network_address *address);

#endif
