// csv.js - several pages of CSV as one file. Each page has a header row of its own fields, so pages may differ in their columns. Pure.

/** RFC 4180: records of fields. */
export function parse(text) {
    const records = [];
    let record = [];
    // A field is quoted text (quotes doubled), or anything up to a comma or a line's end; then what ends it.
    const pattern = /("(?:[^"]|"")*"|[^,\r\n]*)(,|\r\n|\n|$)/gy;
    while (pattern.lastIndex < text.length) {
        const match = pattern.exec(text);
        if (!match)
            throw new Error('not CSV');
        record.push(match[1].startsWith('"') ? match[1].slice(1, -1).replaceAll('""', '"') : match[1]);
        if (match[2] === ',') {
            if (pattern.lastIndex === text.length)
                record.push('');
            continue;
        }
        records.push(record);
        record = [];
    }
    if (record.length > 0)
        records.push(record);
    return records;
}

const quote = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);

/** The header row of a page, its line end included. */
const headerOf = (page) => /^(?:"(?:[^"]|"")*"|[^"\n])*\n/.exec(page)?.[0] ?? page;

/** Pages with the same header are put together byte by byte; others are read, and get the union of the columns. */
export function joinPages(pages) {
    const header = headerOf(pages[0] ?? '');
    if (pages.every((page) => headerOf(page) === header))
        return header + pages.map((page) => page.slice(header.length)).join('');
    const tables = pages.map(parse);
    const columns = [...new Set(tables.flatMap((table) => table[0] ?? []))];
    const lines = tables.flatMap(([names, ...rows]) => {
        const places = columns.map((column) => names.indexOf(column));
        return rows.map((row) => places.map((place) => quote(place < 0 ? '' : row[place])).join(','));
    });
    return [columns.map(quote).join(','), ...lines, ''].join('\r\n');
}
