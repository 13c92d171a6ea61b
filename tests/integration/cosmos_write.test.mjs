// Telemetry stored in Cosmos DB: items, transactional batches, and writes that are repeated.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { startCosmos, wire } from '../fakes/cosmos.mjs';
import { assertProblem, startServer } from '../support/server.mjs';

const json = { 'content-type': 'application/json' };
const many = (count) => Array.from({ length: count }, (_, n) => ({ n }));

describe('telemetry stored in Cosmos DB', () => {
    let fake;
    let server;
    before(async () => {
        fake = await startCosmos();
        server = await startServer({ env: { ...fake.env, TELEMETRYD_TTL: '2d' }, ready: true });
    });
    after(async () => {
        await server?.stop();
        await fake.stop();
    });

    const send = (device, body) => server.api({
        method: 'POST', path: `/devices/${encodeURIComponent(device)}/telemetry`, headers: json, body: typeof body === 'string' ? body : JSON.stringify(body),
    });
    const writes = (device) => fake.requests.filter((r) => (r.op === 'upsert' || r.op === 'batch') && r.device === device);

    it('stores exactly {id, deviceId, partitionKey, data, processedAt, ttl}', async () => {
        const response = await send('item', '{"t":21.50,"timestamp":"2026-11-23T07:00:00Z"}');
        assert.deepEqual(response.json, { deviceId: 'item', stored: 1 });
        assert.ok(Number(response.header('x-ms-request-charge')) > 0);
        const [{ bodyText }] = writes('item');
        const item = JSON.parse(bodyText);
        assert.deepEqual({ ...item, processedAt: '' }, {
            id: 'item-2026-11-23T07:00:00Z', deviceId: 'item', partitionKey: 'item', data: { t: 21.5, timestamp: '2026-11-23T07:00:00Z' }, processedAt: '', ttl: 172800,
        });
        assert.ok(Math.abs(Date.parse(item.processedAt) - Date.now()) < 60_000, item.processedAt);
        assert.ok(bodyText.includes('"data":{"t":21.50,"timestamp":"2026-11-23T07:00:00Z"}'), 'the reading\'s bytes are untouched');
    });

    it('percent-encodes what an item id must not hold', async () => {
        const device = 'a?b#c%d';
        await send(device, { timestamp: '2026-11-23T07:00:00Z' });
        assert.equal(fake.items(device)[0].id, 'a%3Fb%23c%25d-2026-11-23T07:00:00Z');
        assert.equal(fake.items(device)[0].deviceId, device);
        assert.equal((await server.api(`/devices/${encodeURIComponent(device)}/telemetry`)).json.count, 1);
    });

    it('gives readings without a timestamp ids that differ', async () => {
        await send('random', many(3));
        await send('random', { n: 0 });
        assert.equal(new Set(fake.items('random').map((item) => item.id)).size, 4);
    });

    it('replaces a repeated delivery', async () => {
        await send('again', { timestamp: '2026-11-23T07:00:00Z', v: 1 });
        await send('again', [{ timestamp: '2026-11-23T07:00:00Z', v: 2 }, { v: 0 }, { timestamp: '2026-11-23T07:00:00Z', v: 3 }]);
        assert.deepEqual(fake.items('again').map((item) => item.data.v).sort(), [0, 3]);
    });

    it('sends arrays as atomic batches of at most 100, in order', async () => {
        const response = await send('batches', many(250));
        assert.deepEqual(response.json, { deviceId: 'batches', stored: 250 });
        const sizes = writes('batches').map((r) => JSON.parse(r.bodyText).length);
        assert.deepEqual(sizes, [100, 100, 50]);
        assert.deepEqual(fake.items('batches').map((item) => item.data.n), many(250).map((r) => r.n));
        assert.ok(Math.abs(Number(response.header('x-ms-request-charge')) - 250 * 6.29) < 1, response.header('x-ms-request-charge'));
        const { readings } = await server.readAll('/devices/batches/telemetry?limit=99&order=asc');
        assert.deepEqual(readings.map((r) => r.data.n), many(250).map((r) => r.n));
    });

    it('says how many are stored when a later batch fails', async () => {
        fake.fault({ op: 'batch', device: 'half', times: 1, change: () => {} });
        fake.fault({ op: 'batch', device: 'half', times: Infinity, status: 500 });
        assertProblem(await send('half', many(250)), 502, 'UpstreamUnavailable', { stored: 100 });
        assert.equal(fake.items('half').length, 100);
    });

    it('says that none is stored when the first batch fails', async () => {
        fake.fault({ op: 'batch', device: 'none', times: Infinity, status: 503 });
        assertProblem(await send('none', many(150)), 502, 'UpstreamUnavailable', { stored: 0 });
    });

    const refusedItem = [[413, 20], [400, 0], [403, 7]];
    for (const [itemStatus, index] of refusedItem) {
        it(`reports an operation that a batch refuses with ${itemStatus}: nothing of the batch is stored`, async () => {
            const device = `refused-${itemStatus}`;
            fake.fault({ op: 'batch-item', device, itemStatus, index });
            const response = await send(device, many(30));
            assert.ok(response.status >= 500 && response.status < 505, String(response));
            assert.equal(response.json.stored, 0, String(response));
            assert.equal(fake.items(device).length, 0);
        });
    }

    for (const itemStatus of [429, 449]) {
        it(`repeats a batch that an operation's ${itemStatus} stopped`, async () => {
            const device = `stopped-${itemStatus}`;
            fake.fault({ op: 'batch-item', device, itemStatus, index: 1, retryAfterMs: 5 });
            assert.equal((await send(device, many(5))).json?.stored, 5);
            assert.equal(fake.items(device).length, 5);
        });
    }

    // The upstream stores, and its answer is lost: the same ids must come again, so that nothing doubles.
    const lost = { 'a reset': wire.reset, 'a cut body': wire.cutBody, 'death inside the headers': wire.diesInHeaders, 'silence closed': wire.close };
    for (const [name, act] of Object.entries(lost)) {
        for (const body of [{ v: 1 }, many(3)]) {
            it(`keeps its ids over a retry after ${name}: ${Array.isArray(body) ? 'a batch' : 'one item'}`, async () => {
                const device = `lost-${name.replaceAll(' ', '-')}-${Array.isArray(body)}`;
                const fault = fake.fault({
                    op: ['upsert', 'batch'], device,
                    wire: (res, honest) => {
                        const answer = honest();
                        act(res, () => answer);
                    },
                });
                const response = await send(device, body);
                assert.equal(fault.hits, 1);
                assert.equal(fake.items(device).length, [body].flat().length, 'nothing doubled');
                if (response.status !== 201) // a stored item whose answer cannot be read may be an error, never a lie
                    assertProblem(response, 502, 'UpstreamUnavailable');
                const ids = writes(device).map((r) => [JSON.parse(r.bodyText)].flat().map((o) => o.resourceBody?.id ?? o.id).join());
                assert.equal(new Set(ids).size, 1, 'the same ids in every attempt');
            });
        }
    }

    const faults = [
        ['429 twice', { status: 429, headers: { 'x-ms-retry-after-ms': '10' } }, 2, 201, 3],
        ['429 past the deadline', { status: 429, headers: { 'x-ms-retry-after-ms': '60000' } }, Infinity, [503, 'UpstreamThrottled'], 1],
        ['449 once', { status: 449 }, 1, 201, 2],
        ['408 once', { status: 408 }, 1, 201, 2],
        ['410/1002 once', { status: 410, headers: { 'x-ms-substatus': '1002' } }, 1, 201, 2],
        ['503 for ever', { status: 503 }, Infinity, [502, 'UpstreamUnavailable'], 2],
        ['500 for ever', { status: 500 }, Infinity, [502, 'UpstreamUnavailable'], 3],
        ['401', { status: 401 }, Infinity, [502, 'UpstreamUnauthorized'], 1],
        ['404', { status: 404 }, Infinity, [502, 'UpstreamUnavailable'], 3],
    ];
    for (const [name, fault, times, expected, most] of faults) {
        for (const [op, body] of [['upsert', { a: 1 }], ['batch', many(2)]]) {
            it(`${op}, ${name}: ${[expected].flat().join(' ')}`, async () => {
                const device = `${op}-${name.replace(/\W+/g, '-')}`;
                fake.fault({ op, device, times, ...fault });
                const response = await send(device, body);
                assert.equal(response.status, [expected].flat()[0], String(response));
                if (Array.isArray(expected))
                    assertProblem(response, ...expected);
                assert.ok(writes(device).length <= most, `${writes(device).length} writes upstream`);
                assert.equal(fake.items(device).length, expected === 201 ? [body].flat().length : 0);
            });
        }
    }

    it('refuses a bad body before it asks the upstream', async () => {
        const before = fake.requests.length;
        for (const body of ['{', '[]', '5', '{"timestamp":5}'])
            assert.equal((await send('early', body)).status, 400);
        assert.equal(fake.requestsOf('upsert', 'early').length + fake.requestsOf('batch', 'early').length, 0);
        assert.ok(fake.requests.length - before <= 3, 'nothing but health checks');
    });

    it('honours the protocol in all of the above', () => {
        assert.deepEqual(fake.violations, []);
    });
});

describe('a container with another partition key', () => {
    const boot = async (partitionKey) => {
        const fake = await startCosmos({ partitionKey });
        const server = await startServer({ env: fake.env });
        return { fake, server, stop: async () => (await server.stop(), await fake.stop()) };
    };

    it('works with /partitionKey', async () => {
        const { fake, server, stop } = await boot('/partitionKey');
        try {
            await server.post('pk', { a: 1 });
            assert.equal((await server.api('/devices/pk/telemetry')).json.count, 1);
            assert.deepEqual(fake.violations, []);
        } finally {
            await stop();
        }
    });

    for (const path of ['/site', ['/deviceId', '/partitionKey'], '/data/site']) {
        it(`is not ready with ${path}, and says so`, async () => {
            const { server, stop } = await boot(path);
            try {
                const ready = await server.api('/readyz');
                assert.equal(ready.status, 503);
                assert.ok(JSON.stringify(ready.json.checks.telemetry).includes([path].flat().at(-1)), `the path is named: ${ready}`);
                assert.equal(ready.json.checks.registry.status, 'ok');
                assert.equal((await server.api('/devices/d/telemetry')).status, 502);
                assert.equal((await server.api('/devices/d/telemetry/latest')).status, 502);
                assert.equal((await server.api({ method: 'POST', path: '/devices/d/telemetry', headers: json, body: '{}' })).status, 502);
            } finally {
                await stop();
            }
        });
    }
});
