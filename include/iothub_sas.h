/*
 * iothub_sas.h - IoT Hub service SAS tokens (azure-protocols 2.1), kept and renewed well before they expire.
 */
#ifndef TELEMETRYD_IOTHUB_SAS_H
#define TELEMETRYD_IOTHUB_SAS_H

#include "buffer.h"
#include "connection_string.h"

#include <stdint.h>

/* Appends "SharedAccessSignature sr=..&sig=..&se=..&skn=.." (skn left out where policy is NULL or empty).
 * resource is raw ("myhub.azure-devices.net"). Returns 0 or negative. */
int iothub_sas_append(struct buffer *out, const char *resource, const unsigned char *key, size_t key_len,
                      const char *policy, int64_t expires_s);

/* A token for one hub, kept for an hour and made anew when less than ten minutes remain. One a worker. */
struct iothub_sas {
    struct buffer token; /* NUL-terminated */
    int64_t expires_s;
};
/* The value for Authorization, living until the next call; NULL on failure. */
const char *iothub_sas_get(struct iothub_sas *sas, const struct iothub_settings *hub, int64_t now_s);
void iothub_sas_free(struct iothub_sas *sas);

#endif
