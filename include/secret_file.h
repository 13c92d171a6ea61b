/*
 * secret_file.h - small files whose text must not stay in memory: keys, connection strings, tokens.
 *
 * The text lives in one allocation that is cleared before it is freed; no copy is left in buffers of stdio or
 * behind a realloc().
 *
 * A pipe is taken as well (a shell's `<(command)`); one that stays silent for 5 seconds is given up.
 *
 * Threads: any; blocks for as long as the file takes.
 */
#ifndef TELEMETRYD_SECRET_FILE_H
#define TELEMETRYD_SECRET_FILE_H

#include <stddef.h>

/* Reads the whole file, 1 to `most` bytes, into a NUL-terminated text. 0; -EFBIG: more than `most` bytes;
 * -ENODATA: empty; -EILSEQ: it holds a NUL, so it is no text; -ETIMEDOUT; -ENOMEM; else what open() or read()
 * said, such as -EISDIR. */
int secret_file_read(const char *path, size_t most, char **ret_text, size_t *ret_len);

/* Fit for a message: "the file is empty", "No such file or directory". */
const char *secret_file_error(int error);

/* Clears, then frees. Accepts NULL. */
void secret_file_free(char *text, size_t len);

#endif
