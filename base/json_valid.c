#include "json.h"

#include "json_scan_inline.h"

bool json_valid(const char *text, size_t len, unsigned max_depth)
{
    const char *end = json_scan_trim(text, len);
    if (end == text)
        return false;
    const char *p = json_scan_gap(text);
    if (*p != '{' && *p != '[')
        return json_scan_scalar(p, end) == end;
    bool closed = end[-1] == '}' || end[-1] == ']';
    return closed && json_scan_container(p, end, max_depth) == end;
}
