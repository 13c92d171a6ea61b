/*
 * openapi_document.h - the API's contract (openapi/openapi.yaml) as the program was built with it, in both of
 * its forms.
 *
 * openapi/embed.py writes the definitions at build time. The texts are UTF-8, constant and NUL-terminated;
 * the lengths are in bytes and leave the NUL out.
 */
#ifndef TELEMETRYD_OPENAPI_DOCUMENT_H
#define TELEMETRYD_OPENAPI_DOCUMENT_H

#include <stddef.h>

extern const char openapi_yaml[]; /* byte for byte as it stands in the repository */
extern const size_t openapi_yaml_len;
extern const char openapi_json[]; /* the same document, compact, members in the same order */
extern const size_t openapi_json_len;

#endif
