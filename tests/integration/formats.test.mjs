// Formats, codings and entity tags of GET telemetry, latest and status.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { gunzipSync } from 'node:zlib';
import Papa from 'papaparse';
import { request } from '../support/http.mjs';
import { assertProblem, startServer } from '../support/server.mjs';

/** Readings that CSV makes trouble with. */
const hostile = [
    { temperature: 21.5, note: 'plain' },
    { note: 'a "quoted", comma' },
    { note: 'two\r\nlines', 'a,b': 1, 'a"b': 2 },
    { note: ' blanks ', nested: { x: [1, 'a"b', null], y: {} }, list: [] },
    { note: 'é 😀 \u2028', on: true, off: false, nothing: null, empty: '' },
    { big: 1e300, small: -0.125, note: '=1+1' },
    { '': 'no name', ' ': 'a blank', 'tab\t': 'tab\t' },
    { __proto__x: 1, constructor: 2, 'x.y': 3 },
];

/** What a cell of a JSON value is. */
const cell = (value) => (value === null || value === undefined ? '' : typeof value === 'object' ? JSON.stringify(value) : String(value));

describe('formats', () => {
    let server;
    before(async () => {
        server = await startServer();
        await server.post('d', hostile);
        await server.post('long', Array.from({ length: 100 }, (_, n) => ({ n, text: 'x'.repeat(20) })));
    });
    after(() => server?.stop());

    const get = (path, headers = {}, method = 'GET') => server.api(`/devices/${path}`, { headers, method });

    it('CSV, opened by another parser, says what JSON says', async () => {
        const json = (await get('d/telemetry?order=asc')).json.telemetry;
        const csv = await get('d/telemetry?order=asc', { accept: 'text/csv' });
        assert.equal(csv.header('content-type'), 'text/csv; charset=utf-8; header=present');
        const { data: [head, ...rows], errors } = Papa.parse(csv.text, { newline: '\r\n', skipEmptyLines: true });
        assert.deepEqual(errors, []);
        const fields = [...new Set(json.flatMap(({ data }) => Object.keys(data)))];
        assert.deepEqual(head, ['timestamp', ...fields]);
        assert.equal(rows.length, json.length);
        rows.forEach((row, i) => {
            assert.equal(row[0], new Date(json[i].timestamp * 1000).toISOString().replace('.000Z', 'Z'));
            fields.forEach((field, column) => assert.equal(row[column + 1], cell(Object.hasOwn(json[i].data, field) ? json[i].data[field] : undefined), `${i}: ${field}`));
        });
    });

    it('NDJSON is the readings, one a line', async () => {
        const json = (await get('d/telemetry')).json.telemetry;
        const lines = await get('d/telemetry', { accept: 'application/x-ndjson' });
        assert.equal(lines.header('content-type'), 'application/x-ndjson');
        assert.deepEqual(lines.text.trimEnd().split('\n').map((line) => JSON.parse(line)), json);
    });

    it('keeps line breaks of a stored text out of the lines', async () => {
        await server.api('/devices/broken/telemetry', { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{\n  "a": "b\\n",\r\n  "c": [1,\n2]\n}' });
        const lines = (await get('broken/telemetry', { accept: 'application/x-ndjson' })).text.split('\n');
        assert.equal(lines.length, 2);
        assert.deepEqual(JSON.parse(lines[0]).data, { a: 'b\n', c: [1, 2] });
    });

    for (const accept of ['text/csv', 'application/x-ndjson']) {
        it(`pages ${accept} by Link alone`, async () => {
            let path = '/devices/long/telemetry?limit=30&order=asc';
            let rows = 0;
            for (let pages = 1; path; pages++) {
                const page = await server.api(path, { headers: { accept } });
                rows += page.text.trimEnd().split('\n').length - (accept === 'text/csv' ? 1 : 0);
                path = /<([^>]+)>; rel="next"/.exec(page.header('link') ?? '')?.[1];
                assert.ok(pages <= 4);
            }
            assert.equal(rows, 100);
        });
    }

    it('says of a known device without readings that the table is empty', async () => {
        await server.api('/devices/idle/reported', { method: 'PATCH', headers: { 'content-type': 'application/json' }, body: '{"status":"online"}' });
        assert.equal((await get('idle/telemetry', { accept: 'text/csv' })).text, 'timestamp\r\n');
        assert.equal((await get('idle/telemetry', { accept: 'application/x-ndjson' })).text, '');
    });

    const unacceptable = [
        ['d/telemetry', 'image/png'], ['d/telemetry', 'application/json;q=0'], ['d/telemetry/latest', 'text/csv'],
        ['d/status', 'text/csv'], ['nobody/telemetry', 'text/html'],
    ];
    for (const [path, accept] of unacceptable)
        it(`406 for ${path} as ${accept}`, async () => assertProblem(await get(path, { accept }), 406, 'NotAcceptable', { target: 'Accept' }));

    it('406 where the readings have more fields than a table may', async () => {
        await server.post('wide', [Object.fromEntries(Array.from({ length: 1001 }, (_, i) => [`f${i}`, i]))]);
        assertProblem(await get('wide/telemetry', { accept: 'text/csv' }), 406, 'NotAcceptable', { target: 'Accept' });
    });

    for (const [path, accept] of [['long/telemetry', '*/*'], ['long/telemetry', 'text/csv'], ['long/telemetry', 'application/x-ndjson']]) {
        it(`gzips ${path} as ${accept}, and only for callers that accept it`, async () => {
            const window = `from=now-1h&to=${Math.floor(Date.now() / 1000) + 5}`;
            const plain = await get(`${path}?${window}`, { accept });
            const small = await request(server.url, { path: `/devices/${path}?${window}`, headers: { accept, 'accept-encoding': 'gzip, br' } });
            assert.equal(plain.header('content-encoding'), undefined);
            assert.equal(small.header('content-encoding'), 'gzip');
            assert.ok(small.body.length < plain.body.length / 2);
            const cut = (text) => text.replace(/"from":"[^"]*","to":"[^"]*"/, '');
            assert.equal(cut(gunzipSync(small.body).toString()), cut(plain.text));
            assert.match(small.header('vary'), /Accept-Encoding/);
            assert.notEqual(small.header('etag'), plain.header('etag'));
        });
    }

    it('leaves small bodies and problems alone', async () => {
        for (const path of ['/devices/d/telemetry/latest', '/devices/nobody/telemetry'])
            assert.equal((await request(server.url, { path, headers: { 'accept-encoding': 'gzip' } })).header('content-encoding'), undefined);
    });
});

describe('entity tags', () => {
    let server;
    before(async () => {
        server = await startServer();
    });
    after(() => server?.stop());

    const tag = async (path, headers = {}) => (await server.api(`/devices/${path}`, { headers })).header('etag');
    let devices = 0;
    const withReadings = async () => {
        const device = `e${devices++}`;
        await server.post(device, [{ n: 1 }, { n: 2 }, { n: 3 }]);
        return device;
    };
    const post = (device, body) => server.post(device, body);

    /** What happens between two answers, and whether the second one says something else. */
    const changes = [
        ['telemetry', 'nothing', () => {}, false],
        ['telemetry', 'a second', () => new Promise((resolve) => setTimeout(resolve, 1010)), false],
        ['telemetry', 'a reading of another device', () => post('other', { n: 1 }), false],
        ['telemetry', 'a reading', (device) => post(device, { n: 4 }), true],
        ['telemetry', 'the same reading again', (device) => post(device, { n: 3 }), true],
        ['telemetry?limit=2', 'nothing', () => {}, false],
        ['telemetry?limit=2', 'a reading', (device) => post(device, { n: 4 }), true],
        ['telemetry?order=asc&limit=2', 'a reading behind the page', (device) => post(device, { n: 4 }), false],
        ['telemetry?order=asc&limit=3', 'that more remains now', (device) => post(device, { n: 4 }), true],
        ['telemetry/latest', 'nothing', () => {}, false],
        ['telemetry/latest', 'a reading', (device) => post(device, { n: 4 }), true],
        ['status', 'nothing', () => {}, false],
        ['status', 'a report', (device) => server.api(`/devices/${device}/reported`, { method: 'PATCH', headers: { 'content-type': 'application/json' }, body: '{"status":"busy"}' }), true],
    ];
    for (const [path, what, act, changed] of changes) {
        it(`${path}: ${what} ${changed ? 'makes another' : 'keeps the'} tag`, async () => {
            const device = await withReadings();
            const first = await tag(`${device}/${path}`);
            assert.match(first, /^"[0-9a-f]{32}"$/);
            await act(device);
            const again = await server.api(`/devices/${device}/${path}`, { headers: { 'if-none-match': first } });
            assert.equal(again.status, changed ? 200 : 304);
            assert.equal(again.header('etag') !== first, changed);
            assert.equal(again.body.length > 0, changed);
        });
    }

    it('differs by order, limit, format and coding', async () => {
        const device = await withReadings();
        const tags = await Promise.all([
            tag(`${device}/telemetry`), tag(`${device}/telemetry?order=asc`), tag(`${device}/telemetry?limit=1`),
            tag(`${device}/telemetry`, { accept: 'text/csv' }), tag(`${device}/telemetry`, { accept: 'application/x-ndjson' }),
        ]);
        assert.equal(new Set(tags).size, tags.length, String(tags));
    });

    const fields = [['*', 304], ['W/TAG', 304], ['"x", TAG', 304], ['"x"', 200]];
    for (const [field, status] of fields) {
        it(`If-None-Match: ${field} is ${status}, for HEAD too`, async () => {
            const device = await withReadings();
            const path = `/devices/${device}/telemetry/latest`;
            const own = (await server.api(path)).header('etag');
            for (const method of ['GET', 'HEAD']) {
                const response = await server.api(path, { method, headers: { 'if-none-match': field.replace('TAG', own) } });
                assert.equal(response.status, status);
                assert.equal(response.header('cache-control'), 'private, no-cache');
                assert.match(response.header('vary'), /Accept-Encoding/);
            }
        });
    }

    it('a window that ended over a minute ago may be kept for a minute', async () => {
        const device = await withReadings();
        const cases = [['', 'private, no-cache'], ['?from=now-1h&to=now-30s', 'private, no-cache'], ['?from=now-1h&to=now-90s', 'private, max-age=60']];
        for (const [query, expected] of cases)
            assert.equal((await server.api(`/devices/${device}/telemetry${query}`)).header('cache-control'), expected, query);
    });
});
