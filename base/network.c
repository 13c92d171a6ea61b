#include "network.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#define MAPPED_PREFIX 96 /* ::ffff:0:0/96 holds IPv4 */

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

static bool is_ipv4(const struct network_address *address)
{
    return memcmp(address->bytes, mapped, sizeof mapped) == 0;
}

bool network_address_parse(const char *text, size_t len, struct network_address *ret)
{
    char address[INET6_ADDRSTRLEN];
    struct network_address parsed;

    if (len == 0 || len >= sizeof address || memchr(text, '\0', len) != NULL)
        return false;
    memcpy(address, text, len);
    address[len] = '\0';
    if (inet_pton(AF_INET, address, parsed.bytes + sizeof mapped) == 1)
        memcpy(parsed.bytes, mapped, sizeof mapped);
    else if (inet_pton(AF_INET6, address, parsed.bytes) != 1)
        return false;
    *ret = parsed;
    return true;
}

struct network_address network_address_of(const struct sockaddr *address)
{
    struct network_address result = {{0}};

    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;
        memcpy(result.bytes, mapped, sizeof mapped);
        memcpy(result.bytes + sizeof mapped, &in->sin_addr, sizeof in->sin_addr);
    } else if (address->sa_family == AF_INET6) {
        memcpy(result.bytes, &((const struct sockaddr_in6 *)address)->sin6_addr, sizeof result.bytes);
    }
    return result;
}

bool network_address_is_loopback(const struct network_address *address)
{
    static const struct network_address ipv6 = {{[15] = 1}};

    if (is_ipv4(address))
        return address->bytes[sizeof mapped] == 127;
    return memcmp(address, &ipv6, sizeof ipv6) == 0;
}

struct network_address network_address_holder(const struct network_address *address)
{
    struct network_address holder = *address;
    if (!is_ipv4(address))
        memset(holder.bytes + 8, 0, sizeof holder.bytes - 8);
    return holder;
}

/* --- networks ---------------------------------------------------------------------------------- */

/* Whether the first `bits` bits are equal. */
static bool same_prefix(const uint8_t *one, const uint8_t *other, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;

    if (memcmp(one, other, whole) != 0)
        return false;
    return rest == 0 || ((one[whole] ^ other[whole]) >> (8 - rest)) == 0;
}

static bool behind_is_zero(const struct network *network)
{
    struct network_address first = {{0}};
    unsigned whole = network->prefix / 8, rest = network->prefix % 8;

    memcpy(first.bytes, network->address.bytes, whole);
    if (rest != 0)
        first.bytes[whole] = (uint8_t)(network->address.bytes[whole] & (0xff << (8 - rest)));
    return memcmp(&first, &network->address, sizeof first) == 0;
}

/* One or two or three digits, without zeroes before them. */
static bool parse_prefix(const char *text, size_t len, unsigned most, unsigned *ret)
{
    unsigned value = 0;

    if (len == 0 || len > 3 || (len > 1 && text[0] == '0'))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (unsigned)(text[i] - '0');
    }
    if (value > most)
        return false;
    *ret = value;
    return true;
}

static bool parse_network(const char *text, size_t len, struct network *ret)
{
    const char *slash = memchr(text, '/', len);
    size_t address_len = slash != NULL ? (size_t)(slash - text) : len;
    bool colons = memchr(text, ':', address_len) != NULL; /* else dotted, and so is its prefix */
    struct network network = {.prefix = 128};

    if (!network_address_parse(text, address_len, &network.address))
        return false;
    if (slash != NULL) {
        if (!parse_prefix(slash + 1, len - address_len - 1, colons ? 128 : 32, &network.prefix))
            return false;
        if (!colons)
            network.prefix += MAPPED_PREFIX;
    }
    if (!behind_is_zero(&network))
        return false;
    *ret = network;
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Without the blanks at both ends. */
static void trim(const char **text, size_t *len)
{
    while (*len > 0 && is_blank(**text)) {
        (*text)++;
        (*len)--;
    }
    while (*len > 0 && is_blank((*text)[*len - 1]))
        (*len)--;
}

bool network_list_parse(const char *text, struct network_list *ret)
{
    struct network_list list = {0};

    for (;;) {
        const char *piece = text;
        size_t piece_len = strcspn(text, ",");
        text += piece_len;
        trim(&piece, &piece_len);
        if (list.count == NETWORKS_MAX || !parse_network(piece, piece_len, &list.networks[list.count]))
            return false;
        list.count++;
        if (*text == '\0')
            break;
        text++;
    }
    *ret = list;
    return true;
}

bool network_list_has(const struct network_list *list, const struct network_address *address)
{
    for (unsigned i = 0; i < list->count; i++) {
        const struct network *network = &list->networks[i];
        if (same_prefix(network->address.bytes, address->bytes, network->prefix))
            return true;
    }
    return false;
}

/* --- X-Forwarded-For --------------------------------------------------------------------------- */

static bool is_port(const char *text, size_t len)
{
    if (len == 0 || len > 5)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
    }
    return true;
}

/* "1.2.3.4", "1.2.3.4:567", "::1", "[::1]", "[::1]:567" */
static bool parse_hop(const char *text, size_t len, struct network_address *ret)
{
    const char *end = text + len;

    if (len > 0 && text[0] == '[') {
        const char *close = memchr(text, ']', len);
        if (close == NULL || memchr(text, ':', (size_t)(close - text)) == NULL)
            return false;
        bool port = close + 1 < end;
        if (port && (close[1] != ':' || !is_port(close + 2, (size_t)(end - close - 2))))
            return false;
        return network_address_parse(text + 1, (size_t)(close - text - 1), ret);
    }
    const char *colon = memchr(text, ':', len);
    if (colon == NULL || memchr(colon + 1, ':', (size_t)(end - colon - 1)) != NULL)
        return network_address_parse(text, len, ret);
    return is_port(colon + 1, (size_t)(end - colon - 1)) &&
           network_address_parse(text, (size_t)(colon - text), ret);
}

/* Follows one line from its right end. Returns false when *caller is settled. */
static bool follow_line(const struct network_list *trusted, const char *line, struct network_address *caller)
{
    const char *end = line + strlen(line);

    for (;;) {
        const char *start = end;
        while (start > line && start[-1] != ',')
            start--;
        const char *piece = start;
        size_t len = (size_t)(end - start);
        trim(&piece, &len);
        /* Empty elements of a list are ignored (RFC 9110, 5.6.1.2). */
        if (len > 0 && (!parse_hop(piece, len, caller) || !network_list_has(trusted, caller)))
            return false;
        if (start == line)
            return true;
        end = start - 1;
    }
}

struct network_address network_caller(const struct network_list *trusted, const struct network_address *peer,
                                      const char *const *lines, size_t count)
{
    struct network_address caller = *peer;

    if (!network_list_has(trusted, peer))
        return caller;
    while (count > 0 && follow_line(trusted, lines[count - 1], &caller))
        count--;
    return caller;
}
