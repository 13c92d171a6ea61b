#include "config_fixture.h"

static void usage_faults_are_refused(void **state)
{
    static const struct {
        const char *rule;
        const char *argv[6];
        const char *part;
    } cases[] = {
        {"an unknown flag", {"t", "--bogus"}, "--bogus: unknown flag"},
        {"an unknown flag with a value", {"t", "--bogus=1"}, "--bogus: unknown flag"},
        {"a flag that only begins like one", {"t", "--listener=1"}, "--listener: unknown flag"},
        {"a short flag", {"t", "-l"}, "-l: unknown flag"},
        {"an argument", {"t", "serve"}, "serve: unexpected argument"},
        {"a missing value", {"t", "--data"}, "--data: needs a value: FILE"},
        {"a flag for a value", {"t", "--data", "--demo"}, "--data: needs a value"},
        {"an empty value", {"t", "--listen="}, "--listen: needs a value: HOST:PORT"},
        {"an empty value of its own", {"t", "--listen", ""}, "--listen: needs a value"},
        {"a flag given twice", {"t", "--workers", "1", "--workers=1"}, "--workers: given twice"},
        {"--demo twice", {"t", "--demo", "--demo"}, "--demo: given twice"},
        {"a value for --demo", {"t", "--demo=1"}, "--demo: takes no value"},
        {"a value for --help", {"t", "--help=x"}, "--help: takes no value"},
        {"usage is checked with --version too", {"t", "--version", "x"}, "x: unexpected argument"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        print_message("# %s\n", cases[i].rule);
        assert_refused(cases[i].argv, ENV(), (const char *const[]){cases[i].part, NULL});
    }
}

static void secrets_come_from_files(void **state)
{
    static const struct {
        const char *rule, *text, *wrong; /* NULL: taken */
    } cases[] = {
        {"as it is", COSMOS, NULL},
        {"a line end is trimmed", COSMOS "\n", NULL},
        {"that of DOS too", COSMOS "\r\n", NULL},
        {"an empty file", "", "COSMOS_CONNECTION_FILE: "},
        {"a line end alone", "\n", "COSMOS_CONNECTION_FILE: "},
        {"what is wrong in it is the setting's fault", "x=y",
         "COSMOS_CONNECTION: AccountEndpoint is missing"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *path = write_file(cases[i].text, strlen(cases[i].text));
        char *setting = join("COSMOS_CONNECTION_FILE", path);
        print_message("# %s\n", cases[i].rule);
        if (cases[i].wrong == NULL)
            assert_true(load_good(ARGS(), ENV(setting)).has_cosmos);
        else
            assert_refused(ARGS(), ENV(setting), (const char *const[]){cases[i].wrong, NULL});
        unlink(path);
        free(path);
        free(setting);
    }
}

static void secret_files_at_fault_are_named(void **state)
{
    static char large[65538];
    memset(large, 'x', sizeof large);
    char *path = write_file(large, 65537);
    char *setting = join("IOT_HUB_CONNECTION_FILE", path);
    assert_refused(ARGS(), ENV(setting), (const char *const[]){"larger than 64 KiB", NULL});
    unlink(path);
    free(path);
    free(setting);

    path = write_file("a\0b", 3);
    setting = join("IOT_HUB_CONNECTION_FILE", path);
    assert_refused(ARGS(), ENV(setting), (const char *const[]){"the file is not text", NULL});
    assert_refused(ARGS(), ENV(setting, HUB_ENV),
                   (const char *const[]){"IOT_HUB_CONNECTION: contradicts IOT_HUB_CONNECTION_FILE", NULL});
    unlink(path);
    free(path);
    free(setting);

    assert_refused(
        ARGS(), ENV("COSMOS_CONNECTION_FILE=/nowhere/secret"),
        (const char *const[]){"COSMOS_CONNECTION_FILE: '/nowhere/secret' cannot be used: No such", NULL});
    assert_refused(
        ARGS(), ENV("COSMOS_CONNECTION_FILE=/tmp"),
        (const char *const[]){"COSMOS_CONNECTION_FILE: '/tmp' cannot be used: Is a directory", NULL});
    load_good(ARGS(), ENV("TELEMETRYD_DATA_FILE=/nowhere/x")); /* not a secret, so nobody asks for it */
}

static void actions_are_chosen(void **state)
{
    static const struct {
        const char *argv[4];
        enum config_action action;
    } cases[] = {
        {{"t"}, CONFIG_SERVE},
        {{"t", "--demo"}, CONFIG_SERVE},
        {{"t", "--check-config"}, CONFIG_CHECK},
        {{"t", "--print-config"}, CONFIG_PRINT},
        {{"t", "--print-config", "--check-config"}, CONFIG_PRINT},
        {{"t", "--version"}, CONFIG_VERSION},
        {{"t", "--help"}, CONFIG_HELP},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct answer a = load(cases[i].argv, ENV());
        assert_int_equal(a.result, 0);
        assert_int_equal(a.action, cases[i].action);
        assert_int_equal(a.out[0] != '\0', cases[i].action >= CONFIG_PRINT);
        forget(&a);
    }
}

static void help_needs_no_valid_settings(void **state)
{
    struct answer a = load(ARGS("--help"), ENV("TELEMETRYD_WORKERS=x"));
    assert_int_equal(a.result, 0);
    for (unsigned i = 0; config_setting_name(i) != NULL; i++)
        assert_non_null(strstr(a.out, config_setting_name(i)));
    static const char *const flags[] = {"--demo",         "--listen HOST:PORT", "--data FILE", "--workers N",
                                        "--check-config", "--print-config",     "--version",   "--help"};
    for (size_t i = 0; i < COUNT(flags); i++)
        assert_non_null(strstr(a.out, flags[i]));
    forget(&a);
    a = load(ARGS("--version"), ENV("TELEMETRYD_WORKERS=x"));
    assert_int_equal(strncmp(a.out, "telemetryd ", 11), 0);
    forget(&a);
}

/* The line of a setting, its runs of spaces as one. */
static void assert_printed(const char *out, const char *name, const char *expected)
{
    char line[256];
    size_t n = 0;
    const char *at = strstr(out, name);
    assert_non_null(at);
    for (; *at != '\n' && n < sizeof line - 1; at++) {
        if (*at != ' ' || at[1] != ' ')
            line[n++] = *at;
    }
    line[n] = '\0';
    assert_string_equal(line, expected);
}

static void settings_are_printed_with_their_sources(void **state)
{
    char *path = write_file(HUB "\n", sizeof HUB);
    char *hub = join("IOT_HUB_CONNECTION_FILE", path);
    struct answer a = load(ARGS("--print-config", "--listen", "localhost:1"),
                           ENV(COSMOS_ENV, hub, "TELEMETRYD_WORKERS=2", "TELEMETRYD_DATA=/a\tb"));
    assert_int_equal(a.result, 0);
    assert_printed(a.out, "TELEMETRYD_LISTEN", "TELEMETRYD_LISTEN localhost:1 flag --listen");
    assert_printed(a.out, "TELEMETRYD_WORKERS", "TELEMETRYD_WORKERS 2 environment");
    assert_printed(a.out, "TELEMETRYD_DATA", "TELEMETRYD_DATA /a?b environment");
    assert_printed(a.out, "TELEMETRYD_TTL", "TELEMETRYD_TTL 7d default");
    assert_printed(a.out, "COSMOS_CONNECTION", "COSMOS_CONNECTION ******** environment");
    assert_printed(a.out, "COSMOS_ENDPOINT", "COSMOS_ENDPOINT - default");
    assert_printed(a.out, "IOT_HUB_CONNECTION", "IOT_HUB_CONNECTION ******** file");
    assert_printed(a.out, "IOT_HUB_ENDPOINT", "IOT_HUB_ENDPOINT https://hub.example default");
    assert_printed(a.out, "AZURE_CA_FILE", "AZURE_CA_FILE system CAs default");
    forget(&a);
    unlink(path);
    free(path);
    free(hub);
    a = load(ARGS("--print-config", "--demo"), ENV());
    assert_printed(a.out, "TELEMETRYD_DATA", "TELEMETRYD_DATA :memory: demo");
    forget(&a);
}

static void printed_columns_line_up(void **state)
{
    struct answer a = load(ARGS("--print-config"), ENV());
    size_t column = 0;
    unsigned lines = 0;
    for (const char *line = a.out; *line != '\0'; line = strchr(line, '\n') + 1) {
        const char *source = strstr(line, " default\n");
        assert_non_null(source);
        if (lines == 0)
            column = (size_t)(source - line);
        assert_int_equal(source - line, column);
        assert_int_equal(strncmp(line, config_setting_name(lines), strlen(config_setting_name(lines))), 0);
        lines++;
    }
    assert_null(config_setting_name(lines));
    forget(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usage_faults_are_refused),
        cmocka_unit_test(secrets_come_from_files),
        cmocka_unit_test(secret_files_at_fault_are_named),
        cmocka_unit_test(actions_are_chosen),
        cmocka_unit_test(help_needs_no_valid_settings),
        cmocka_unit_test(settings_are_printed_with_their_sources),
        cmocka_unit_test(printed_columns_line_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
