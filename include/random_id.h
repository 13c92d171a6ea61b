/*
 * random_id.h - request ids: 32 hexadecimal digits, unique, not secret.
 */
#ifndef TELEMETRYD_RANDOM_ID_H
#define TELEMETRYD_RANDOM_ID_H

#define RANDOM_ID_SIZE 33

/* Writes an id and a NUL. From any thread. */
void random_id(char out[RANDOM_ID_SIZE]);

#endif
