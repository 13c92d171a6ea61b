#include "config_table.h"

#include <string.h>

static const struct {
    const char *name;
    const char *help;
} plain_flags[] = {
    {"--demo", "fill the embedded store with five devices and serve it"},
    {"--check-config", "check the settings and exit"},
    {"--print-config", "print the settings, where each came from, and exit"},
    {"--version", "print the version and exit"},
    {"--help", "print this and exit"},
};

bool config_print_masked(const char *value)
{
    return strcasestr(value, "key=") != NULL || (strstr(value, "://") != NULL && strchr(value, '@') != NULL);
}

struct config_shown config_print_shown(const char *value)
{
    struct config_shown shown = {{0}};
    size_t len = 0;

    if (config_print_masked(value))
        value = "****";
    for (; len < sizeof shown.text - 4 && value[len] != '\0'; len++) {
        unsigned char c = (unsigned char)value[len];
        shown.text[len] = c < 0x20 || c == 0x7f ? '?' : value[len];
    }
    if (value[len] != '\0')
        memcpy(shown.text + len, "...", 4);
    return shown;
}

/* How the table shows a value. */
static const char *printed(const struct setting *setting, const struct setting_value *value)
{
    if (value->text == NULL)
        return setting->absent != NULL ? setting->absent : "-";
    return setting->secret || config_print_masked(value->text) ? "********" : value->text;
}

static int widest(int width, const char *text)
{
    int len = (int)strnlen(text, 4096);
    return len > width ? len : width;
}

/* Control characters would break the table's lines. */
static void print_padded(FILE *out, const char *text, int width)
{
    int len = 0;
    for (; *text != '\0'; text++, len++)
        fputc((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text, out);
    fprintf(out, "%*s", width - len + 2, "");
}

void config_print_settings(FILE *out, const struct setting_value values[SETTING_COUNT])
{
    static const char *const sources[] = {
        [SOURCE_DEFAULT] = "default", [SOURCE_FLAG] = "flag", [SOURCE_ENVIRONMENT] = "environment",
        [SOURCE_FILE] = "file",       [SOURCE_DEMO] = "demo",
    };
    int name_width = 0, value_width = 0;

    for (size_t i = 0; i < SETTING_COUNT; i++) {
        name_width = widest(name_width, settings[i].name);
        value_width = widest(value_width, printed(&settings[i], &values[i]));
    }
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        print_padded(out, settings[i].name, name_width);
        print_padded(out, printed(&settings[i], &values[i]), value_width);
        fputs(sources[values[i].source], out);
        if (values[i].source == SOURCE_FLAG)
            fprintf(out, " %s", settings[i].flag);
        fputc('\n', out);
    }
}

static void print_setting_help(FILE *out, const struct setting *setting, int width)
{
    const char *fallback = setting->fallback != NULL ? setting->fallback : setting->absent;
    fprintf(out, "  %-*s  %s", width, setting->name, setting->help);
    if (fallback != NULL)
        fprintf(out, " (%s)", fallback);
    if (setting->secret)
        fprintf(out, "; or %s_FILE names a file that holds it", setting->name);
    fputc('\n', out);
}

void config_print_help(FILE *out)
{
    char flag[64];
    int width = 0;

    fputs("Usage: telemetryd [--demo] [--listen HOST:PORT] [--data FILE] [--workers N]\n"
          "                  [--check-config] [--print-config] [--version] [--help]\n"
          "       telemetryd --health URL   exits 0 where a running server answers 200 there\n"
          "       telemetryd token ...      makes a bearer token; telemetryd token --help\n\n"
          "Serves device telemetry and device status over HTTPS.\n\nFlags\n",
          out);
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        if (settings[i].flag == NULL)
            continue;
        snprintf(flag, sizeof flag, "%s %s", settings[i].flag, settings[i].value);
        fprintf(out, "  %-18s  sets %s\n", flag, settings[i].name);
    }
    for (size_t i = 0; i < sizeof plain_flags / sizeof plain_flags[0]; i++)
        fprintf(out, "  %-18s  %s\n", plain_flags[i].name, plain_flags[i].help);

    fputs("\nSettings (environment variables and, in parentheses, their defaults; a flag wins)\n", out);
    for (size_t i = 0; i < SETTING_COUNT; i++)
        width = widest(width, settings[i].name);
    for (size_t i = 0; i < SETTING_COUNT; i++)
        print_setting_help(out, &settings[i], width);
}
