#include "telemetry_format.h"

#include "json.h"
#include "siphash.h"
#include "time_text.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define SLOTS 2048 /* a power of two, twice the columns */

_Static_assert(SLOTS >= 2 * TELEMETRY_CSV_COLUMNS_MAX, "an open table must have room");

/* The fields by name. Names are strangers' choice, so the hash is keyed. */
struct columns {
    struct siphash_key key;
    unsigned count;
    unsigned expected;   /* index of the column that the next name probably has: readings are alike */
    unsigned row;        /* the one at hand, from 1 */
    struct buffer names; /* decoded, one after the other */
    struct column {
        size_t at, len;          /* in names */
        struct json_slice name;  /* as it was written first */
        struct json_slice value; /* of the row that it says */
        unsigned row;
    } columns[TELEMETRY_CSV_COLUMNS_MAX];
    uint16_t slots[SLOTS]; /* index + 1; 0: free */
    struct buffer scratch;
};

static int look_up_column(struct columns *columns, struct json_slice name, struct column **ret_column)
{
    uint64_t digest[2];
    struct buffer *decoded = &columns->scratch;

    buffer_clear(decoded);
    json_string_append(decoded, name);
    if (decoded->failed)
        return -ENOMEM;
    const char *text = decoded->len > 0 ? decoded->data : "";
    siphash(&columns->key, (const unsigned char *)text, decoded->len, digest);
    unsigned slot = (unsigned)digest[0] & (SLOTS - 1);
    for (; columns->slots[slot] != 0; slot = (slot + 1) & (SLOTS - 1)) {
        struct column *column = &columns->columns[columns->slots[slot] - 1];
        if (column->len == decoded->len &&
            (column->len == 0 || memcmp(columns->names.data + column->at, text, column->len) == 0)) {
            *ret_column = column;
            return 0;
        }
    }
    if (columns->count == TELEMETRY_CSV_COLUMNS_MAX)
        return -E2BIG;
    struct column *column = &columns->columns[columns->count];
    *column = (struct column){.at = columns->names.len, .len = decoded->len, .name = name};
    buffer_append(&columns->names, text, decoded->len);
    columns->slots[slot] = (uint16_t)++columns->count;
    *ret_column = column;
    return columns->names.failed ? -ENOMEM : 0;
}

/* The column of a name (a string slice), made where there is none. -E2BIG, -ENOMEM. */
static int find_column(struct columns *columns, struct json_slice name, struct column **ret_column)
{
    if (columns->expected < columns->count) {
        struct column *column = &columns->columns[columns->expected];
        if (column->name.len == name.len && memcmp(column->name.text, name.text, name.len) == 0) {
            columns->expected++;
            *ret_column = column;
            return 0;
        }
    }
    int r = look_up_column(columns, name, ret_column);
    if (r == 0)
        columns->expected = (unsigned)(*ret_column - columns->columns) + 1;
    return r;
}

static void set_value(struct columns *columns, struct column *column, struct json_slice value)
{
    column->value = value;
    column->row = columns->row;
}

/* Puts the values of one reading's data into their columns. */
static int take_data(struct columns *columns, struct json_slice data)
{
    struct column *column;
    int r = 0;

    columns->expected = 0;
    if (json_kind(data) != JSON_OBJECT) {
        r = find_column(columns, json_root("\"data\"", 6), &column);
        if (r == 0)
            set_value(columns, column, data);
        return r;
    }
    struct json_iter it = json_iter(data);
    while (r == 0 && json_next(&it)) {
        r = find_column(columns, it.name, &column);
        if (r == 0)
            set_value(columns, column, it.value);
    }
    return r;
}

static int learn_columns(struct columns *columns, struct json_slice page)
{
    struct json_iter it = json_iter(page);
    int r = 0;
    while (r == 0 && json_next(&it))
        r = take_data(columns, json_member(it.value, "data"));
    return r;
}

/* --- writing ----------------------------------------------------------------------------------- */

static void append_quoted(struct buffer *out, const char *text, size_t len)
{
    buffer_append_char(out, '"');
    for (const char *end = text + len, *quote; text < end; text = quote + 1) {
        quote = memchr(text, '"', (size_t)(end - text));
        if (quote == NULL) {
            buffer_append(out, text, (size_t)(end - text));
            break;
        }
        buffer_append(out, text, (size_t)(quote + 1 - text));
        buffer_append_char(out, '"');
    }
    buffer_append_char(out, '"');
}

/* Blanks at an end are quoted too: some readers trim what is not. */
static bool needs_quotes(const char *text, size_t len)
{
    if (len == 0 || text[0] == ' ' || text[len - 1] == ' ')
        return true;
    for (size_t i = 0; i < len; i++)
        if (text[i] == ',' || text[i] == '"' || text[i] == '\r' || text[i] == '\n' || text[i] == '\t')
            return true;
    return false;
}

static void append_text(struct buffer *out, const char *text, size_t len)
{
    if (needs_quotes(text, len))
        append_quoted(out, text, len);
    else
        buffer_append(out, text, len);
}

static void append_value(struct columns *columns, struct buffer *out, struct json_slice value)
{
    switch (json_kind(value)) {
    case JSON_NONE:
    case JSON_NULL: return;
    case JSON_STRING:
        buffer_clear(&columns->scratch);
        json_string_append(&columns->scratch, value);
        append_text(out, columns->scratch.len > 0 ? columns->scratch.data : "", columns->scratch.len);
        return;
    case JSON_OBJECT:
    case JSON_ARRAY: append_quoted(out, value.text, value.len); return;
    default: buffer_append(out, value.text, value.len);
    }
}

static void append_head(const struct columns *columns, struct buffer *out)
{
    buffer_append_text(out, "timestamp");
    for (unsigned i = 0; i < columns->count; i++) {
        const struct column *column = &columns->columns[i];
        buffer_append_char(out, ',');
        append_text(out, column->len > 0 ? columns->names.data + column->at : "", column->len);
    }
    buffer_append_text(out, "\r\n");
}

/* What a reading lacks costs next to nothing: thousands of rows may each lack a thousand fields. */
static void append_cells(struct columns *columns, struct buffer *out)
{
    char commas[TELEMETRY_CSV_COLUMNS_MAX];
    size_t pending = 0;

    memset(commas, ',', columns->count);
    for (unsigned i = 0; i < columns->count; i++) {
        pending++;
        if (columns->columns[i].row != columns->row)
            continue;
        buffer_append(out, commas, pending);
        pending = 0;
        append_value(columns, out, columns->columns[i].value);
    }
    buffer_append(out, commas, pending);
}

static int append_row(struct columns *columns, struct buffer *out, struct json_slice reading)
{
    char time[TIME_RFC3339_SIZE];
    int64_t timestamp = 0;

    columns->row++;
    int r = take_data(columns, json_member(reading, "data"));
    if (r != 0)
        return r;
    json_int64(json_member(reading, "timestamp"), &timestamp);
    buffer_append(out, time, time_format_rfc3339(timestamp, time));
    append_cells(columns, out);
    buffer_append_text(out, "\r\n");
    return columns->scratch.failed ? -ENOMEM : 0;
}

int telemetry_csv_append(struct buffer *out, const char *page, size_t len)
{
    const struct json_slice readings = json_root(page, len);
    struct columns *columns = calloc(1, sizeof *columns);
    if (columns == NULL || getrandom(&columns->key, sizeof columns->key, 0) != sizeof columns->key) {
        free(columns);
        return -ENOMEM;
    }
    int r = learn_columns(columns, readings);
    if (r == 0)
        append_head(columns, out);
    struct json_iter it = json_iter(readings);
    while (r == 0 && json_next(&it))
        r = append_row(columns, out, it.value);
    buffer_free(&columns->names);
    buffer_free(&columns->scratch);
    free(columns);
    return r != 0 ? r : out->failed ? -ENOMEM : 0;
}

/* --- lines ------------------------------------------------------------------------------------- */

/* A line break of a checked text is white space: within strings there is none. */
static void append_on_one_line(struct buffer *out, struct json_slice value)
{
    const char *text = value.text, *end = text + value.len;
    while (text < end) {
        size_t len = 0;
        while (text + len < end && text[len] != '\n' && text[len] != '\r')
            len++;
        buffer_append(out, text, len);
        text += len + 1;
    }
}

int telemetry_ndjson_append(struct buffer *out, const char *page, size_t len)
{
    struct json_iter it = json_iter(json_root(page, len));
    while (json_next(&it)) {
        append_on_one_line(out, it.value);
        buffer_append_char(out, '\n');
    }
    return out->failed ? -ENOMEM : 0;
}
