/*
 * X-Forwarded-For and trusted networks. The first line is the setting (trusted proxies), the second the peer,
 * each further one a line of the field.
 */
#include "buffer.h"
#include "fuzz.h"
#include "network.h"

#define LINES_MAX 16

static bool same(const struct network_address *a, const struct network_address *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static void check_list(const char *text, const struct network_list *list)
{
    ALWAYS(list->count >= 1 && list->count <= NETWORKS_MAX && strlen(text) > 0);
    for (unsigned i = 0; i < list->count; i++) {
        ALWAYS(list->networks[i].prefix <= 128);
        ALWAYS(network_list_has(list, &list->networks[i].address));
    }
}

static void check_caller(const struct network_list *trusted, const struct network_address *peer,
                         const char *const *lines, size_t count)
{
    static const char *const forged[] = {"203.0.113.77", "unknown, [::1]:80", ",,", "10.0.0.1"};
    struct network_address caller = network_caller(trusted, peer, lines, count);

    if (!network_list_has(trusted, peer))
        ALWAYS(same(&caller, peer));
    /* Whoever is not trusted has the last word: what stands to the left of them changes nothing. */
    if (!network_list_has(trusted, &caller)) {
        for (size_t i = 0; i < sizeof forged / sizeof *forged; i++) {
            const char *more[LINES_MAX + 1] = {forged[i]};
            memcpy(more + 1, lines, count * sizeof *lines);
            struct network_address again = network_caller(trusted, peer, more, count + 1);
            ALWAYS(same(&caller, &again));
        }
    }
    /* Several lines are one list. */
    struct buffer joined = {0};
    for (size_t i = 0; i < count; i++)
        buffer_printf(&joined, "%s%s", i > 0 ? "," : "", lines[i]);
    const char *one[] = {buffer_terminate(&joined)};
    ALWAYS(one[0] != NULL);
    struct network_address again = network_caller(trusted, peer, one, count > 0 ? 1 : 0);
    ALWAYS(same(&caller, &again));
    buffer_free(&joined);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct network_list trusted = {0};
    struct network_address peer = {{0}};
    char *lines[LINES_MAX + 2];
    size_t count = 0;

    while (count < LINES_MAX + 2) {
        const uint8_t *rest;
        size_t rest_len, len = fuzz_line(data, size, &rest, &rest_len);
        lines[count++] = fuzz_text(data, len);
        if (rest_len == 0 && len == size)
            break;
        data = rest;
        size = rest_len;
    }
    if (network_list_parse(lines[0], &trusted))
        check_list(lines[0], &trusted);
    else
        ALWAYS(trusted.count == 0);
    if (count > 1 && network_address_parse(lines[1], strlen(lines[1]), &peer))
        check_caller(&trusted, &peer, (const char *const *)lines + 2, count - 2);
    for (size_t i = 0; i < count; i++)
        free(lines[i]);
    return 0;
}
