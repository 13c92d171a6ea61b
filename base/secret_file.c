#include "secret_file.h"

#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SILENCE_MS 5000

/* Reads up to the end of the file. Returns the length or a negative errno. */
static ssize_t read_whole(int fd, char *out, size_t size)
{
    uint64_t deadline = clock_monotonic_ms() + SILENCE_MS;
    size_t len = 0;

    while (len < size) {
        ssize_t n = read(fd, out + len, size - len);
        if (n == 0)
            break;
        if (n > 0) {
            len += (size_t)n;
        } else if (errno == EAGAIN) {
            struct pollfd wait = {.fd = fd, .events = POLLIN};
            uint64_t now = clock_monotonic_ms();
            if (now >= deadline || poll(&wait, 1, (int)(deadline - now)) == 0)
                return -ETIMEDOUT;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return (ssize_t)len;
}

int secret_file_read(const char *path, size_t most, char **ret_text, size_t *ret_len)
{
    char *text = calloc(1, most + 2);
    if (text == NULL)
        return -ENOMEM;

    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    ssize_t len = fd < 0 ? -errno : read_whole(fd, text, most + 1);
    if (fd >= 0)
        close(fd);
    if (len == 0)
        len = -ENODATA;
    else if (len > (ssize_t)most)
        len = -EFBIG;
    else if (len > 0 && strlen(text) != (size_t)len)
        len = -EILSEQ;
    if (len < 0) {
        secret_file_free(text, most + 2);
        return (int)len;
    }
    *ret_text = text;
    *ret_len = (size_t)len;
    return 0;
}

const char *secret_file_error(int error)
{
    switch (error) {
    case -ENODATA: return "the file is empty";
    case -EFBIG: return "the file is too large";
    case -EILSEQ: return "the file is not text";
    default: return strerror(-error);
    }
}

void secret_file_free(char *text, size_t len)
{
    if (text != NULL)
        explicit_bzero(text, len);
    free(text);
}
