/*
 * harden.h - what the process gives up for its own safety before it reads the first secret.
 */
#ifndef TELEMETRYD_HARDEN_H
#define TELEMETRYD_HARDEN_H

/* No core file, whoever collects them, and no other process of the same user may attach or read our memory:
 * keys and tokens live there. What is not permitted to the process is left as it is. Call it first in main().
 */
void harden_process(void);

#endif
