/*
 * health_command.h - `telemetryd --health URL`: asks a running server, for images that have no curl.
 */
#ifndef TELEMETRYD_HEALTH_COMMAND_H
#define TELEMETRYD_HEALTH_COMMAND_H

#include <stdio.h>

/* GETs the URL (http or https, no redirect, no proxy, a few seconds). Returns the exit status: 0 for an
 * answer of 200; 1 for another or none, 2 for what is no URL, with a line that says why. */
int health_command(const char *url, FILE *errors);

#endif
