/*
 * memory_search.h - is a text anywhere in this process's memory? For the tests that secrets are cleared.
 *
 * The text is only ever held inverted here, or the search would find itself.
 */
#ifndef TELEMETRYD_MEMORY_SEARCH_H
#define TELEMETRYD_MEMORY_SEARCH_H

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SEARCHED_MAX ((size_t)256 << 20) /* a mapping larger than that is a sanitizer's own */

/* 64 characters of base64's alphabet, inverted; different for each seed. */
struct hidden_text {
    unsigned char inverted[64];
};

static inline struct hidden_text hidden_text_make(uint64_t seed)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct hidden_text hidden;
    for (size_t i = 0; i < sizeof hidden.inverted; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        hidden.inverted[i] = (unsigned char)~alphabet[seed >> 58];
    }
    return hidden;
}

/* A file with the text between two others; a byte at a time, so that it is nowhere whole. */
static inline void hidden_text_write(int fd, const char *before, const struct hidden_text *hidden,
                                     const char *after)
{
    assert_int_equal(write(fd, before, strlen(before)), (ssize_t)strlen(before));
    for (size_t i = 0; i < sizeof hidden->inverted; i++) {
        volatile char c = (char)~hidden->inverted[i];
        assert_int_equal(write(fd, (const char *)&c, 1), 1);
    }
    assert_int_equal(write(fd, after, strlen(after)), (ssize_t)strlen(after));
}

static inline unsigned memory_search_bytes(const unsigned char *bytes, size_t len,
                                           const unsigned char *inverted, size_t inverted_len)
{
    unsigned found = 0;
    for (size_t i = 0; i + inverted_len <= len; i++) {
        size_t n = 0;
        while (n < inverted_len && (bytes[i + n] ^ inverted[n]) == 0xff)
            n++;
        found += n == inverted_len;
    }
    return found;
}

/* How often `inverted` stands in the memory that can be written. */
static inline unsigned memory_search_inverted(const unsigned char *inverted, size_t inverted_len)
{
    static unsigned char window[65536 + 256];
    unsigned found = 0;
    unsigned long from, to;
    char line[512], rights[8];
    FILE *maps = fopen("/proc/self/maps", "re");
    int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);

    assert_non_null(maps);
    assert_true(memory >= 0);
    assert_true(inverted_len <= 256);
    while (fgets(line, sizeof line, maps) != NULL) {
        if (sscanf(line, "%lx-%lx %7s", &from, &to, rights) != 3 || rights[1] != 'w' ||
            to - from > SEARCHED_MAX)
            continue;
        for (unsigned long at = from; at < to; at += 65536) {
            size_t wanted = to - at < sizeof window ? to - at : sizeof window;
            ssize_t n = pread(memory, window, wanted, (off_t)at);
            /* What overlaps the window would be the last piece over again. */
            if (n <= 0 || ((uintptr_t)window < at + sizeof window && (uintptr_t)window + sizeof window > at))
                continue;
            size_t usable = (size_t)n < 65536 + inverted_len - 1 ? (size_t)n : 65536 + inverted_len - 1;
            found += memory_search_bytes(window, usable, inverted, inverted_len);
        }
    }
    memset(window, 0, sizeof window);
    close(memory);
    fclose(maps);
    return found;
}

/* From its middle, since free() writes over the beginning of what it is given. */
static inline unsigned memory_search(const struct hidden_text *hidden)
{
    return memory_search_inverted(hidden->inverted + 24, 24);
}

#endif
