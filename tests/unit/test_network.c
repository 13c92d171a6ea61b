#include "network.h"

#include "buffer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static struct network_address address(const char *text)
{
    struct network_address a;
    assert_true(network_address_parse(text, strlen(text), &a));
    return a;
}

/* In the notation of inet_ntop(). */
static const char *text_of(const struct network_address *a, char out[INET6_ADDRSTRLEN])
{
    return inet_ntop(AF_INET6, a->bytes, out, INET6_ADDRSTRLEN);
}

static void addresses_are_read(void **state)
{
    static const struct {
        const char *rule, *text, *expected; /* NULL: refused */
    } cases[] = {
        {"IPv4 is mapped", "10.1.2.3", "::ffff:10.1.2.3"},
        {"the mapped form is the same address", "::ffff:10.1.2.3", "::ffff:10.1.2.3"},
        {"in hexadecimal too", "::FFFF:0a01:0203", "::ffff:10.1.2.3"},
        {"IPv6", "2001:DB8:0:0::1", "2001:db8::1"},
        {"the longest text", "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
        {"nothing", "", NULL},
        {"a name", "localhost", NULL},
        {"three numbers", "10.1.2", NULL},
        {"an octal number", "010.1.2.3", NULL},
        {"256", "256.1.2.3", NULL},
        {"a port", "10.1.2.3:80", NULL},
        {"brackets", "[::1]", NULL},
        {"a zone", "fe80::1%eth0", NULL},
        {"a blank", " ::1", NULL},
        {"a prefix", "::1/128", NULL},
        {"too long for an address", "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000", NULL},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct network_address a = {"untouched"};
        char out[INET6_ADDRSTRLEN];
        print_message("# %s\n", cases[i].rule);
        bool good = network_address_parse(cases[i].text, strlen(cases[i].text), &a);
        assert_int_equal(good, cases[i].expected != NULL);
        if (good)
            assert_string_equal(text_of(&a, out), cases[i].expected);
        else
            assert_memory_equal(a.bytes, "untouched", 10);
    }
}

static void a_text_ends_where_its_length_says(void **state)
{
    struct network_address a;
    assert_true(network_address_parse("10.1.2.34", 8, &a));
    assert_int_equal(a.bytes[15], 3);
    assert_false(network_address_parse("10.1.2.3\0.4", 11, &a));
}

static void addresses_come_from_sockets(void **state)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    const struct sockaddr other = {.sa_family = AF_UNIX};
    const struct network_address none = {{0}};

    inet_pton(AF_INET, "192.0.2.7", &in.sin_addr);
    inet_pton(AF_INET6, "2001:db8::7", &in6.sin6_addr);
    struct network_address a = network_address_of((const struct sockaddr *)&in),
                           expected = address("192.0.2.7");
    assert_memory_equal(&a, &expected, sizeof a);
    a = network_address_of((const struct sockaddr *)&in6);
    expected = address("2001:db8::7");
    assert_memory_equal(&a, &expected, sizeof a);
    a = network_address_of(&other);
    assert_memory_equal(&a, &none, sizeof a);
}

static void loopback_is_known(void **state)
{
    static const struct {
        const char *text;
        bool loopback;
    } cases[] = {
        {"127.0.0.1", true},
        {"127.255.255.255", true},
        {"126.255.255.255", false},
        {"128.0.0.0", false},
        {"::ffff:127.0.0.1", true},
        {"::1", true},
        {"::", false},
        {"::2", false},
        {"::127.0.0.1", false},
        {"0.0.0.0", false},
        {"fe80::1", false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct network_address a = address(cases[i].text);
        print_message("# %s\n", cases[i].text);
        assert_int_equal(network_address_is_loopback(&a), cases[i].loopback);
    }
}

static void a_list_has_what_its_networks_have(void **state)
{
    static const struct {
        const char *list, *address;
        bool has;
    } cases[] = {
        {"10.0.0.0/8", "10.255.255.255", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.0.0.0/8", "9.255.255.255", false},
        {"10.0.0.0/8", "::ffff:10.1.1.1", true},
        {"10.0.0.0/8", "a00::", false},
        {"192.168.4.0/22", "192.168.7.255", true},
        {"192.168.4.0/22", "192.168.8.0", false},
        {"192.0.2.1", "192.0.2.1", true},
        {"192.0.2.1", "192.0.2.0", false},
        {"192.0.2.1/32", "192.0.2.1", true},
        {"0.0.0.0/0", "255.1.2.3", true},
        {"0.0.0.0/0", "::1", false},
        {"2001:db8::/33", "2001:db8:7fff::1", true},
        {"2001:db8::/33", "2001:db8:8000::", false},
        {"::1", "::1", true},
        {"::1", "127.0.0.1", false},
        {"::/0", "2001:db8::1", true},
        {"::ffff:0:0/96", "1.2.3.4", true},
        {"192.0.2.1, 10.0.0.0/8\t,  ::1", "::1", true},
        {"192.0.2.1, 10.0.0.0/8\t,  ::1", "10.1.2.3", true},
        {"192.0.2.1, 10.0.0.0/8\t,  ::1", "192.0.2.2", false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct network_list list;
        struct network_address a = address(cases[i].address);
        print_message("# %s in %s\n", cases[i].address, cases[i].list);
        assert_true(network_list_parse(cases[i].list, &list));
        assert_int_equal(network_list_has(&list, &a), cases[i].has);
    }
}

static void a_list_at_fault_is_refused(void **state)
{
    static const char *const cases[] = {"",
                                        ",",
                                        "10.0.0.0/8,",
                                        ",10.0.0.0/8",
                                        "10.0.0.0/8,,::1",
                                        "10.0.0.0/33",
                                        "10.0.0.1/8",
                                        "10.0.0.0/",
                                        "10.0.0.0/-1",
                                        "10.0.0.0/08",
                                        "10.0.0.0/ 8",
                                        "10.0.0.0 /8",
                                        "::/129",
                                        "::1/64",
                                        "::/1000",
                                        "localhost",
                                        "10.0.0.0/8 ::1",
                                        "10.0.0.0-10.0.0.9",
                                        "[::1]",
                                        "10.0.0.0/8/8",
                                        "10.0.0.0;::1",
                                        "::ffff:0:0/95",
                                        "2001:db8::/32x"};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct network_list list = {.count = 7};
        print_message("# '%s'\n", cases[i]);
        assert_false(network_list_parse(cases[i], &list));
        assert_int_equal(list.count, 7);
    }
}

static void a_list_is_bounded(void **state)
{
    struct buffer text = {0};
    struct network_list list;

    for (unsigned i = 0; i < NETWORKS_MAX; i++)
        buffer_append_text(&text, i == 0 ? "1.2.3.4" : ",1.2.3.4");
    assert_true(network_list_parse(buffer_terminate(&text), &list));
    assert_int_equal(list.count, NETWORKS_MAX);
    buffer_append_text(&text, ",::1");
    assert_false(network_list_parse(buffer_terminate(&text), &list));
    buffer_free(&text);
}

static void the_caller_is_found(void **state)
{
    static const struct {
        const char *rule, *peer, *lines[3], *caller;
    } cases[] = {
        {"the peer where nothing was forwarded", "192.0.2.9", {NULL}, "192.0.2.9"},
        {"a peer that is not trusted is not believed", "192.0.2.9", {"198.51.100.1"}, "192.0.2.9"},
        {"a trusted peer alone", "10.0.0.1", {NULL}, "10.0.0.1"},
        {"what a trusted peer says", "10.0.0.1", {"198.51.100.1"}, "198.51.100.1"},
        {"an IPv4 peer in IPv6 clothes", "::ffff:10.0.0.1", {"198.51.100.1"}, "198.51.100.1"},
        {"from the right", "10.0.0.1", {"203.0.113.1, 198.51.100.1"}, "198.51.100.1"},
        {"trusted hops are skipped",
         "10.0.0.1",
         {"203.0.113.1, 198.51.100.1, 10.0.0.3,10.0.0.2"},
         "198.51.100.1"},
        {"several lines are one list",
         "10.0.0.1",
         {"203.0.113.1", "198.51.100.1", "10.0.0.2"},
         "198.51.100.1"},
        {"the last line comes first", "10.0.0.1", {"198.51.100.1", "203.0.113.1"}, "203.0.113.1"},
        {"trusted hops alone: the farthest", "10.0.0.1", {"10.0.0.4, 10.0.0.3", "10.0.0.2"}, "10.0.0.4"},
        {"IPv6", "10.0.0.1", {"2001:db8::1"}, "2001:db8::1"},
        {"IPv6 in brackets", "10.0.0.1", {"[2001:db8::1]"}, "2001:db8::1"},
        {"IPv6 with a port", "10.0.0.1", {"[2001:db8::1]:1234"}, "2001:db8::1"},
        {"IPv4 with a port", "10.0.0.1", {"198.51.100.1:1234"}, "198.51.100.1"},
        {"blanks", "10.0.0.1", {" \t198.51.100.1 \t"}, "198.51.100.1"},
        {"empty elements are skipped", "10.0.0.1", {"198.51.100.1, ,,", ""}, "198.51.100.1"},
        {"a name ends the way at the hop before",
         "10.0.0.1",
         {"198.51.100.1, unknown, 10.0.0.2"},
         "10.0.0.2"},
        {"text at once: the peer", "10.0.0.1", {"198.51.100.1, _hidden"}, "10.0.0.1"},
        {"text in a later line", "10.0.0.1", {"198.51.100.1", "x", "10.0.0.2"}, "10.0.0.2"},
        {"an empty port", "10.0.0.1", {"198.51.100.1:"}, "10.0.0.1"},
        {"a port of letters", "10.0.0.1", {"198.51.100.1:http"}, "10.0.0.1"},
        {"a port without end", "10.0.0.1", {"198.51.100.1:123456"}, "10.0.0.1"},
        {"an open bracket", "10.0.0.1", {"[2001:db8::1"}, "10.0.0.1"},
        {"text after a bracket", "10.0.0.1", {"[2001:db8::1]x"}, "10.0.0.1"},
        {"IPv4 in brackets", "10.0.0.1", {"[198.51.100.1]"}, "10.0.0.1"},
        {"a quoted element", "10.0.0.1", {"\"198.51.100.1\""}, "10.0.0.1"},
        {"a zone", "10.0.0.1", {"fe80::1%1"}, "10.0.0.1"},
    };
    struct network_list trusted;
    assert_true(network_list_parse("10.0.0.0/8", &trusted));

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct network_address peer = address(cases[i].peer);
        char out[INET6_ADDRSTRLEN], expected[INET6_ADDRSTRLEN];
        struct network_address wanted = address(cases[i].caller);
        size_t count = 0;
        while (count < COUNT(cases[i].lines) && cases[i].lines[count] != NULL)
            count++;
        print_message("# %s\n", cases[i].rule);
        struct network_address caller = network_caller(&trusted, &peer, cases[i].lines, count);
        assert_string_equal(text_of(&caller, out), text_of(&wanted, expected));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_read),
        cmocka_unit_test(a_text_ends_where_its_length_says),
        cmocka_unit_test(addresses_come_from_sockets),
        cmocka_unit_test(loopback_is_known),
        cmocka_unit_test(a_list_has_what_its_networks_have),
        cmocka_unit_test(a_list_at_fault_is_refused),
        cmocka_unit_test(a_list_is_bounded),
        cmocka_unit_test(the_caller_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
