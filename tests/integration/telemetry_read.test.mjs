// GET telemetry and latest over the embedded store: parameters, windows, order, paging, cursors.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { assertProblem, startServer } from '../support/server.mjs';

const json = { 'content-type': 'application/json' };
const nextSecond = () => new Promise((resolve) => setTimeout(resolve, 1005 - (Date.now() % 1000)));

describe('GET telemetry', () => {
    let server;
    before(async () => {
        server = await startServer();
        await server.post('known', [{ n: 0 }, { n: 1 }, { n: 2 }, { n: 3 }, { n: 4 }, { n: 5 }, { n: 6 }]);
    });
    after(() => server?.stop());

    const get = (query, device = 'known') => server.api(`/devices/${device}/telemetry${query}`);

    const accepted = [
        '', '?', '?hours=1', '?hours=0.5', '?hours=8784', '?hours=0.001', '?limit=1', '?limit=10000', '?order=asc', '?order=desc',
        '?from=now-6h', '?from=now-30s&to=now', '?from=now-10m', '?from=now-2d', '?from=now-1w', '?to=now',
        '?from=2026-01-01T00:00:00Z', '?from=2026-01-01T00:00:00%2B01:00', '?from=2026-01-01T00:00:00+01:00&to=now', '?from=2026-01-01T00:00:00.123456-05:00',
        '?from=1700000000', '?from=1700000000000', '?from=0', '?from=2026-01-01t00:00:00z', '?from=2024-02-29T00:00:00Z',
        '?%66rom=now-1h', '?from=n%6Fw-1h&order=asc&limit=5',
    ];
    for (const query of accepted) {
        it(`takes ${query || 'no query'}`, async () => {
            const response = await get(query);
            assert.equal(response.status, 200, String(response));
        });
    }

    const refused = [
        ...['0', '-1', '8784.01', '8785', 'abc', '', '1h', '%201', 'NaN', 'nan', 'Infinity', 'inf', '0x10', '1,5', '1e400', '.', '-0.5'].map((v) => [`?hours=${v}`, 'InvalidParameter', 'hours']),
        ...['0', '10001', '-1', '1.5', 'abc', '', '1e3', '0x1', '%201', '1%20', '99999999999999999999', '4294967297', '18446744073709551617'].map((v) => [`?limit=${v}`, 'InvalidParameter', 'limit']),
        ...['up', '', 'asc%20', 'ascending', 'de'].map((v) => [`?order=${v}`, 'InvalidParameter', 'order']),
        ...['', '2026-11-23', '2026-11-23T07:00:00', '2026-13-01T00:00:00Z', '2026-02-30T00:00:00Z', '2025-02-29T00:00:00Z', '2026-11-23T24:00:00Z', '2026-11-23T07:60:00Z',
            '2026-11-23%2007:00:00Z', 'yesterday', 'now-', 'now-6', 'now-6x', 'now-6H', 'now-1.5h', 'now--6h', 'now%2B1h', 'now+1h', 'now-6h6m', 'Now', '-5', '1.5', '1e9',
            'now-99999999999999999999s', '99999999999999999999', '2026-11-23T07:00:00%2B25:00', '2026-11-23T07:00Z', '20261123T070000Z'].map((v) => [`?from=${v}`, 'InvalidParameter', 'from']),
        ['?to=tomorrow', 'InvalidParameter', 'to'],
        ['?to=', 'InvalidParameter', 'to'],
        ['?from=now&to=now', 'InvalidParameter', 'from'],
        ['?from=now', 'InvalidParameter', 'from'],
        ['?from=1700000000&to=1700000000', 'InvalidParameter', 'from'],
        ['?from=1700000001&to=1700000000', 'InvalidParameter', 'from'],
        ['?from=2099-01-01T00:00:00Z', 'InvalidParameter', 'from'],
        ['?hours=1&from=now-1h', 'InvalidParameter', 'hours'],
        ['?from=now-1h&hours=1', 'InvalidParameter', 'hours'],
        ['?to=now&hours=1', 'InvalidParameter', 'hours'],
        ['?limit', 'InvalidParameter', 'limit'],
        ['?foo=1', 'UnknownParameter', 'foo'],
        ['?Hours=1', 'UnknownParameter', 'Hours'],
        ['?limit=5&foo=1', 'UnknownParameter', 'foo'],
        ['?limit=1&limit=2', 'DuplicateParameter', 'limit'],
        ['?limit=1&limit=1', 'DuplicateParameter', 'limit'],
        ['?lim%69t=1&limit=2', 'DuplicateParameter', 'limit'],
        ['?hours=1&order=asc&hours=1', 'DuplicateParameter', 'hours'],
        ['?cursor=', 'InvalidCursor', 'cursor'],
        ['?cursor=abc', 'InvalidCursor', 'cursor'],
        ['?cursor=eyJ2IjoxfQ', 'InvalidCursor', 'cursor'],
        ['?cursor=%00', undefined, undefined],
        ['?cursor=..%2F..%2Fetc', 'InvalidCursor', 'cursor'],
        [`?cursor=${'A'.repeat(6000)}`, 'InvalidCursor', 'cursor'],
        ['?limit=%zz', undefined, undefined],
        ['?limit=%', undefined, undefined],
        ['?limit=5%00', undefined, undefined],
        ['?=1', undefined, undefined],
    ];
    for (const [query, code, target] of refused) {
        it(`refuses ${query.slice(0, 60)}: ${code ?? 'a 400'}`, async () => {
            for (const device of ['known', 'unknown']) { // a request's own faults come before the device is looked up
                const response = await get(query, device);
                assert.equal(response.status, 400, String(response));
                if (code)
                    assertProblem(response, 400, code, { target });
            }
        });
    }

    it('says the window that it used: 24 hours by default', async () => {
        const before = Math.floor(Date.now() / 1000);
        const page = (await get('')).json;
        const until = Math.floor(Date.now() / 1000);
        const [from, to] = [Date.parse(page.from) / 1000, Date.parse(page.to) / 1000];
        assert.match(page.from, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
        assert.ok(to >= before && to <= until + 1, page.to);
        assert.equal(to - from, 86400);
        assert.equal(page.deviceId, 'known');
    });

    const windows = [
        ['?hours=1.5', 5400, undefined],
        ['?from=now-6h', 21600, undefined],
        ['?to=now-1h&from=now-3h', 7200, undefined],
        ['?to=2030-01-02T00:00:00Z', 86400, '2030-01-02T00:00:00Z'],
        ['?from=2025-12-31T23:00:00-01:00&to=2030-01-01T00:00:00Z', undefined, '2030-01-01T00:00:00Z', '2026-01-01T00:00:00Z'],
        ['?from=1700000000&to=4000000000', 2300000000, '2096-10-02T07:06:40Z', '2023-11-14T22:13:20Z'],
        ['?from=1700000000000&to=4000000000', 2300000000, '2096-10-02T07:06:40Z', '2023-11-14T22:13:20Z'],
    ];
    for (const [query, length, to, from] of windows) {
        it(`says the window of ${query}`, async () => {
            const page = (await get(query)).json;
            if (length !== undefined)
                assert.equal((Date.parse(page.to) - Date.parse(page.from)) / 1000, length);
            if (to !== undefined)
                assert.equal(page.to, to);
            if (from !== undefined)
                assert.equal(page.from, from);
        });
    }

    it('keeps the order within a second as stored, reversed for desc', async () => {
        const numbers = async (order) => (await get(`?order=${order}`)).json.telemetry.map((r) => r.data.n);
        assert.deepEqual(await numbers('asc'), [0, 1, 2, 3, 4, 5, 6]);
        assert.deepEqual(await numbers('desc'), [6, 5, 4, 3, 2, 1, 0]);
    });

    for (const order of ['asc', 'desc']) {
        for (const limit of [1, 2, 3, 6, 7, 8]) {
            it(`pages to the end with limit ${limit}, ${order}: every reading once`, async () => {
                const { readings, pages } = await server.readAll(`/devices/known/telemetry?limit=${limit}&order=${order}`);
                const expected = [0, 1, 2, 3, 4, 5, 6];
                assert.deepEqual(readings.map((r) => r.data.n), order === 'asc' ? expected : expected.reverse());
                assert.equal(pages.length, Math.ceil(7 / limit), 'nextLink is there exactly when more remains');
                assert.ok(pages.every((page) => page.from === pages[0].from && page.to === pages[0].to), 'one window for all pages');
                assert.ok(pages.slice(0, -1).every((page) => page.count === limit));
            });
        }
    }

    it('gives the same readings when new ones arrive between pages', async () => {
        await server.post('moving', Array.from({ length: 6 }, (_, n) => ({ n })));
        const first = (await server.api('/devices/moving/telemetry?limit=2')).json;
        await server.post('moving', [{ n: 100 }, { n: 101 }]);
        const { readings } = await server.readAll(first.nextLink);
        assert.deepEqual([...first.telemetry, ...readings].map((r) => r.data.n), [5, 4, 3, 2, 1, 0]);
    });

    it('binds a cursor to its device and its parameters', async () => {
        await server.post('other', Array.from({ length: 7 }, (_, n) => ({ n })));
        const next = (await get('?limit=2')).json.nextLink;
        const url = new URL(next, 'http://x');
        const cursor = url.searchParams.get('cursor');
        assert.ok(cursor);
        const variants = {
            'another device': next.replace('/devices/known/', '/devices/other/'),
            'another limit': next.replace('limit=2', 'limit=3'),
            'another order': next.includes('order=') ? next.replace('order=desc', 'order=asc') : `${next}&order=asc`,
            'a byte more': next.replace(cursor, `${cursor}A`),
            'a byte less': next.replace(cursor, cursor.slice(0, -1)),
            'a byte changed': next.replace(cursor, cursor.slice(0, 4) + (cursor[4] === 'A' ? 'B' : 'A') + cursor.slice(5)),
            'reversed': next.replace(cursor, [...cursor].reverse().join('')),
            'no other parameter': `/devices/known/telemetry?cursor=${cursor}`,
            'the list of devices': `/devices?limit=2&cursor=${cursor}`,
        };
        assert.ok(next.includes('limit=2'), `nextLink names the limit: ${next}`);
        for (const [name, path] of Object.entries(variants)) {
            const response = await server.api(path);
            assert.equal(response.status, 400, `${name}: ${response}`);
            assertProblem(response, 400, 'InvalidCursor', { target: 'cursor' });
        }
        assert.equal((await server.api(next)).status, 200, 'the link itself still works, more than once');
        assert.equal((await server.api(next)).json.telemetry[0].data.n, 4);
    });

    it('excludes from and includes to, so that adjacent windows share nothing', async () => {
        await server.post('edges', { n: 'a' });
        await nextSecond();
        await server.post('edges', { n: 'b' });
        await nextSecond();
        await server.post('edges', { n: 'c' });
        const all = (await server.api('/devices/edges/telemetry?order=asc')).json.telemetry;
        assert.deepEqual(all.map((r) => r.data.n), ['a', 'b', 'c']);
        const [a, b, c] = all.map((r) => r.timestamp);
        assert.ok(a < b && b < c);
        const names = async (from, to) => (await server.api(`/devices/edges/telemetry?from=${from}&to=${to}&order=asc`)).json.telemetry.map((r) => r.data.n);
        assert.deepEqual(await names(a, b), ['b']);
        assert.deepEqual(await names(b, c), ['c']);
        assert.deepEqual(await names(a - 1, a), ['a']);
        assert.deepEqual(await names(a * 1000, b * 1000), ['b']);
        assert.deepEqual(await names(a - 1, c + 5), ['a', 'b', 'c']);
        assert.deepEqual(await names(new Date(a * 1000).toISOString(), new Date(c * 1000).toISOString()), ['b', 'c']);
        const { readings } = await server.readAll('/devices/edges/telemetry?limit=1');
        assert.deepEqual(readings.map((r) => r.data.n), ['c', 'b', 'a']);
    });

    it('answers 404 for an unknown device, an empty page for a known one', async () => {
        assertProblem(await get('', 'nobody'), 404, 'DeviceNotFound', { detail: 'Device not found', title: 'Not Found', target: undefined });
        const empty = await get('?from=1&to=2');
        assert.equal(empty.status, 200);
        assert.deepEqual(empty.json.telemetry, []);
        assert.equal(empty.json.count, 0);
        assert.ok(!('nextLink' in empty.json));
        await server.api({ method: 'PATCH', path: '/devices/reported-only/reported', headers: json, body: '{"status":"online"}' });
        assert.deepEqual((await get('', 'reported-only')).json.telemetry, []);
    });

    it('has no Cosmos header in embedded mode, and may be kept by its caller', async () => {
        const response = await get('');
        assert.equal(response.header('x-ms-request-charge'), undefined);
        assert.equal(response.header('cache-control'), 'private, no-cache');
        assert.match(response.header('content-type'), /^application\/json(; ?charset=utf-8)?$/i);
    });

    it('serves 10,000 readings in one page, and large ones', async () => {
        for (let i = 0; i < 21; i++)
            await server.post('crowd', Array.from({ length: 500 }, (_, n) => ({ n: i * 500 + n })));
        const page = (await server.api('/devices/crowd/telemetry?limit=10000&order=asc')).json;
        assert.equal(page.count, 10000);
        assert.deepEqual(page.telemetry.map((r) => r.data.n), Array.from({ length: 10000 }, (_, n) => n));
        assert.equal((await server.api(page.nextLink)).json.count, 500);
        const large = 'x'.repeat(900_000);
        for (let i = 0; i < 6; i++)
            await server.post('large', { i, large });
        assert.deepEqual((await server.api('/devices/large/telemetry')).json.telemetry.map((r) => [r.data.i, r.data.large.length]), [5, 4, 3, 2, 1, 0].map((i) => [i, 900_000]));
    });

    it('serves the latest reading, the one stored last at one second', async () => {
        const response = await server.api('/devices/known/telemetry/latest');
        assert.equal(response.status, 200);
        assert.equal(response.json.deviceId, 'known');
        assert.deepEqual(response.json.data, { n: 6 });
        assert.ok(Math.abs(response.json.timestamp - Date.now() / 1000) < 60);
        assertProblem(await server.api('/devices/nobody/telemetry/latest'), 404, 'DeviceNotFound');
        assertProblem(await server.api('/devices/known/telemetry/latest?limit=1'), 400, 'UnknownParameter', { target: 'limit' });
        await server.api({ method: 'PATCH', path: '/devices/silent/reported', headers: json, body: '{}' });
        assertProblem(await server.api('/devices/silent/telemetry/latest'), 404, 'DeviceNotFound');
    });
});
