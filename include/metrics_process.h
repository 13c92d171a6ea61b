/*
 * metrics_process.h - what the kernel knows of this process, for /metrics (getrusage(2), proc(5)).
 */
#ifndef TELEMETRYD_METRICS_PROCESS_H
#define TELEMETRYD_METRICS_PROCESS_H

#include <stdint.h>

/* What cannot be read (no /proc) is negative. */
struct process_numbers {
    double cpu_seconds; /* user and system */
    int64_t resident_bytes;
    int64_t open_fds;
    int64_t max_fds;           /* the soft limit; negative where there is none */
    double start_time_seconds; /* since 1970 */
};

struct process_numbers process_numbers_read(void);

#endif
