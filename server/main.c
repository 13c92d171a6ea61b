#include "config.h"
#include "harden.h"
#include "health_command.h"
#include "problem.h"
#include "routes.h"
#include "server.h"
#include "token.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

/* Two tables for tests and generators; not in --help because no operator needs them. */
static bool print_table(const char *flag)
{
    struct buffer out = {0};

    if (strcmp(flag, "--print-routes") == 0)
        routes_print(&out);
    else if (strcmp(flag, "--print-problems") == 0)
        problems_print(&out);
    else
        return false;
    fwrite(out.data, 1, out.len, stdout);
    buffer_free(&out);
    return true;
}

int main(int argc, char **argv)
{
    struct config config = {0};
    enum config_action action;
    int status = 0;

    harden_process();
    if (argc == 2 && print_table(argv[1]))
        return 0;
    if (argc >= 2 && strcmp(argv[1], "token") == 0)
        return token_command(argc - 1, argv + 1);
    if (argc == 3 && strcmp(argv[1], "--health") == 0)
        return health_command(argv[2], stderr);
    if (config_load(argc, argv, environ, &config, &action, stdout, stderr) != 0)
        status = 2;
    else if (action == CONFIG_SERVE)
        status = server_run(&config);
    config_clear(&config);
    return status;
}
