/*
 * Settings that name upstreams: connection strings of Cosmos DB and IoT Hub, URLs, base64 keys. What is taken
 * is canonical, and no message repeats a key.
 */
#include "base64.h"
#include "connection_string.h"
#include "fuzz.h"

#include <strings.h>

/* What is shorter, or has no digit, may stand in a message by chance. */
#define SECRET_MIN 8

static void check_message(const char *message, size_t size)
{
    ALWAYS(memchr(message, '\0', size) != NULL && message[0] != '\0');
    for (const char *c = message; *c != '\0'; c++)
        ALWAYS((unsigned char)*c >= 0x20);
}

/* No message holds the value of a piece whose name ends in "key". */
static void check_secret(const char *text, const char *message)
{
    for (const char *piece = text; piece != NULL; piece = strchr(piece, ';')) {
        piece += *piece == ';';
        size_t len = strcspn(piece, ";"), name = strcspn(piece, "=;");
        if (name + 1 >= len || name < 3 || strncasecmp(piece + name - 3, "key", 3) != 0)
            continue;
        char *value = fuzz_text(piece + name + 1, len - name - 1);
        bool telling = strlen(value) >= SECRET_MIN && strpbrk(value, "0123456789") != NULL;
        ALWAYS(!telling || strstr(message, value) == NULL);
        free(value);
    }
}

static void check_url(const char *url)
{
    char out[512], again[512], message[256] = "";
    memset(out, 0xA5, sizeof out);
    if (!upstream_url_check(url, true, out, sizeof out, message, sizeof message)) {
        check_message(message, sizeof message);
        ALWAYS((unsigned char)out[0] == 0xA5);
        return;
    }
    size_t len = strlen(out);
    ALWAYS(strncmp(out, "https://", 8) == 0 || strncmp(out, "http://", 7) == 0);
    ALWAYS(out[len - 1] != '/' && strpbrk(out, "@?#\\ \t\r\n") == NULL);
    ALWAYS(strchr(strstr(out, "://") + 3, '/') == NULL);
    ALWAYS(upstream_url_check(out, true, again, sizeof again, message, sizeof message));
    ALWAYS(strcmp(out, again) == 0);
    /* Without leave for http anywhere it is refused, or it is the same. */
    if (upstream_url_check(url, false, again, sizeof again, message, sizeof message))
        ALWAYS(strcmp(out, again) == 0);
    else
        ALWAYS(strncmp(out, "http://", 7) == 0);
}

static void check_connection(const char *text)
{
    struct cosmos_account_settings cosmos;
    struct iothub_settings hub;
    char message[256] = "", url[600], out[600];

    memset(&cosmos, 0, sizeof cosmos);
    memset(&hub, 0, sizeof hub);
    if (cosmos_connection_parse(text, &cosmos, message, sizeof message)) {
        ALWAYS(cosmos.key_len >= 1 && cosmos.key_len <= UPSTREAM_KEY_MAX);
        ALWAYS(upstream_url_check(cosmos.endpoint, true, out, sizeof out, message, sizeof message));
        ALWAYS(strcmp(out, cosmos.endpoint) == 0);
    } else {
        check_message(message, sizeof message);
        check_secret(text, message);
    }
    if (iothub_connection_parse(text, &hub, message, sizeof message)) {
        ALWAYS(hub.key_len >= 1 && hub.key_len <= UPSTREAM_KEY_MAX && hub.policy[0] != '\0');
        ALWAYS(strpbrk(hub.policy, "\r\n") == NULL);
        snprintf(url, sizeof url, "https://%s", hub.host);
        ALWAYS(upstream_url_check(url, false, out, sizeof out, message, sizeof message));
    } else {
        check_message(message, sizeof message);
        check_secret(text, message);
    }
}

/* One text for one key: what is decoded is encoded the same. */
static void check_base64(const char *text, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char *out = malloc(UPSTREAM_KEY_MAX);
    ALWAYS(out != NULL);
    long n = base64_decode(text, len, out, UPSTREAM_KEY_MAX);
    ALWAYS(n >= -1 && n <= UPSTREAM_KEY_MAX);
    if (n >= 0)
        ALWAYS(len == ((size_t)n + 2) / 3 * 4);
    for (long i = 0; i < n; i += 3) {
        unsigned word = (unsigned)out[i] << 16 | (i + 1 < n ? (unsigned)out[i + 1] << 8 : 0) |
                        (i + 2 < n ? out[i + 2] : 0);
        const char *group = text + i / 3 * 4;
        ALWAYS(group[0] == digits[word >> 18] && group[1] == digits[word >> 12 & 63]);
        ALWAYS(group[2] == (i + 1 < n ? digits[word >> 6 & 63] : '='));
        ALWAYS(group[3] == (i + 2 < n ? digits[word & 63] : '='));
    }
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *bytes = fuzz_copy(data, size), *text = fuzz_text(data, size);
    check_base64(bytes, size);
    check_url(text);
    check_connection(text);
    ALWAYS(!host_name_valid(bytes, size) || (size <= 253 && memchr(bytes, '/', size) == NULL));
    free(bytes);
    free(text);
    return 0;
}
