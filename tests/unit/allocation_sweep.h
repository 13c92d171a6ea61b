/*
 * allocation_sweep.h - lets the n-th allocation fail, for every n.
 *
 * The linker puts __wrap_* in the place of malloc() and its kin in our code and in libmicrohttpd
 * (meson.build); OpenSSL and jansson are handed the same functions. libjwt, libuv, SQLite and libcurl keep
 * their own.
 *
 * For a test program of one file.
 */
#ifndef TELEMETRYD_TESTS_ALLOCATION_SWEEP_H
#define TELEMETRYD_TESTS_ALLOCATION_SWEEP_H

#include <execinfo.h>
#include <link.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jwt.h>
#include <openssl/crypto.h>

/* A sweep is thousands of runs: where each block was allocated is not worth half of the time. (Less than 2
 * would hide leaks: the sanitizer takes a block without a caller for its own.) */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "malloc_context_size=4:quarantine_size_mb=4";
}

static atomic_long sweep_target; /* 0: nothing fails */
static atomic_long sweep_asked;
static atomic_bool sweep_onwards; /* what comes after the n-th fails too */

/* Threads whose allocations are the test's own. */
static _Thread_local bool sweep_exempt;

static void *sweep_frames[24]; /* where the n-th was asked for */
static int sweep_depth;

static bool sweep_denies(void)
{
    long target = atomic_load(&sweep_target);
    if (target == 0 || sweep_exempt)
        return false;
    long asked = atomic_fetch_add(&sweep_asked, 1) + 1;
    if (asked == target)
        sweep_depth = backtrace(sweep_frames, sizeof sweep_frames / sizeof *sweep_frames);
    return asked == target || (asked > target && atomic_load(&sweep_onwards));
}

/* For a message: addr2line -e PROGRAM makes lines of it. */
static void sweep_show(void)
{
    fflush(stdout);
    backtrace_symbols_fd(sweep_frames, sweep_depth, STDERR_FILENO);
}

static void sweep_arm(long n, bool onwards)
{
    atomic_store(&sweep_asked, 0);
    atomic_store(&sweep_onwards, onwards);
    atomic_store(&sweep_target, n);
}

/* Returns true when there was an n-th allocation, so that one failed. */
static bool sweep_disarm(void)
{
    long target = atomic_exchange(&sweep_target, 0);
    return atomic_load(&sweep_asked) >= target;
}

/* --- what stands in the place of the allocators ------------------------------------------------ */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t len);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t len);
int __wrap_asprintf(char **ret, const char *format, ...) __attribute__((format(printf, 2, 3)));
int __wrap___asprintf_chk(char **ret, int flag, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

void *__wrap_malloc(size_t size)
{
    return sweep_denies() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return sweep_denies() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *block, size_t size)
{
    return sweep_denies() ? NULL : __real_realloc(block, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return sweep_denies() ? NULL : __real_aligned_alloc(alignment, size);
}

char *__wrap_strdup(const char *text)
{
    return sweep_denies() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t len)
{
    return sweep_denies() ? NULL : __real_strndup(text, len);
}

int __wrap_asprintf(char **ret, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = sweep_denies() ? -1 : vasprintf(ret, format, args);
    va_end(args);
    return n;
}

int __wrap___asprintf_chk(char **ret, int flag, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = sweep_denies() ? -1 : vasprintf(ret, format, args);
    va_end(args);
    return n;
}

static void *crypto_malloc(size_t size, const char *file, int line)
{
    return __wrap_malloc(size);
}

static void *crypto_realloc(void *block, size_t size, const char *file, int line)
{
    return __wrap_realloc(block, size);
}

static void crypto_free(void *block, const char *file, int line)
{
    free(block);
}

static void *plain_malloc(size_t size)
{
    return __wrap_malloc(size);
}

static void plain_free(void *block)
{
    free(block);
}

/* --- libjwt, which takes no functions ---------------------------------------------------------- */

/* Of AddressSanitizer's runtime, where there is one; else glibc's. (Valgrind knows neither under these
 * names.) */
extern void *__interceptor_malloc(size_t size) __attribute__((weak));
extern void *__interceptor_calloc(size_t count, size_t size) __attribute__((weak));
extern void *__interceptor_realloc(void *block, size_t size) __attribute__((weak));
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);

static struct {
    uintptr_t start, end;
} libjwt;

static int find_libjwt(struct dl_phdr_info *info, size_t size, void *ctx)
{
    for (int i = 0; strstr(info->dlpi_name, "libjwt") != NULL && i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_X) != 0) {
            libjwt.start = info->dlpi_addr + segment->p_vaddr;
            libjwt.end = libjwt.start + segment->p_memsz;
        }
    }
    return 0;
}

/* libjwt asks for (size_t)-1 bytes where OpenSSL had no memory to tell a size, and takes NULL for an answer;
 * the sanitizer would not give it one. */
static bool libjwt_denied(const void *caller, size_t size)
{
    return size > PTRDIFF_MAX ||
           ((uintptr_t)caller >= libjwt.start && (uintptr_t)caller < libjwt.end && sweep_denies());
}

void *malloc(size_t size)
{
    if (libjwt_denied(__builtin_return_address(0), size))
        return NULL;
    return __interceptor_malloc != NULL ? __interceptor_malloc(size) : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    if (libjwt_denied(__builtin_return_address(0), size))
        return NULL;
    return __interceptor_calloc != NULL ? __interceptor_calloc(count, size) : __libc_calloc(count, size);
}

void *realloc(void *block, size_t size)
{
    if (libjwt_denied(__builtin_return_address(0), size))
        return NULL;
    return __interceptor_realloc != NULL ? __interceptor_realloc(block, size) : __libc_realloc(block, size);
}

/* Where ECDSA_SIG_new() fails, libjwt 1.10 loses the two numbers that it was for. That is not ours to mend,
 * and the sanitizer's quick stack traces do not reach back to libjwt, by which a suppression would know it.
 */
int __real_jwt_decode(jwt_t **jwt, const char *token, const unsigned char *key, int key_len);
int __wrap_jwt_decode(jwt_t **jwt, const char *token, const unsigned char *key, int key_len);
extern void __lsan_disable(void) __attribute__((weak));
extern void __lsan_enable(void) __attribute__((weak));

int __wrap_jwt_decode(jwt_t **jwt, const char *token, const unsigned char *key, int key_len)
{
    bool leaks = atomic_load(&sweep_target) != 0 && __lsan_disable != NULL;
    if (leaks)
        __lsan_disable();
    int r = __real_jwt_decode(jwt, token, key, key_len);
    if (leaks)
        __lsan_enable();
    return r;
}

/* --- */

/* jansson.h and json.h cannot meet in one file. */
extern void json_set_alloc_funcs(void *(*)(size_t), void (*)(void *));

/* Before anything else of the libraries is used. False where that comes too late. */
static bool sweep_take_libraries(void)
{
    backtrace(sweep_frames, 1); /* what it loads, it loads now */
    json_set_alloc_funcs(plain_malloc, plain_free);
    dl_iterate_phdr(find_libjwt, NULL);
    return libjwt.end != 0 && CRYPTO_set_mem_functions(crypto_malloc, crypto_realloc, crypto_free) == 1;
}

#endif
