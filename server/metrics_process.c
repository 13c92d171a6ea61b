#include "metrics_process.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static double cpu_seconds(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? seconds(usage.ru_utime) + seconds(usage.ru_stime) : -1;
}

static int64_t resident_bytes(void)
{
    long long pages = -1;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return -1;
    if (fscanf(file, "%*s %lld", &pages) != 1)
        pages = -1;
    fclose(file);
    return pages < 0 ? -1 : pages * sysconf(_SC_PAGESIZE);
}

static int64_t open_fds(void)
{
    int64_t count = 0;
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL)
        return -1;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count - 1; /* not the one that reads */
}

static int64_t max_fds(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return -1;
    return (int64_t)limit.rlim_cur;
}

/* The process's start in clock ticks after boot: field 22 of /proc/self/stat. The name in field 2 may hold
 * anything, so the fields are counted from its last parenthesis. */
static long long start_ticks(void)
{
    char line[1024];
    long long ticks = -1;
    FILE *file = fopen("/proc/self/stat", "re");
    if (file == NULL)
        return -1;
    size_t len = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[len] = '\0';
    const char *at = strrchr(line, ')');
    for (int field = 2; at != NULL && field < 22; field++)
        at = strchr(at + 1, ' ');
    if (at != NULL && sscanf(at, " %lld", &ticks) != 1)
        ticks = -1;
    return ticks;
}

/* The second the machine started: `btime` of /proc/stat, which unlike a difference of two clocks stays the
 * same from one scrape to the next. */
static long long boot_second(void)
{
    char line[256]; /* longer lines come in pieces; only digits follow, so no piece looks like btime */
    long long second = -1;
    FILE *file = fopen("/proc/stat", "re");
    if (file == NULL)
        return -1;
    while (second < 0 && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "btime %lld", &second) != 1)
            second = -1;
    }
    fclose(file);
    return second;
}

static double start_time_seconds(void)
{
    long long ticks = start_ticks();
    long long boot = boot_second();
    long per_second = sysconf(_SC_CLK_TCK);
    if (ticks < 0 || boot < 0 || per_second <= 0)
        return -1;
    return (double)boot + (double)ticks / (double)per_second;
}

struct process_numbers process_numbers_read(void)
{
    return (struct process_numbers){
        .cpu_seconds = cpu_seconds(),
        .resident_bytes = resident_bytes(),
        .open_fds = open_fds(),
        .max_fds = max_fds(),
        .start_time_seconds = start_time_seconds(),
    };
}
