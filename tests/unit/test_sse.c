#include "sse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void line_breaks_become_lines(void **state)
{
    static const struct {
        const char *rule, *text, *lines;
    } cases[] = {
        {"none", "{\"a\":1}", "{\"a\":1}"},
        {"LF", "{\n\"a\":1}", "{\ndata: \"a\":1}"},
        {"CRLF is one", "{\r\n\"a\":1}", "{\ndata: \"a\":1}"},
        {"CR", "{\r\"a\":1}", "{\ndata: \"a\":1}"},
        {"LF CR are two", "{\n\r\"a\":1}", "{\ndata: \ndata: \"a\":1}"},
        {"two LF", "{\n\n}", "{\ndata: \ndata: }"},
        {"at the end", "{}\n", "{}\ndata: "},
        {"CR at the end", "{}\r", "{}\ndata: "},
        {"at the beginning", "\n{}", "\ndata: {}"},
        {"an escaped one is no line break", "\"\\n\"", "\"\\n\""},
        {"nothing", "", ""},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buffer out = {0};
        sse_data(&out, cases[i].text, strlen(cases[i].text));
        print_message("%s\n", cases[i].rule);
        assert_string_equal(out.len > 0 ? buffer_terminate(&out) : "", cases[i].lines);
        buffer_free(&out);
    }
}

static void a_block_is_a_chunk(void **state)
{
    static const struct {
        bool chunked;
        const char *text;
    } cases[] = {
        {true, "00000008\r\nid: 1\n\n\n\r\n0000000d\r\n: heartbeat\n\n\r\n0\r\n\r\n"},
        {false, "id: 1\n\n\n: heartbeat\n\n"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buffer out = {0};
        size_t block = sse_begin(&out, cases[i].chunked);
        buffer_append_text(&out, "id: 1\n\n\n");
        sse_end(&out, cases[i].chunked, block);
        sse_comment(&out, cases[i].chunked, "heartbeat");
        sse_close(&out, cases[i].chunked);
        assert_string_equal(buffer_terminate(&out), cases[i].text);
        buffer_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_breaks_become_lines),
        cmocka_unit_test(a_block_is_a_chunk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
