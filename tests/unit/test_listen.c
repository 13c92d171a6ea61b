#include "listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { SOCKETS = 64, DIALLED_MAX = 4096, ROUNDS = 20 };

static int open_at(unsigned port, int *fds, unsigned count, char *address, size_t size, char *message)
{
    return listen_open("127.0.0.1", port, false, fds, count, address, size, message, 256);
}

static void close_all(const int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        close(fds[i]);
}

/* A port that no one else is given, though nobody listens there. */
static int hold_port(struct sockaddr_in *address)
{
    const int on = 1;
    socklen_t len = sizeof *address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    assert_int_equal(bind(fd, (struct sockaddr *)address, sizeof *address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)address, &len), 0);
    return fd;
}

static void all_share_the_port_that_the_kernel_chose(void **state)
{
    char address[300], message[256];
    int fds[SOCKETS];
    unsigned port = 0;

    assert_int_equal(open_at(0, fds, SOCKETS, address, sizeof address, message), 0);
    assert_int_equal(sscanf(address, "http://127.0.0.1:%u", &port), 1);
    for (unsigned i = 0; i < SOCKETS; i++) {
        struct sockaddr_in bound;
        socklen_t len = sizeof bound;
        assert_int_equal(getsockname(fds[i], (struct sockaddr *)&bound, &len), 0);
        assert_int_equal(ntohs(bound.sin_port), port);
    }
    close_all(fds, SOCKETS);
}

static void an_address_that_another_listens_on_is_refused(void **state)
{
    char address[300], message[256];
    int fds[2], more[2];
    unsigned port = 0;

    assert_int_equal(open_at(0, fds, 2, address, sizeof address, message), 0);
    sscanf(address, "http://127.0.0.1:%u", &port);
    int next = dup(0);
    assert_int_equal(open_at(port, more, 2, address, sizeof address, message), -EADDRINUSE);
    assert_non_null(strstr(message, "Address already in use"));
    close(next);
    int again = dup(0);
    assert_int_equal(again, next); /* nothing was left open */
    close(again);
    close_all(fds, 2);
}

struct dialling {
    struct sockaddr_in address;
    atomic_bool stop;
    int fds[DIALLED_MAX];
    atomic_uint tried, connected;
};

static void *dial(void *ctx)
{
    struct dialling *dialling = ctx;
    for (unsigned n = 0; n < DIALLED_MAX && !atomic_load(&dialling->stop);) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        atomic_fetch_add(&dialling->tried, 1);
        if (connect(fd, (struct sockaddr *)&dialling->address, sizeof dialling->address) == 0) {
            dialling->fds[n++] = fd;
            atomic_store(&dialling->connected, n);
        } else
            close(fd);
    }
    return NULL;
}

static void who_comes_while_the_sockets_are_opened_is_not_turned_away(void **state)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct dialling *dialling = calloc(1, sizeof *dialling);
        char address[300], message[256];
        int fds[SOCKETS];
        pthread_t thread;
        int holder = hold_port(&dialling->address);

        assert_int_equal(pthread_create(&thread, NULL, dial, dialling), 0);
        while (atomic_load(&dialling->tried) < 10)
            usleep(10);
        assert_int_equal(
            open_at(ntohs(dialling->address.sin_port), fds, SOCKETS, address, sizeof address, message), 0);
        while (atomic_load(&dialling->connected) < 4)
            usleep(100);
        atomic_store(&dialling->stop, true);
        pthread_join(thread, NULL);
        for (unsigned i = 0; i < dialling->connected; i++) {
            struct pollfd turned_away = {.fd = dialling->fds[i], .events = POLLIN};
            assert_int_equal(poll(&turned_away, 1, 0), 0);
        }
        close_all(dialling->fds, dialling->connected);
        close_all(fds, SOCKETS);
        close(holder);
        free(dialling);
    }
}

/* As the holder does not listen, the kernel's choice is only among the sockets of the server. */
static void connections_are_spread_over_all(void **state)
{
    char address[300], message[256];
    int fds[4], dialled[200];
    struct sockaddr_in to;
    int holder = hold_port(&to);

    assert_int_equal(open_at(ntohs(to.sin_port), fds, 4, address, sizeof address, message), 0);
    for (unsigned i = 0; i < COUNT(dialled); i++) {
        dialled[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(dialled[i], (struct sockaddr *)&to, sizeof to), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        unsigned got = 0;
        for (int fd; (fd = accept(fds[i], NULL, NULL)) >= 0; got++)
            close(fd);
        assert_in_range(got, 10, 150);
    }
    close_all(dialled, COUNT(dialled));
    close_all(fds, 4);
    close(holder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_share_the_port_that_the_kernel_chose),
        cmocka_unit_test(an_address_that_another_listens_on_is_refused),
        cmocka_unit_test(who_comes_while_the_sockets_are_opened_is_not_turned_away),
        cmocka_unit_test(connections_are_spread_over_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
