#include "config_table.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef TELEMETRYD_VERSION
#define TELEMETRYD_VERSION "unknown"
#endif

#define SECRET_FILE_MAX 65536

static const struct {
    const char *name;
    enum config_action action;
} action_flags[] = {
    {"--check-config", CONFIG_CHECK},
    {"--print-config", CONFIG_PRINT},
    {"--version", CONFIG_VERSION},
    {"--help", CONFIG_HELP},
};
#define ACTION_FLAGS (sizeof action_flags / sizeof action_flags[0])

/* Pairs that exclude each other. */
static const struct {
    enum setting_id one, other;
} contradictions[] = {
    {SETTING_COSMOS_CONNECTION, SETTING_COSMOS_ENDPOINT},
    {SETTING_IOT_HUB_CONNECTION, SETTING_IOT_HUB_HOSTNAME},
};

/* A demo fills the embedded store and registry, so nothing else may stand in for them. */
static const enum setting_id not_with_demo[] = {
    SETTING_COSMOS_CONNECTION,
    SETTING_COSMOS_ENDPOINT,
    SETTING_IOT_HUB_CONNECTION,
    SETTING_IOT_HUB_HOSTNAME,
};

/* What one config_load() works on. */
struct loader {
    char *const *environment;
    FILE *errors;
    unsigned faults;
    struct setting_value values[SETTING_COUNT];
    bool actions[ACTION_FLAGS];
    char cores[16];
    struct config config;
};

static void __attribute__((format(printf, 3, 4)))
fault(struct loader *loader, const char *name, const char *format, ...)
{
    va_list args;
    fprintf(loader->errors, "%s: ", name);
    va_start(args, format);
    vfprintf(loader->errors, format, args);
    va_end(args);
    fputc('\n', loader->errors);
    loader->faults++;
}

/* What an operator gave, fit for one line of a message: bounded and without control characters. A URL with
 * user information in it may hold a password. */
struct shown {
    char text[200];
};

static struct shown shown(const char *value)
{
    struct shown s = {{0}};
    if (strcasestr(value, "key=") != NULL || (strstr(value, "://") != NULL && strchr(value, '@') != NULL))
        value = "****";
    for (size_t i = 0; i < sizeof s.text - 4 && value[i] != '\0'; i++) {
        unsigned char c = (unsigned char)value[i];
        s.text[i] = c < 0x20 || c == 0x7f ? '?' : value[i];
    }
    if (strlen(value) > strlen(s.text))
        memcpy(s.text + strlen(s.text), "...", 4);
    return s;
}

/* --- flags ------------------------------------------------------------------------------------- */

/* Whether arg is the flag `name`, alone or as name=value; *ret_value is what follows `=`, or NULL. */
static bool is_flag(const char *arg, const char *name, const char **ret_value)
{
    size_t len = strlen(name);
    if (strncmp(arg, name, len) != 0 || (arg[len] != '\0' && arg[len] != '='))
        return false;
    *ret_value = arg[len] == '=' ? arg + len + 1 : NULL;
    return true;
}

/* Takes a flag without a value. Returns false when arg is not the flag. */
static bool take_switch(struct loader *loader, const char *arg, const char *name, bool *on)
{
    const char *value;
    if (!is_flag(arg, name, &value))
        return false;
    if (value != NULL)
        fault(loader, name, "takes no value");
    if (*on)
        fault(loader, name, "given twice");
    *on = true;
    return true;
}

/* Takes a flag that stands for a setting; its value may be the next argument. Returns how many arguments that
 * were, 0 when the first is no such flag. */
static int take_setting(struct loader *loader, const char *arg, const char *next)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const char *value;
        if (settings[i].flag == NULL || !is_flag(arg, settings[i].flag, &value))
            continue;
        bool separate = value == NULL && next != NULL && strncmp(next, "--", 2) != 0;
        if (separate)
            value = next;
        if (value == NULL || *value == '\0')
            fault(loader, settings[i].flag, "needs a value: %s", settings[i].value);
        else if (loader->values[i].source == SOURCE_FLAG)
            fault(loader, settings[i].flag, "given twice");
        else
            loader->values[i] = (struct setting_value){.text = value, .source = SOURCE_FLAG};
        return separate ? 2 : 1;
    }
    return 0;
}

static bool take_plain(struct loader *loader, const char *arg)
{
    if (take_switch(loader, arg, "--demo", &loader->config.demo))
        return true;
    for (size_t i = 0; i < ACTION_FLAGS; i++) {
        if (take_switch(loader, arg, action_flags[i].name, &loader->actions[i]))
            return true;
    }
    return false;
}

static void read_flags(struct loader *loader, int argc, char *const *argv)
{
    for (int i = 1; i < argc;) {
        int taken = take_plain(loader, argv[i])
                        ? 1
                        : take_setting(loader, argv[i], i + 1 < argc ? argv[i + 1] : NULL);
        if (taken == 0) {
            struct shown arg = shown(argv[i]);
            bool flag = arg.text[0] == '-';
            if (flag)
                arg.text[strcspn(arg.text, "=")] = '\0';
            fault(loader, arg.text, flag ? "unknown flag; see --help" : "unexpected argument; see --help");
            taken = 1;
        }
        i += taken;
    }
}

/* The last of the table that was asked for. */
static enum config_action chosen_action(const struct loader *loader)
{
    enum config_action action = CONFIG_SERVE;
    for (size_t i = 0; i < ACTION_FLAGS; i++) {
        if (loader->actions[i])
            action = action_flags[i].action;
    }
    return action;
}

/* --- environment, files, defaults -------------------------------------------------------------- */

/* NULL where the variable is not set or empty. */
static const char *from_environment(const struct loader *loader, const char *name, const char *suffix)
{
    size_t name_len = strlen(name), suffix_len = strlen(suffix);
    for (char *const *at = loader->environment; at != NULL && *at != NULL; at++) {
        const char *entry = *at;
        if (strncmp(entry, name, name_len) == 0 && strncmp(entry + name_len, suffix, suffix_len) == 0 &&
            entry[name_len + suffix_len] == '=') {
            const char *value = entry + name_len + suffix_len + 1;
            return *value != '\0' ? value : NULL;
        }
    }
    return NULL;
}

/* Reads a small file whole, without its line end. Returns NULL and says why in *ret_wrong. */
static char *read_secret_file(const char *path, const char **ret_wrong)
{
    char *text = calloc(1, SECRET_FILE_MAX + 2);
    size_t len = 0;
    ssize_t n = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd >= 0 && text != NULL) {
        while ((n = read(fd, text + len, SECRET_FILE_MAX + 1 - len)) > 0)
            len += (size_t)n;
    }
    const char *wrong = fd < 0 || n < 0 ? strerror(errno) : NULL;
    if (fd >= 0)
        close(fd);
    if (wrong == NULL && len > SECRET_FILE_MAX)
        wrong = "the file is larger than 64 KiB";
    while (wrong == NULL && len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
        text[--len] = '\0';
    if (wrong == NULL && (len == 0 || strlen(text) != len))
        wrong = len == 0 ? "the file is empty" : "the file is not text";
    if (wrong == NULL)
        return text;
    if (text != NULL)
        explicit_bzero(text, SECRET_FILE_MAX + 2);
    free(text);
    *ret_wrong = wrong;
    return NULL;
}

static void read_file(struct loader *loader, size_t i, const char *path)
{
    char name[64];
    const char *wrong;

    snprintf(name, sizeof name, "%s_FILE", settings[i].name);
    if (loader->values[i].text != NULL) {
        fault(loader, settings[i].name, "contradicts %s: give one of them", name);
        return;
    }
    char *text = read_secret_file(path, &wrong);
    if (text == NULL)
        fault(loader, name, "'%s' cannot be used: %s", shown(path).text, wrong);
    else
        loader->values[i] = (struct setting_value){.text = text, .owned = text, .source = SOURCE_FILE};
}

/* As many loops as the scheduler lets us use at once. */
static const char *online_cores(struct loader *loader)
{
    cpu_set_t set;
    long cores =
        sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : sysconf(_SC_NPROCESSORS_ONLN);
    if (cores < 1)
        cores = 1;
    if (cores > (long)settings[SETTING_WORKERS].most)
        cores = (long)settings[SETTING_WORKERS].most;
    snprintf(loader->cores, sizeof loader->cores, "%ld", cores);
    return loader->cores;
}

static void read_environment(struct loader *loader)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        struct setting_value *value = &loader->values[i];
        const char *text = from_environment(loader, settings[i].name, "");
        const char *path = settings[i].secret ? from_environment(loader, settings[i].name, "_FILE") : NULL;
        if (value->text == NULL && text != NULL)
            *value = (struct setting_value){.text = text, .source = SOURCE_ENVIRONMENT};
        if (path != NULL)
            read_file(loader, i, path);
        if (value->text == NULL)
            value->text = settings[i].fallback;
    }
    if (loader->values[SETTING_WORKERS].text == NULL)
        loader->values[SETTING_WORKERS].text = online_cores(loader);
    if (loader->config.demo && loader->values[SETTING_DATA].source == SOURCE_DEFAULT)
        loader->values[SETTING_DATA] = (struct setting_value){.text = ":memory:", .source = SOURCE_DEMO};
}

/* --- checks ------------------------------------------------------------------------------------ */

static void parse_values(struct loader *loader)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const struct setting *setting = &settings[i];
        const struct setting_value *value = &loader->values[i];
        char wrong[256] = "";
        if (value->text == NULL || setting->parse(setting, value->text, &loader->config, wrong, sizeof wrong))
            continue;
        bool flag = value->source == SOURCE_FLAG;
        if (setting->secret)
            fault(loader, setting->name, "%s", wrong);
        else
            fault(loader, setting->name, "%s%s'%s' is not accepted: %s", flag ? setting->flag : "",
                  flag ? " " : "", shown(value->text).text, wrong);
    }
}

static bool is_set(const struct loader *loader, enum setting_id id)
{
    return loader->values[id].text != NULL;
}

static void check_contradictions(struct loader *loader)
{
    for (size_t i = 0; i < sizeof contradictions / sizeof contradictions[0]; i++) {
        if (is_set(loader, contradictions[i].one) && is_set(loader, contradictions[i].other))
            fault(loader, settings[contradictions[i].one].name, "contradicts %s: give one of them",
                  settings[contradictions[i].other].name);
    }
    if (is_set(loader, SETTING_IOT_HUB_ENDPOINT) && !is_set(loader, SETTING_IOT_HUB_CONNECTION) &&
        !is_set(loader, SETTING_IOT_HUB_HOSTNAME))
        fault(loader, settings[SETTING_IOT_HUB_ENDPOINT].name, "there is no hub: give %s too",
              settings[SETTING_IOT_HUB_CONNECTION].name);
    for (size_t i = 0; loader->config.demo && i < sizeof not_with_demo / sizeof not_with_demo[0]; i++) {
        if (is_set(loader, not_with_demo[i]))
            fault(loader, settings[not_with_demo[i]].name,
                  "contradicts --demo, which fills the embedded store: give one of them");
    }
}

/* url was checked but for the rule on http. */
static void check_http(struct loader *loader, enum setting_id id, const char *url)
{
    char out[512];
    char wrong[256];
    if (url[0] != '\0' &&
        !upstream_url_check(url, loader->config.allow_http_upstream, out, sizeof out, wrong, sizeof wrong))
        fault(loader, settings[id].name, "%s", wrong);
}

static void check_upstreams(struct loader *loader)
{
    struct config *config = &loader->config;
    struct setting_value *endpoint = &loader->values[SETTING_IOT_HUB_ENDPOINT];

    if (config->has_cosmos)
        check_http(loader, SETTING_COSMOS_CONNECTION, config->cosmos.endpoint);
    check_http(loader, SETTING_IOT_HUB_ENDPOINT, config->iothub_endpoint);
    if (config->has_iothub && endpoint->text == NULL) {
        snprintf(config->iothub_endpoint, sizeof config->iothub_endpoint, "https://%s", config->iothub.host);
        endpoint->text = config->iothub_endpoint;
    }
}

/* --- the whole --------------------------------------------------------------------------------- */

static void print(const struct loader *loader, enum config_action action, FILE *out)
{
    if (action == CONFIG_PRINT)
        config_print_settings(out, loader->values);
    else if (action == CONFIG_VERSION)
        fputs("telemetryd " TELEMETRYD_VERSION "\n", out);
    else if (action == CONFIG_HELP)
        config_print_help(out);
}

static void free_values(struct loader *loader)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        char *owned = loader->values[i].owned;
        if (owned != NULL)
            explicit_bzero(owned, strlen(owned));
        free(owned);
    }
}

int config_load(int argc, char *const *argv, char *const *environment, struct config *ret,
                enum config_action *ret_action, FILE *out, FILE *errors)
{
    struct loader loader = {.environment = environment, .errors = errors};

    read_flags(&loader, argc, argv);
    enum config_action action = chosen_action(&loader);
    /* Help must not depend on settings that are at fault. */
    if (action != CONFIG_HELP && action != CONFIG_VERSION) {
        read_environment(&loader);
        parse_values(&loader);
        check_contradictions(&loader);
        check_upstreams(&loader);
    }
    bool good = loader.faults == 0;
    if (good) {
        print(&loader, action, out);
        *ret = loader.config;
        *ret_action = action;
    }
    free_values(&loader);
    config_clear(&loader.config);
    return good ? 0 : -EINVAL;
}

void config_clear(struct config *config)
{
    explicit_bzero(config->cosmos.key, sizeof config->cosmos.key);
    explicit_bzero(config->iothub.key, sizeof config->iothub.key);
    config->cosmos.key_len = 0;
    config->iothub.key_len = 0;
}
