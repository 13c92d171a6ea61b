// Device status from an IoT Hub over TLS: twins, the list of devices and its cache, calls shared, and the hub's errors.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { errorBody, startIotHub, wire } from '../fakes/iothub.mjs';
import { makeTls } from '../support/tls.mjs';
import { SLOW, assertProblem, startServer, waitFor } from '../support/server.mjs';

const json = { 'content-type': 'application/json' };

describe('IoT Hub mode', () => {
    let tls;
    let hub;
    let server;
    const boot = async (env = {}, options = {}) => {
        const fake = await startIotHub({ tls, ...options });
        const started = await startServer({ env: { ...fake.env, AZURE_CA_FILE: tls.caFile, ...env } });
        return { hub: fake, server: started, stop: async () => (await started.stop(), await fake.stop()) };
    };
    before(async () => {
        tls = makeTls();
        hub = await startIotHub({ tls });
        hub.put('d1', { reported: { status: 'online', lastHeartbeat: '2026-11-23T07:00:00Z', firmwareVersion: '1.4.2' } });
        server = await startServer({ env: { ...hub.env, AZURE_CA_FILE: tls.caFile, TELEMETRYD_LOG_LEVEL: 'debug' }, ready: true });
    });
    after(async () => {
        await server?.stop();
        await hub.stop();
    });
    const status = (device) => server.api(`/devices/${encodeURIComponent(device)}/status`);

    it('says its modes at start and in /readyz', async () => {
        assert.ok(/iothub/.test(server.firstLine) && /embedded/.test(server.firstLine), server.firstLine);
        assert.deepEqual((await server.api('/readyz')).json.checks, { telemetry: { status: 'ok', mode: 'embedded' }, registry: { status: 'ok', mode: 'iothub' } });
    });

    describe('status', () => {
        it('comes from the twin', async () => {
            assert.deepEqual((await status('d1')).json, {
                deviceId: 'd1', status: 'online', lastSeen: '2026-11-23T07:00:00Z', firmwareVersion: '1.4.2', connectionState: 'Connected', enabled: true,
            });
            assert.deepEqual(hub.violations, []);
        });

        const twins = [
            ['nothing reported', {}, { status: null, lastSeen: null, firmwareVersion: null }],
            ['a disabled device', { status: 'disabled' }, { enabled: false }],
            ['a disconnected one', { connectionState: 'Disconnected' }, { connectionState: 'Disconnected' }],
            ['values of any type', { reported: { status: { a: [1, null] }, lastHeartbeat: 1795417200, firmwareVersion: false } }, { status: { a: [1, null] }, lastSeen: 1795417200, firmwareVersion: false }],
            ['no reported properties', { properties: { desired: {} } }, { status: null, lastSeen: null, firmwareVersion: null }],
            ['no properties', { properties: undefined }, { status: null }],
        ];
        twins.forEach(([name, twin, expected], i) => {
            it(`of a twin with ${name}`, async () => {
                hub.put(`twin${i}`, twin);
                const response = await status(`twin${i}`);
                assert.equal(response.status, 200, String(response));
                for (const [member, value] of Object.entries(expected))
                    assert.deepEqual(response.json[member], value, member);
            });
        });

        it('passes reported values byte for byte', async () => {
            hub.put('bytes');
            hub.fault({ op: 'twin', device: 'bytes', change: (a) => (a.body = a.body.replace('"reported":{', '"reported":{"status":{"v":1.10},"firmwareVersion":1E5,')) });
            const { text } = await status('bytes');
            assert.ok(text.includes('"status":{"v":1.10}') && text.includes('"firmwareVersion":1E5'), text);
        });

        it('asks for the device by its escaped id, with a SAS token', async () => {
            const device = 'a?b#c%d+e\'f!(g)';
            hub.put(device);
            assert.equal((await status(device)).json.deviceId, device);
            const [request] = hub.requestsOf('twin', device);
            assert.ok(request.path.startsWith('/twins/a%3Fb%23c%25d%2B'), request.path);
            assert.deepEqual(hub.violations, []);
        });

        const unknown = {
            'the first form': errorBody.message('DeviceNotFound', 'nobody'), 'JSON in a string': errorBody.nested(404001, 'Device not found'),
            'a newer form': errorBody.newer(404001, 'x'), 'text': errorBody.text('not here'), 'nothing': errorBody.empty(),
        };
        for (const [name, body] of Object.entries(unknown)) {
            it(`is 404 when the hub says 404 with ${name}`, async () => {
                hub.fault({ op: 'twin', device: 'nobody', status: 404, headers: { 'content-type': 'application/json' }, body });
                assertProblem(await status('nobody'), 404, 'DeviceNotFound', { detail: 'Device not found' });
            });
        }

        const faults = [
            ['429 once', { status: 429, headers: { 'retry-after': '0' }, body: errorBody.message('ThrottlingException', 'x') }, 1, 200, 2],
            ['429 for ever', { status: 429, headers: { 'retry-after': '0' }, body: errorBody.message('ThrottlingException', 'x') }, Infinity, [503, 'UpstreamThrottled'], 20],
            ['429 with a wait past the deadline', { status: 429, headers: { 'retry-after': '60' } }, Infinity, [503, 'UpstreamThrottled'], 1],
            ['403002, the quota', { status: 403, body: errorBody.message('IotHubQuotaExceeded', 'Total number of messages exceeded the allocated quota') }, Infinity, [503, 'UpstreamThrottled'], 1],
            ['403002 in a string', { status: 403, body: errorBody.nested(403002, 'quota') }, Infinity, [503, 'UpstreamThrottled'], 1],
            ['401', { status: 401, body: errorBody.message('IotHubUnauthorizedAccess', 'Unauthorized') }, Infinity, [502, 'UpstreamUnauthorized'], 2], // once more with a new token
            ['500 once', { status: 500 }, 1, 200, 2],
            ['500 for ever', { status: 500 }, Infinity, [502, 'UpstreamUnavailable'], 3],
            ['503 for ever', { status: 503 }, Infinity, [502, 'UpstreamUnavailable'], 3],
            ['504 for ever', { status: 504 }, Infinity, [502, 'UpstreamUnavailable'], 3],
            ['400', { status: 400, body: errorBody.newer(400001, 'x') }, Infinity, [502, undefined], 1],
            ['a reset once', { wire: wire.reset }, 1, 200, 2],
            ['resets for ever', { wire: wire.reset }, Infinity, [502, 'UpstreamUnavailable'], 3],
            ['a short body', { wire: wire.shortBody }, Infinity, [502, 'UpstreamUnavailable'], 3],
            ['a cut body', { wire: wire.cutBody }, Infinity, [502, 'UpstreamUnavailable'], 3],
            ['dies inside its headers', { wire: wire.diesInHeaders }, Infinity, [502, 'UpstreamUnavailable'], 3],
            ['not HTTP', { wire: wire.garbage }, Infinity, [502, 'UpstreamUnavailable'], 3],
            ['HTML', { wire: wire.html }, Infinity, [502, 'UpstreamUnavailable'], 3],
            ['an array', { wire: wire.body('[]') }, Infinity, [502, 'UpstreamUnavailable'], 3],
            ['null', { wire: wire.body('null') }, Infinity, [502, 'UpstreamUnavailable'], 3],
            ['an object that is no twin', { wire: wire.body('{}') }, Infinity, [502, 'UpstreamUnavailable'], 3],
            ['nothing', { wire: wire.body('') }, Infinity, [502, 'UpstreamUnavailable'], 3],
            ['bytes that are not UTF-8', { wire: wire.body(Buffer.from('{"deviceId":"x\xff","connectionState":"Connected","status":"enabled"}', 'latin1')) }, Infinity, [502, 'UpstreamUnavailable'], 3],
            ['40 MB', { wire: wire.huge(40 * 1024 * 1024) }, Infinity, [502, 'UpstreamUnavailable'], 3],
        ];
        faults.forEach(([name, fault, times, expected, most], i) => {
            it(`when the hub errs, ${name}: ${[expected].flat().join(' ')}`, async () => {
                const device = `err${i}`;
                hub.put(device);
                hub.fault({ op: 'twin', device, times, ...fault });
                const response = await status(device);
                assert.equal(response.status, [expected].flat()[0], String(response));
                if (Array.isArray(expected) && expected[1])
                    assertProblem(response, ...expected);
                if (response.status === 503)
                    assert.match(response.header('retry-after'), /^[1-9]\d*$/);
                assert.ok(hub.requestsOf('twin', device).length <= most, `${hub.requestsOf('twin', device).length} requests to the hub`);
            });
        });

        it('is asked for once, however many wait, and never cached', async () => {
            hub.put('shared', { reported: { status: 'one' } });
            hub.fault({ op: 'twin', device: 'shared', delay: 400, change: () => {} });
            const answers = await Promise.all(Array.from({ length: 50 }, () => status('shared')));
            assert.ok(answers.every((a) => a.status === 200 && a.json.status === 'one'));
            assert.equal(hub.requestsOf('twin', 'shared').length, 1);
            assert.equal(new Set(answers.map((a) => a.header('x-request-id'))).size, 50, 'each answer is its own');
            hub.put('shared', { reported: { status: 'two' } });
            assert.equal((await status('shared')).json.status, 'two');
        });

        it('shares errors, too, while they are under way', async () => {
            hub.put('sharederr');
            hub.fault({ op: 'twin', device: 'sharederr', delay: 300, status: 400 });
            const answers = await Promise.all(Array.from({ length: 10 }, () => status('sharederr')));
            assert.ok(answers.every((a) => a.status === 502), String(answers.map((a) => a.status)));
            assert.equal((await status('sharederr')).status, 200, 'an error is not kept');
        });
    });

    describe('GET /devices', () => {
        const ids = ['zeta', 'alpha', 'A?#%', 'beta', 'mid', 'Alpha', 'last'];

        it('pages in the hub\'s order', async () => {
            const { hub: own, server: s, stop } = await boot();
            try {
                for (const id of ids)
                    own.put(id, { reported: { status: id } });
                for (const limit of [1, 2, 7, 8]) {
                    const found = [];
                    let pages = 0;
                    for (let next = `/devices?limit=${limit}`; next !== undefined; pages++) {
                        const response = await s.api(next);
                        assert.equal(response.status, 200, String(response));
                        assert.equal(response.header('cache-control'), 'private, max-age=30');
                        found.push(...response.json.value.map((d) => d.status));
                        next = response.json.nextLink;
                    }
                    assert.deepEqual(found, ids);
                    assert.equal(pages, Math.ceil(ids.length / limit));
                }
                assert.ok(own.requestsOf('query').every((r) => /^\{"query":"SELECT \* FROM devices"\}$/i.test(r.bodyText)), 'no caller\'s text enters the query');
                assert.deepEqual(own.violations, []);
            } finally {
                await stop();
            }
        });

        it('keeps a page for 30 s, tells its Age, and asks once', async () => {
            const { hub: own, server: s, stop } = await boot();
            try {
                own.put('one');
                own.fault({ op: 'query', delay: 300, change: () => {}, when: (r) => r.headers['x-ms-max-item-count'] !== '1' });
                const answers = await Promise.all(Array.from({ length: 40 }, () => s.api('/devices?limit=50')));
                assert.ok(answers.every((a) => a.status === 200));
                const asked = () => own.requestsOf('query').filter((r) => r.headers['x-ms-max-item-count'] === '50').length;
                assert.equal(asked(), 1);
                own.put('two');
                await new Promise((resolve) => setTimeout(resolve, 1100));
                const later = await s.api('/devices?limit=50');
                assert.equal(later.json.value.length, 1, 'from the cache');
                assert.ok(Number(later.header('age')) >= 1 && Number(later.header('age')) <= 3, `Age ${later.header('age')}`);
                assert.equal(asked(), 1);
                assert.equal((await s.api('/devices?limit=51')).json.value.length, 2, 'another page is another question');
            } finally {
                await stop();
            }
        });

        it('does not keep an error', async () => {
            const { hub: own, server: s, stop } = await boot();
            try {
                own.put('one');
                own.fault({ op: 'query', times: 3, status: 500, when: (r) => r.headers['x-ms-max-item-count'] === '50' });
                assertProblem(await s.api('/devices?limit=50'), 502, 'UpstreamUnavailable');
                assert.equal((await s.api('/devices?limit=50')).status, 200);
            } finally {
                await stop();
            }
        });

        const faults = [
            ['404: no such hub', { status: 404 }, [502, 'UpstreamUnavailable']],
            ['401', { status: 401 }, [502, 'UpstreamUnauthorized']],
            ['429 with a wait past the deadline', { status: 429, headers: { 'retry-after': '60' } }, [503, 'UpstreamThrottled']],
            ['403002', { status: 403, body: errorBody.nested(403002, 'quota') }, [503, 'UpstreamThrottled']],
            ['an object', { wire: wire.body('{}') }, [502, 'UpstreamUnavailable']],
            ['an element that is no twin', { wire: wire.body('[{"deviceId":"a","status":"enabled","connectionState":"Connected"},5]') }, [502, 'UpstreamUnavailable']],
            ['a cut list', { wire: wire.cutBody }, [502, 'UpstreamUnavailable']],
        ];
        faults.forEach(([name, fault, expected], i) => {
            it(`when the hub errs, ${name}: ${expected.join(' ')}`, async () => {
                const limit = 600 + i;
                hub.fault({ op: 'query', times: Infinity, when: (r) => r.headers['x-ms-max-item-count'] === String(limit), ...fault });
                assertProblem(await server.api(`/devices?limit=${limit}`), ...expected);
            });
        });
    });

    it('has no PATCH: 405, and OPTIONS says so', async () => {
        const response = await server.api({ method: 'PATCH', path: '/devices/d1/reported', headers: json, body: '{}' });
        assertProblem(response, 405, 'MethodNotAllowed');
        assert.ok(!response.header('allow').includes('PATCH'), response.header('allow'));
        const options = await server.api({ method: 'OPTIONS', path: '/devices/d1/reported' });
        assert.equal(options.status, 204);
        assert.ok(!options.header('allow').includes('PATCH'), options.header('allow'));
    });

    it('decides whether a device without readings exists', async () => {
        const response = await server.api('/devices/d1/telemetry');
        assert.deepEqual([response.status, response.json.count], [200, 0]);
        assertProblem(await server.api('/devices/ghost/telemetry'), 404, 'DeviceNotFound');
        hub.put('broken');
        hub.fault({ op: 'twin', device: 'broken', times: Infinity, status: 500 });
        assertProblem(await server.api('/devices/broken/telemetry'), 502, 'UpstreamUnavailable');
        await server.post('broken', { a: 1 });
        assert.equal((await server.api('/devices/broken/telemetry')).json.count, 1, 'the hub is only asked where nothing is in the window');
    });

    it('gives up within the deadline when the hub is silent', async () => {
        const { hub: own, server: s, stop } = await boot({ TELEMETRYD_REQUEST_TIMEOUT: '1s' });
        try {
            own.put('d1');
            own.fault({ op: 'twin', times: Infinity, wire: wire.hang });
            const started = Date.now();
            assertProblem(await s.api('/devices/d1/status'), 504, 'UpstreamTimeout');
            assert.ok(Date.now() - started < 3000, `${Date.now() - started} ms`);
        } finally {
            await stop();
        }
    });

    it('refuses a hub whose certificate it cannot trust, and sends it no token', async () => {
        const { hub: own, server: s, stop } = await boot({ AZURE_CA_FILE: makeTls().caFile });
        try {
            own.put('d1');
            assertProblem(await s.api('/devices/d1/status'), 502, 'UpstreamUnavailable');
            assert.equal((await s.api('/readyz')).status, 503);
            assert.equal(own.requests.length, 0);
        } finally {
            await stop();
        }
    });

    it('with a wrong key is not ready', async () => {
        const { hub: own, server: s, stop } = await boot({ IOT_HUB_CONNECTION: hub.connection });
        try {
            own.put('d1');
            assertProblem(await s.api('/devices/d1/status'), 502, 'UpstreamUnauthorized');
            assert.equal((await s.api('/readyz')).status, 503);
        } finally {
            await stop();
        }
    });

    it('with the hub down at the start serves at once, is not ready, and recovers', async () => {
        const own = await startIotHub({ tls });
        const { env, port } = own;
        own.put('d1');
        await own.stop();
        const s = await startServer({ env: { ...env, AZURE_CA_FILE: tls.caFile } });
        const back = await startIotHub({ tls, port, key: own.key });
        await back.stop();
        try {
            assert.equal((await s.api('/readyz')).status, 503);
            assertProblem(await s.api('/devices/d1/status'), 502, 'UpstreamUnavailable');
            await back.start();
            back.put('d1');
            assert.equal((await s.api('/devices/d1/status')).status, 200);
            await waitFor(async () => (await s.api('/readyz')).status === 200, 'readyz recovers', 14_000 * SLOW);
        } finally {
            await s.stop();
            await back.stop();
        }
    });

    it('counts its calls in the metrics, without a device', async () => {
        const { text } = await server.api('/metrics');
        assert.match(text, /^telemetryd_upstream_request_duration_seconds_count\{[^}]*upstream="iothub"[^}]*\} [1-9]/m);
        assert.ok(!text.includes('twin0') && !text.includes(hub.key));
    });

    it('honours the protocol in all of the above', () => {
        assert.deepEqual(hub.violations, []);
    });
});
