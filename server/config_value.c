#include "config_table.h"

#include "time_text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void *config_value_field(const struct setting *setting, struct config *config)
{
    return (char *)config + setting->offset;
}

bool config_value_refuse(const struct setting *setting, char *wrong, size_t wrong_size)
{
    snprintf(wrong, wrong_size, "give %s", setting->accepted);
    return false;
}

bool config_value_wrong(char *wrong, size_t wrong_size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(wrong, wrong_size, format, args);
    va_end(args);
    return false;
}

/* A text that does not fit is refused: a cut path or name would be another one. */
bool config_value_store(const struct setting *setting, const char *text, struct config *config, char *wrong,
                        size_t wrong_size)
{
    size_t len = strlen(text);
    if (len >= setting->size)
        return config_value_wrong(wrong, wrong_size, "longer than %zu bytes; give %s", setting->size - 1,
                                  setting->accepted);
    memcpy(config_value_field(setting, config), text, len + 1);
    return true;
}

/* --- numbers ----------------------------------------------------------------------------------- */

/* Digits up to the end or the first other byte. */
static bool take_number(const char **text, uint64_t *ret)
{
    const char *at = *text;
    uint64_t value = 0;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (unsigned)(*at - '0'), &value))
            return false;
    }
    if (at == *text)
        return false;
    *text = at;
    *ret = value;
    return true;
}

/* The fields are of 4 and of 8 bytes; the bounds keep a number within both and, where they are signed,
 * positive. */
static bool store_number(const struct setting *setting, bool good, uint64_t value, struct config *config,
                         char *wrong, size_t wrong_size)
{
    if (!good || value < setting->least || value > setting->most)
        return config_value_refuse(setting, wrong, wrong_size);
    uint32_t small = (uint32_t)value;
    memcpy(config_value_field(setting, config),
           setting->size == sizeof small ? (void *)&small : (void *)&value, setting->size);
    return true;
}

bool parse_count(const struct setting *setting, const char *text, struct config *config, char *wrong,
                 size_t wrong_size)
{
    uint64_t value = 0;
    bool good = take_number(&text, &value) && *text == '\0';
    return store_number(setting, good, value, config, wrong, wrong_size);
}

bool parse_count_or_off(const struct setting *setting, const char *text, struct config *config, char *wrong,
                        size_t wrong_size)
{
    if (strcmp(text, "off") != 0)
        return parse_count(setting, text, config, wrong, wrong_size);
    memset(config_value_field(setting, config), 0, setting->size);
    return true;
}

bool parse_size(const struct setting *setting, const char *text, struct config *config, char *wrong,
                size_t wrong_size)
{
    static const struct {
        const char *name;
        uint64_t bytes;
    } units[] = {{"", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}};

    uint64_t value = 0;
    bool good = false;
    if (take_number(&text, &value)) {
        for (size_t i = 0; i < sizeof units / sizeof units[0] && !good; i++) {
            good = strcmp(text, units[i].name) == 0 && !__builtin_mul_overflow(value, units[i].bytes, &value);
        }
    }
    return store_number(setting, good, value, config, wrong, wrong_size);
}

bool parse_duration_ms(const struct setting *setting, const char *text, struct config *config, char *wrong,
                       size_t wrong_size)
{
    uint64_t ms = 0;
    bool good = time_parse_duration_ms(text, &ms);
    return store_number(setting, good, ms, config, wrong, wrong_size);
}

bool parse_duration_s(const struct setting *setting, const char *text, struct config *config, char *wrong,
                      size_t wrong_size)
{
    uint64_t ms = 0;
    bool good = time_parse_duration_ms(text, &ms) && ms % 1000 == 0;
    return store_number(setting, good, ms / 1000, config, wrong, wrong_size);
}

/* --- words ------------------------------------------------------------------------------------- */

bool parse_level(const struct setting *setting, const char *text, struct config *config, char *wrong,
                 size_t wrong_size)
{
    static const char *const names[] = {
        [LOG_LEVEL_ERROR] = "error",
        [LOG_LEVEL_WARN] = "warn",
        [LOG_LEVEL_INFO] = "info",
        [LOG_LEVEL_DEBUG] = "debug",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(text, names[i]) == 0) {
            config->log_level = (enum log_level)i;
            return true;
        }
    }
    return config_value_refuse(setting, wrong, wrong_size);
}

bool parse_switch(const struct setting *setting, const char *text, struct config *config, char *wrong,
                  size_t wrong_size)
{
    bool on = strcmp(text, "1") == 0 || strcmp(text, "true") == 0;
    if (!on && strcmp(text, "0") != 0 && strcmp(text, "false") != 0)
        return config_value_refuse(setting, wrong, wrong_size);
    *(bool *)config_value_field(setting, config) = on;
    return true;
}

/* --- texts ------------------------------------------------------------------------------------- */

bool parse_path(const struct setting *setting, const char *text, struct config *config, char *wrong,
                size_t wrong_size)
{
    return config_value_store(setting, text, config, wrong, wrong_size);
}

/* What Cosmos DB takes as the id of a database or a container (azure-protocols 1.7). */
bool parse_name(const struct setting *setting, const char *text, struct config *config, char *wrong,
                size_t wrong_size)
{
    size_t len = strlen(text);
    if (strpbrk(text, "/\\#?") != NULL || text[len - 1] == ' ')
        return config_value_refuse(setting, wrong, wrong_size);
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return config_value_refuse(setting, wrong, wrong_size);
    }
    return config_value_store(setting, text, config, wrong, wrong_size);
}

bool parse_readable_file(const struct setting *setting, const char *text, struct config *config, char *wrong,
                         size_t wrong_size)
{
    struct stat st;
    int fd = open(text, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return config_value_wrong(wrong, wrong_size, "cannot be read (%s); give %s", strerror(errno),
                                  setting->accepted);
    bool good = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    close(fd);
    return good ? config_value_store(setting, text, config, wrong, wrong_size)
                : config_value_refuse(setting, wrong, wrong_size);
}

/* --- addresses and upstreams ------------------------------------------------------------------- */

static bool listen_host_valid(const char *host, bool bracketed)
{
    struct in6_addr address;
    return bracketed ? inet_pton(AF_INET6, host, &address) == 1 : host_name_valid(host, strlen(host));
}

/* HOST:PORT; the field is the host, ret_port the port. */
static bool read_address(const struct setting *setting, const char *text, struct config *config,
                         unsigned *ret_port, char *wrong, size_t wrong_size)
{
    char host[sizeof config->listen_host];
    bool bracketed = text[0] == '[';
    const char *start = bracketed ? text + 1 : text;
    size_t len = strcspn(start, bracketed ? "]" : ":");
    const char *rest = start + len;
    uint64_t port;

    if (len >= sizeof host)
        return config_value_refuse(setting, wrong, wrong_size);
    memcpy(host, start, len);
    host[len] = '\0';
    if (bracketed && *rest == ']')
        rest++;
    if (*rest++ != ':' || !take_number(&rest, &port) || *rest != '\0' || port > setting->most ||
        !listen_host_valid(host, bracketed))
        return config_value_refuse(setting, wrong, wrong_size);
    memcpy(config_value_field(setting, config), host, len + 1);
    *ret_port = (unsigned)port;
    return true;
}

bool parse_listen(const struct setting *setting, const char *text, struct config *config, char *wrong,
                  size_t wrong_size)
{
    return read_address(setting, text, config, &config->listen_port, wrong, wrong_size);
}

bool parse_metrics_listen(const struct setting *setting, const char *text, struct config *config, char *wrong,
                          size_t wrong_size)
{
    config->has_metrics_listen =
        read_address(setting, text, config, &config->metrics_port, wrong, wrong_size);
    return config->has_metrics_listen;
}

bool parse_cosmos(const struct setting *setting, const char *text, struct config *config, char *wrong,
                  size_t wrong_size)
{
    (void)setting;
    config->has_cosmos = cosmos_connection_parse(text, &config->cosmos, wrong, wrong_size);
    return config->has_cosmos;
}

bool parse_iothub(const struct setting *setting, const char *text, struct config *config, char *wrong,
                  size_t wrong_size)
{
    (void)setting;
    config->has_iothub = iothub_connection_parse(text, &config->iothub, wrong, wrong_size);
    return config->has_iothub;
}

bool parse_cosmos_endpoint(const struct setting *setting, const char *text, struct config *config,
                           char *wrong, size_t wrong_size)
{
    config->has_cosmos = parse_base_url(setting, text, config, wrong, wrong_size);
    return config->has_cosmos;
}

bool parse_iothub_host(const struct setting *setting, const char *text, struct config *config, char *wrong,
                       size_t wrong_size)
{
    config->has_iothub = iothub_host_valid(text)
                             ? config_value_store(setting, text, config, wrong, wrong_size)
                             : config_value_refuse(setting, wrong, wrong_size);
    return config->has_iothub;
}

/* The rule on http is checked with the others that need more than one setting. */
bool parse_base_url(const struct setting *setting, const char *text, struct config *config, char *wrong,
                    size_t wrong_size)
{
    return upstream_url_check(text, true, config_value_field(setting, config), setting->size, wrong,
                              wrong_size);
}
