// Status, reported properties, the list of devices and the alphabet of device ids, embedded.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { assertProblem, startServer } from '../support/server.mjs';

const json = { 'content-type': 'application/json' };
const merge = { 'content-type': 'application/merge-patch+json' };
const nested = (depth) => '{"a":'.repeat(depth - 1) + '{}' + '}'.repeat(depth - 1);

describe('devices, embedded', () => {
    let server;
    before(async () => {
        server = await startServer();
    });
    after(() => server?.stop());

    const patch = (device, body, headers = merge) =>
        server.api({ method: 'PATCH', path: `/devices/${device}/reported`, headers, body: typeof body === 'string' ? body : JSON.stringify(body) });
    const status = (device) => server.api(`/devices/${device}/status`);

    describe('status', () => {
        it('is 404 for a device that was neither reported nor has stored', async () => {
            assertProblem(await status('nobody'), 404, 'DeviceNotFound', { detail: 'Device not found' });
        });

        it('knows a device by its first reading, which is its heartbeat', async () => {
            await server.post('reader', { a: 1 });
            const device = (await status('reader')).json;
            assert.deepEqual({ ...device, lastSeen: undefined }, {
                deviceId: 'reader', status: null, lastSeen: undefined, firmwareVersion: null, connectionState: 'Connected', enabled: true,
            });
            assert.ok(Math.abs(Date.parse(device.lastSeen) - Date.now()) < 60_000, device.lastSeen);
            assert.match(device.lastSeen, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
        });

        it('shows what was reported, and is Disconnected without a reading', async () => {
            await patch('reporter', { status: 'online', firmwareVersion: '1.4.2', lastHeartbeat: '2020-01-01T00:00:00Z', other: 1 });
            assert.deepEqual((await status('reporter')).json, {
                deviceId: 'reporter', status: 'online', lastSeen: '2020-01-01T00:00:00Z', firmwareVersion: '1.4.2', connectionState: 'Disconnected', enabled: true,
            });
            await server.post('reporter', { a: 1 });
            const after = (await status('reporter')).json;
            assert.equal(after.connectionState, 'Connected');
            assert.equal(after.status, 'online');
            assert.ok(Date.parse(after.lastSeen) > Date.parse('2026-01-01T00:00:00Z'), 'a reading moves lastHeartbeat');
        });

        it('passes any JSON value as it is', async () => {
            await patch('values', '{"status":{"b":1.10,"a":[1E5]},"firmwareVersion":100000000000000000000,"lastHeartbeat":false}');
            const { text } = await status('values');
            assert.ok(text.includes('"status":{"b":1.10,"a":[1E5]}'), text);
            assert.ok(text.includes('"firmwareVersion":100000000000000000000'), text);
            assert.ok(text.includes('"lastSeen":false'), text);
        });

        it('takes no parameter', async () => {
            assertProblem(await server.api('/devices/reader/status?x=1'), 400, 'UnknownParameter', { target: 'x' });
        });
    });

    describe('PATCH reported', () => {
        it('merges as RFC 7396 says and answers the whole', async () => {
            const steps = [
                ['{"a":1,"b":{"c":1.50,"d":[1,2]}}', { a: 1, b: { c: 1.5, d: [1, 2] } }],
                ['{"b":{"c":null,"e":"x"}}', { a: 1, b: { d: [1, 2], e: 'x' } }],
                ['{"a":null,"b":{"d":[3]}}', { b: { d: [3], e: 'x' } }],
                ['{}', { b: { d: [3], e: 'x' } }],
                ['{"b":5}', { b: 5 }],
                ['{"b":{"f":{"g":null,"h":1}}}', { b: { f: { h: 1 } } }],
                ['{"nothing":null}', { b: { f: { h: 1 } } }],
            ];
            for (const [body, expected] of steps) {
                const response = await patch('merged', body);
                assert.equal(response.status, 200, String(response));
                assert.deepEqual(response.json, expected, body);
            }
        });

        it('takes both content types and keeps bytes', async () => {
            assert.equal((await patch('types', '{"a":1.0}', json)).status, 200);
            const response = await patch('types', '{"b":1E5}', merge);
            assert.ok(response.text.includes('"a":1.0') && response.text.includes('"b":1E5'), response.text);
        });

        const refused = [
            ['[]', 400, 'InvalidPatch'], ['5', 400, 'InvalidPatch'], ['null', 400, 'InvalidPatch'], ['"x"', 400, 'InvalidPatch'],
            [nested(11), 400, 'InvalidPatch'],
            ['{"a":}', 400, 'InvalidJson'], ['', 400, 'InvalidJson'], ['{"a":1,"a":2}', 400, 'InvalidJson'], ['{"a":{"b":1,"b":2}}', 400, 'InvalidJson'],
        ];
        for (const [body, code, name] of refused) {
            it(`refuses ${body.slice(0, 30) || 'nothing'} with ${name}`, async () => {
                assertProblem(await patch('refused', body), code, name);
                assertProblem(await status('refused'), 404, 'DeviceNotFound');
            });
        }

        it('takes 10 levels', async () => {
            assert.equal((await patch('deep', nested(10))).status, 200);
        });

        it('refuses other content types and too large a body', async () => {
            for (const headers of [{}, { 'content-type': 'text/plain' }, { 'content-type': 'application/json-patch+json' }])
                assertProblem(await patch('refused', '{}', headers), 415, 'UnsupportedMediaType');
            assertProblem(await patch('refused', `{"a":"${'x'.repeat(1024 * 1024)}"}`), 413, 'PayloadTooLarge');
        });
    });

    describe('GET /devices', () => {
        // In the order of their bytes, which is not the order of any locale.
        const ids = ['!x', '#1', 'A', 'B', 'Z9', '_u', 'a', 'a.b', 'aB', 'ab', 'b', 'z~'];
        let list;
        before(async () => {
            list = await startServer();
            for (const id of [...ids].reverse())
                await list.post(id, { id });
        });
        after(() => list?.stop());

        const collect = async (path) => {
            const found = [];
            let pages = 0;
            for (let next = path; next !== undefined; pages++) {
                assert.ok(pages < 100, 'the list ends');
                const response = await list.api(next);
                assert.equal(response.status, 200, String(response));
                found.push(...response.json.value.map((device) => device.deviceId));
                next = response.json.nextLink;
            }
            return { found, pages };
        };

        for (const limit of [1, 3, 5, 11, 12, 13, 1000]) {
            it(`pages by the bytes of the id with limit ${limit}`, async () => {
                const { found, pages } = await collect(`/devices?limit=${limit}`);
                assert.deepEqual(found, ids);
                assert.equal(pages, Math.ceil(ids.length / limit), 'no nextLink on the last page');
            });
        }

        it('shows the same objects as status, and is not cached', async () => {
            const response = await list.api('/devices');
            assert.equal(response.header('cache-control'), 'no-store');
            assert.equal(response.header('age'), undefined);
            for (const device of response.json.value.slice(0, 3))
                assert.deepEqual(device, (await list.api(`/devices/${encodeURIComponent(device.deviceId)}/status`)).json);
            await list.api({ method: 'PATCH', path: '/devices/A/reported', headers: json, body: '{"status":"late"}' });
            assert.equal((await list.api('/devices')).json.value.find((device) => device.deviceId === 'A').status, 'late');
        });

        it('is 100 long by default, and empty without devices', async () => {
            const fresh = await startServer();
            try {
                assert.deepEqual((await fresh.api('/devices')).json, { value: [] });
                for (let i = 0; i < 101; i++)
                    await fresh.api({ method: 'PATCH', path: `/devices/d${i}/reported`, headers: json, body: '{}' });
                const page = (await fresh.api('/devices')).json;
                assert.equal(page.value.length, 100);
                assert.equal((await fresh.api(page.nextLink)).json.value.length, 1);
            } finally {
                await fresh.stop();
            }
        });

        const refused = [
            ...['0', '1001', '-1', 'x', '', '1.5'].map((v) => [`?limit=${v}`, 'InvalidParameter', 'limit']),
            ['?cursor=zzz', 'InvalidCursor', 'cursor'], ['?cursor=', 'InvalidCursor', 'cursor'],
            ['?order=asc', 'UnknownParameter', 'order'], ['?limit=1&limit=1', 'DuplicateParameter', 'limit'],
        ];
        for (const [query, code, target] of refused) {
            it(`refuses ${query}`, async () => {
                assertProblem(await list.api(`/devices${query}`), 400, code, { target });
            });
        }

        it('binds a cursor to its limit', async () => {
            const next = (await list.api('/devices?limit=3')).json.nextLink;
            assert.ok(next.includes('limit=3'), next);
            assertProblem(await list.api(next.replace('limit=3', 'limit=4')), 400, 'InvalidCursor', { target: 'cursor' });
            assertProblem(await list.api(next.replace(/cursor=.*?(&|$)/, (m) => `${m.replace(/&$/, '')}x`)), 400, 'InvalidCursor', { target: 'cursor' });
        });
    });

    describe('a device id', () => {
        const alphabet = 'AZaz09-._~:%*?!(),=@;$\'#+';
        for (const character of alphabet) {
            it(`may hold ${character}`, async () => {
                const id = `i${character}d`;
                assert.equal((await server.post(id, { id })).json.deviceId, id);
                const path = `/devices/i%${character.charCodeAt(0).toString(16).padStart(2, '0')}d`;
                assert.equal((await server.api(`${path}/telemetry/latest`)).json.deviceId, id);
                assert.equal((await server.api(`${path}/status`)).json.deviceId, id);
                if (!'%?#'.includes(character)) // the others may stand in a path as they are
                    assert.equal((await server.api(`/devices/${id}/telemetry/latest`)).json.data.id, id);
            });
        }

        it('may be 128 long, and is case-sensitive', async () => {
            const id = 'x'.repeat(128);
            await server.post(id, {});
            assert.equal((await server.api(`/devices/${id}/telemetry`)).json.deviceId, id);
            await server.post('Case', {});
            assertProblem(await status('case'), 404, 'DeviceNotFound');
        });

        it('is the same however it is escaped, and links keep it', async () => {
            await server.post('a?b#c%d', [{ n: 0 }, { n: 1 }, { n: 2 }]);
            const { readings, pages } = await server.readAll('/devices/a%3fb%23c%25d/telemetry?limit=1');
            assert.deepEqual(readings.map((r) => r.data.n), [2, 1, 0]);
            assert.ok(pages.every((page) => page.deviceId === 'a?b#c%d'));
            assert.equal((await server.api('/devices/%61%3Fb%23c%25%64/telemetry/latest')).status, 200);
        });

        const refused = [
            ['', 'nothing'], ['.', 'a dot'], ['..', 'two dots'], ['%2e', 'an escaped dot'], ['%2E%2e', 'two escaped dots'], ['.%2e', 'a dot and an escaped one'],
            ['a%2Fb', 'an escaped slash'], ['a%5Cb', 'a backslash'], ['a%20b', 'a space'], ['a%00b', 'NUL'], ['%00', 'NUL alone'], ['a%0Ab', 'a line feed'],
            ['a%22b', 'a quote'], ['a%3Cb', 'a less-than'], ['a%7Cb', 'a bar'], ['a%5Eb', 'a caret'], ['a%60b', 'a backtick'], ['a%7Bb', 'a brace'], ['a%5Bb', 'a bracket'],
            ['a%26b', 'an ampersand'], ['%C3%A9', 'a letter outside ASCII'], ['%FF', 'a byte outside UTF-8'], ['a%7Fb', 'DEL'],
            ['a%', 'half an escape'], ['a%4', 'half an escape with a digit'], ['a%zz', 'no escape'], ['a%2', 'a cut escape'], ['%u0041', 'an escape of another world'],
            ['x'.repeat(129), '129 characters'], ['%78'.repeat(129), '129 escaped characters'], ['a&b', 'a bare ampersand'],
        ];
        for (const [id, name] of refused) {
            it(`is not ${name}`, async () => {
                for (const [method, tail, body] of [['GET', 'telemetry'], ['GET', 'telemetry/latest'], ['GET', 'status'], ['POST', 'telemetry', '{}'], ['PATCH', 'reported', '{}']]) {
                    const response = await server.api({ method, path: `/devices/${id}/${tail}`, headers: body ? json : {}, body });
                    assertProblem(response, 400, 'InvalidDeviceId');
                }
            });
        }
    });
});
