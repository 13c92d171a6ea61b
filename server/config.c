#include "config_table.h"

#include "secret_file.h"

#include <errno.h>
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

void config_fault(struct config_loader *loader, const char *name, const char *format, ...)
{
    va_list args;
    fprintf(loader->errors, "%s: ", name);
    va_start(args, format);
    vfprintf(loader->errors, format, args);
    va_end(args);
    fputc('\n', loader->errors);
    loader->faults++;
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
static bool take_switch(struct config_loader *loader, const char *arg, const char *name, bool *on)
{
    const char *value;
    if (!is_flag(arg, name, &value))
        return false;
    if (value != NULL)
        config_fault(loader, name, "takes no value");
    if (*on)
        config_fault(loader, name, "given twice");
    *on = true;
    return true;
}

/* Takes a flag that stands for a setting; its value may be the next argument. Returns how many arguments that
 * were, 0 when the first is no such flag. */
static int take_setting(struct config_loader *loader, const char *arg, const char *next)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const char *value;
        if (settings[i].flag == NULL || !is_flag(arg, settings[i].flag, &value))
            continue;
        bool separate = value == NULL && next != NULL && strncmp(next, "--", 2) != 0;
        if (separate)
            value = next;
        if (value == NULL || *value == '\0')
            config_fault(loader, settings[i].flag, "needs a value: %s", settings[i].value);
        else if (loader->values[i].source == SOURCE_FLAG)
            config_fault(loader, settings[i].flag, "given twice");
        else
            loader->values[i] = (struct setting_value){.text = value, .source = SOURCE_FLAG};
        return separate ? 2 : 1;
    }
    return 0;
}

static bool take_plain(struct config_loader *loader, const char *arg)
{
    if (take_switch(loader, arg, "--demo", &loader->config.demo))
        return true;
    for (size_t i = 0; i < ACTION_FLAGS; i++) {
        if (take_switch(loader, arg, action_flags[i].name, &loader->actions[action_flags[i].action]))
            return true;
    }
    return false;
}

static void read_flags(struct config_loader *loader, int argc, char *const *argv)
{
    for (int i = 1; i < argc;) {
        int taken = take_plain(loader, argv[i])
                        ? 1
                        : take_setting(loader, argv[i], i + 1 < argc ? argv[i + 1] : NULL);
        if (taken == 0) {
            struct config_shown arg = config_print_shown(argv[i]);
            bool flag = arg.text[0] == '-';
            if (flag)
                arg.text[strcspn(arg.text, "=")] = '\0';
            config_fault(loader, arg.text,
                         flag ? "unknown flag; see --help" : "unexpected argument; see --help");
            taken = 1;
        }
        i += taken;
    }
}

/* The last of the table that was asked for. */
static enum config_action chosen_action(const struct config_loader *loader)
{
    enum config_action action = CONFIG_SERVE;
    for (size_t i = 0; i < ACTION_FLAGS; i++) {
        if (loader->actions[action_flags[i].action])
            action = action_flags[i].action;
    }
    return action;
}

/* --- environment, files, defaults -------------------------------------------------------------- */

/* NULL where the variable is not set or empty. */
static const char *from_environment(const struct config_loader *loader, const char *name, const char *suffix)
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

static void read_file(struct config_loader *loader, size_t i, const char *path)
{
    struct setting_value *value = &loader->values[i];
    char name[64];
    char *text;
    size_t len;

    snprintf(name, sizeof name, "%s_FILE", settings[i].name);
    if (value->text != NULL) {
        config_fault(loader, settings[i].name, "contradicts %s: give one of them", name);
        return;
    }
    int r = secret_file_read(path, SECRET_FILE_MAX, &text, &len);
    if (r == 0 && strspn(text, "\r\n") == len) {
        secret_file_free(text, len);
        r = -ENODATA;
    }
    if (r != 0) {
        config_fault(loader, name, "'%s' cannot be used: %s", config_print_shown(path).text,
                     r == -EFBIG ? "the file is larger than 64 KiB" : secret_file_error(r));
        return;
    }
    *value = (struct setting_value){.text = text, .owned = text, .owned_len = len, .source = SOURCE_FILE};
    while (text[len - 1] == '\n' || text[len - 1] == '\r')
        text[--len] = '\0';
}

/* As many loops as the scheduler lets us use at once. */
static const char *online_cores(struct config_loader *loader)
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

/* The settings that select it stand before those of the credentials in the table. */
static bool uses_entra(const struct config_loader *loader)
{
    return loader->values[SETTING_COSMOS_ENDPOINT].text != NULL ||
           loader->values[SETTING_IOT_HUB_HOSTNAME].text != NULL;
}

static void read_environment(struct config_loader *loader)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        struct setting_value *value = &loader->values[i];
        const char *text = from_environment(loader, settings[i].name, "");
        const char *path = settings[i].secret ? from_environment(loader, settings[i].name, "_FILE") : NULL;
        if (value->text == NULL && text != NULL)
            *value = (struct setting_value){.text = text, .source = SOURCE_ENVIRONMENT};
        if (path != NULL && settings[i].entra && !uses_entra(loader))
            *value = (struct setting_value){.text = path, .source = SOURCE_FILE}; /* to be shown, masked */
        else if (path != NULL)
            read_file(loader, i, path);
        if (value->text == NULL)
            value->text = settings[i].fallback;
    }
    if (loader->values[SETTING_WORKERS].text == NULL)
        loader->values[SETTING_WORKERS].text = online_cores(loader);
    if (loader->config.demo && loader->values[SETTING_DATA].source == SOURCE_DEFAULT)
        loader->values[SETTING_DATA] = (struct setting_value){.text = ":memory:", .source = SOURCE_DEMO};
}

/* --- values ------------------------------------------------------------------------------------ */

/* Nobody asks for the value of a setting that is not looked at. */
static bool is_idle(const struct config_loader *loader, size_t i)
{
    return settings[i].entra && !uses_entra(loader);
}

static void parse_values(struct config_loader *loader)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const struct setting *setting = &settings[i];
        const struct setting_value *value = &loader->values[i];
        char wrong[256] = "";
        if (value->text == NULL || is_idle(loader, i) ||
            setting->parse(setting, value->text, &loader->config, wrong, sizeof wrong))
            continue;
        loader->wrong[i] = true;
        bool flag = value->source == SOURCE_FLAG;
        if (setting->secret)
            config_fault(loader, setting->name, "%s", wrong);
        else
            config_fault(loader, setting->name, "%s%s'%s' is not accepted: %s", flag ? setting->flag : "",
                         flag ? " " : "", config_print_shown(value->text).text, wrong);
    }
}

/* --- the whole --------------------------------------------------------------------------------- */

static void print(const struct config_loader *loader, enum config_action action, FILE *out)
{
    if (action == CONFIG_PRINT)
        config_print_settings(out, loader->values);
    else if (action == CONFIG_VERSION)
        fputs("telemetryd " TELEMETRYD_VERSION "\n", out);
    else if (action == CONFIG_HELP)
        config_print_help(out);
}

static void free_values(struct config_loader *loader)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        secret_file_free(loader->values[i].owned, loader->values[i].owned_len);
    }
}

int config_load(int argc, char *const *argv, char *const *environment, struct config *ret,
                enum config_action *ret_action, FILE *out, FILE *errors)
{
    struct config_loader loader = {.environment = environment, .errors = errors};

    read_flags(&loader, argc, argv);
    enum config_action action = chosen_action(&loader);
    /* Help must not depend on settings that are at fault. */
    if (action != CONFIG_HELP && action != CONFIG_VERSION) {
        read_environment(&loader);
        parse_values(&loader);
        config_check(&loader);
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
    explicit_bzero(config->azure.client_secret, sizeof config->azure.client_secret);
    explicit_bzero(config->azure.identity_header, sizeof config->azure.identity_header);
}
