// Streams over Cosmos DB: what this server stores, and what other writers store, by the container's change feed, which is read
// once for all listeners. Nothing lost and nothing doubled over splits, faults, transactions cut in the middle, kills and moves.

import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import '../support/webcrypto.mjs';
import { CosmosClient } from '@azure/cosmos';
import emulator from '@vercel/cosmosdb-server';
import { startCosmos } from '../fakes/cosmos.mjs';
import { sendAnswer } from '../fakes/faults.mjs';
import { parseMetrics } from '../support/metrics.mjs';
import { SLOW, startServer } from '../support/server.mjs';
import { openStream } from '../support/sse.mjs';

const pathOf = (devices) => (Array.isArray(devices) ? `/telemetry/stream?devices=${devices.join(',')}` : `/devices/${devices}/telemetry/stream`);
const open = (server, devices, { from, id, ...more } = {}) => {
    const url = new URL(pathOf(devices), server.url);
    if (from !== undefined)
        url.searchParams.set('from', from);
    return openStream(url, { ...more, headers: { ...(id === undefined ? {} : { 'last-event-id': id }), ...more.headers } });
};
/** Streams of a single device want the device to be known. */
const known = (server, ...devices) => Promise.all(devices.map((device) => server.post(device, { v: 0 })));
const values = (readings, device) => readings.filter((r) => device === undefined || r.deviceId === device).map((r) => r.data.v);
const upTo = (count, first = 1) => Array.from({ length: count }, (_, i) => first + i);

describe('streams over Cosmos DB', () => {
    let fake;
    let client;
    let container;
    let server;
    const env = () => ({ ...fake.env, TELEMETRYD_FEED_INTERVAL: '200ms' });

    before(async () => {
        fake = await startCosmos();
        client = new CosmosClient({ endpoint: `${fake.url()}/`, key: fake.key, connectionPolicy: { enableEndpointDiscovery: false } });
        container = client.database('iot').container('telemetry');
        server = await startServer({ env: env(), ready: true });
    });
    after(async () => {
        await server?.stop();
        client.dispose();
        await fake.stop();
        assert.deepEqual(fake.violations, []);
    });

    /** Another writer stores a reading. */
    const elsewhere = (deviceId, v, id = `${deviceId}-${v}`) => container.items.upsert({ id, deviceId, data: { v } });
    const transaction = (deviceId, vs) => container.items.batch(vs.map((v) => (
        { operationType: 'Upsert', id: `${deviceId}-${v}`, resourceBody: { id: `${deviceId}-${v}`, deviceId, data: { v } } })), deviceId);

    it('what this server stores comes at once, what others store within the interval', async () => {
        const slow = await startServer({ env: { ...fake.env, TELEMETRYD_FEED_INTERVAL: '2s' }, ready: true });
        await known(slow, 'once');
        const stream = await open(slow, 'once');
        let began = Date.now();
        await slow.post('once', { v: 1 });
        assert.deepEqual(values(await stream.readings(1)), [1]);
        assert.ok(Date.now() - began < 1000 * SLOW, `${Date.now() - began} ms`);
        began = Date.now();
        await elsewhere('once', 2);
        assert.deepEqual(values(await stream.readings(1)), [2]);
        assert.ok(Date.now() - began < 2000 + 1000 * SLOW, `${Date.now() - began} ms`);
        stream.close();
        await slow.stop();
    });

    it('a reading as it was stored, with its device and its second', async () => {
        await known(server, 'shape');
        const stream = await open(server, 'shape');
        fake.put('shape', { rawData: '{ "v":1.50,\n"s":"\\u00e9" }', ts: 1795417200 });
        const block = await stream.next('reading');
        assert.deepEqual(JSON.parse(block.data), { deviceId: 'shape', data: { v: 1.5, s: 'é' }, timestamp: 1795417200 });
        assert.match(block.data, /1\.50/);
        stream.close();
    });

    it('in order per device; a replaced reading is one more', async () => {
        await known(server, 'order-a', 'order-b');
        const stream = await open(server, ['order-a', 'order-b']);
        for (const v of upTo(30)) {
            await elsewhere('order-a', v);
            await (v % 2 ? server.post('order-b', { v }) : elsewhere('order-b', v));
        }
        await elsewhere('order-a', 77, 'order-a-1');
        const readings = await stream.readings(61);
        assert.deepEqual(values(readings, 'order-a'), [...upTo(30), 77]);
        assert.deepEqual(values(readings, 'order-b'), upTo(30));
        assert.deepEqual(await stream.within(500), []);
        stream.close();
    });

    it('from a time: first what the queries give, then the feed, then what comes', async () => {
        const now = Math.floor(Date.now() / 1000);
        for (const [i, age] of [100, 50, 50, 10, 3, 1].entries())
            for (const device of ['from-a', 'from-b'])
                fake.put(device, { data: { v: i + 1 }, ts: now - age });
        const stream = await open(server, ['from-a', 'from-b'], { from: String(now - 60) });
        await elsewhere('from-a', 7);
        await server.post('from-b', { v: 7 });
        const readings = await stream.readings(12);
        assert.deepEqual(values(readings, 'from-a'), upTo(6, 2));
        assert.deepEqual(values(readings, 'from-b'), upTo(6, 2));
        assert.deepEqual(await stream.within(600), []);
        stream.close();
    });

    it('a transaction of 100 is cut anywhere and resumed', async () => {
        await known(server, 'cut');
        for (const [i, cut] of [1, 37, 99].entries()) {
            const stream = await open(server, 'cut');
            await transaction('cut', upTo(100, i * 100 + 1));
            const taken = await stream.readings(cut);
            stream.close();
            const again = await open(server, 'cut', { id: taken.at(-1).id });
            const rest = await again.readings(100 - cut);
            assert.deepEqual(values([...taken, ...rest]), upTo(100, i * 100 + 1));
            assert.deepEqual(await again.within(300), []);
            again.close();
        }
    });

    it('500 readings in one POST come in order', async () => {
        await known(server, 'many');
        const stream = await open(server, 'many');
        await server.post('many', upTo(500).map((v) => ({ v })));
        assert.deepEqual(values(await stream.readings(500)), upTo(500));
        assert.deepEqual(await stream.within(600), []);
        stream.close();
    });

    it('splits lose and double nothing, live and resumed', async () => {
        await known(server, 'split-a', 'split-b', 'split-c');
        const devices = ['split-a', 'split-b', 'split-c'];
        const stream = await open(server, devices);
        const write = async (from, to) => {
            for (let v = from; v <= to; v++)
                for (const device of devices)
                    await elsewhere(device, v);
        };
        await write(1, 5);
        const first = await stream.readings(7);
        fake.feed.split(fake.feed.rangeIds[0]);
        await write(6, 10);
        fake.feed.split(fake.feed.rangeIds.at(-1));
        await write(11, 15);
        const live = await stream.readings(45 - 7);
        const again = await open(server, devices, { id: first.at(-1).id });
        const resumed = await again.readings(45 - 7);
        for (const device of devices) {
            assert.deepEqual(values([...first, ...live], device), upTo(15));
            assert.deepEqual(values([...first, ...resumed], device), upTo(15));
        }
        assert.deepEqual(await stream.within(500), []);
        assert.deepEqual(await again.within(0), []);
        stream.close();
        again.close();
    });

    it('the ETag of a 304 is kept', async () => {
        await known(server, 'tag');
        const stream = await open(server, 'tag');
        await sleep(500);
        fake.put('somebody-else', { data: {} }); // moves the ranges on
        await sleep(500);
        const asked = fake.requestsOf('feed').map((r) => r.headers['if-none-match']);
        const ranges = fake.feed.rangeIds.length;
        assert.ok(asked.slice(-ranges).every((tag) => /^"\d+"$/.test(tag)), String(asked.slice(-ranges)));
        stream.close();
    });

    it('throttled, unavailable, broken: late, but whole', async () => {
        await known(server, 'faults');
        const stream = await open(server, 'faults');
        fake.fault({ op: 'feed', times: 4, status: 429, headers: { 'x-ms-retry-after-ms': '30' } });
        await elsewhere('faults', 1);
        assert.deepEqual(values(await stream.readings(1)), [1]);
        fake.fault({ op: 'feed', times: 6, status: 503 });
        await elsewhere('faults', 2);
        assert.deepEqual(values(await stream.readings(1)), [2]);
        fake.fault({ op: 'feed', times: 3, wire: (res) => res.socket.destroy() });
        await elsewhere('faults', 3);
        fake.fault({ op: 'feed', times: 2, change: (answer) => (answer.body = '{"Documents":[') });
        await elsewhere('faults', 4);
        assert.deepEqual(values(await stream.readings(2)), [3, 4]);
        fake.clearFaults();
        assert.deepEqual(await stream.within(500), []);
        stream.close();
    });

    it('a hundred listeners cost the feed requests of one', async () => {
        await known(server, 'crowd');
        const streams = await Promise.all(upTo(100).map(() => open(server, 'crowd')));
        await sleep(300);
        const before = fake.requestsOf('feed').length;
        await elsewhere('crowd', 1);
        for (const stream of streams)
            assert.deepEqual(values(await stream.readings(1)), [1]);
        await sleep(1000);
        const polls = (fake.requestsOf('feed').length - before) / fake.feed.rangeIds.length;
        assert.ok(polls <= 12 * SLOW, `${polls} polls of each range`);
        for (const stream of streams)
            stream.close();
        const metrics = parseMetrics((await server.api('/metrics')).text);
        assert.ok(metrics.value('telemetryd_upstream_request_duration_seconds_count', { upstream: 'cosmos', operation: 'feed' }) > 0);
    });

    it('resumes on another server, and after kill -9', async () => {
        await known(server, 'move');
        const second = await startServer({ env: env(), ready: true });
        const taken = [];
        let stream = await open(server, 'move');
        await elsewhere('move', 1);
        taken.push(...await stream.readings(1));
        stream.close();
        await elsewhere('move', 2);
        await server.post('move', { v: 3 });
        stream = await open(second, 'move', { id: taken.at(-1).id });
        taken.push(...await stream.readings(2));
        await second.killHard();
        await elsewhere('move', 4);
        const third = await startServer({ env: env(), ready: true });
        stream = await open(third, 'move', { id: taken.at(-1).id });
        taken.push(...await stream.readings(1));
        assert.deepEqual(values(taken), upTo(4));
        assert.deepEqual(await stream.within(400), []);
        stream.close();
        await third.stop();
    });

    it('cut and resumed at random while two servers and others write', async () => {
        const servers = [server, await startServer({ env: env(), ready: true })];
        await known(server, 'chaos');
        const taken = [];
        const opening = await open(server, 'chaos');
        let { id } = await opening.next();
        opening.close();
        assert.ok(id, 'the first block names a position');
        const writing = (async () => {
            const splits = [100, 200];
            for (let v = 1, count; v <= 300; v += count) {
                const how = randomInt(4);
                count = how > 1 ? Math.min(8, 301 - v) : 1;
                if (how === 0)
                    await elsewhere('chaos', v);
                else if (how === 1)
                    await servers[randomInt(2)].post('chaos', { v });
                else
                    await transaction('chaos', upTo(count, v));
                if (v >= splits[0]) {
                    splits.shift();
                    fake.feed.split(fake.feed.rangeOf('chaos').id);
                }
                await sleep(randomInt(40));
            }
        })();
        for (let cut = 0; cut < 40; cut++) {
            const stream = await open(servers[randomInt(2)], 'chaos', { id });
            const until = Date.now() + randomInt(80);
            while (Date.now() < until) {
                try {
                    const block = await stream.next('reading', { timeout: Math.max(1, until - Date.now()) });
                    taken.push(JSON.parse(block.data));
                    id = block.id;
                } catch {
                    break;
                }
            }
            stream.close();
        }
        await writing;
        const stream = await open(server, 'chaos', { id });
        taken.push(...await stream.readings(300 - taken.length));
        assert.deepEqual(values(taken), upTo(300));
        assert.deepEqual(await stream.within(500), []);
        stream.close();
        await servers[1].stop();
    });

    it('the feed shows a reading before the answer to its write: once', async () => {
        await known(server, 'race');
        const stream = await open(server, 'race');
        fake.fault({
            op: 'upsert', device: 'race', wire: async (res, honest) => {
                const answer = honest();
                await sleep(600);
                sendAnswer(res, answer);
            },
        });
        await server.post('race', { v: 1 });
        assert.deepEqual(values(await stream.readings(1)), [1]);
        assert.deepEqual(await stream.within(800), []);
        stream.close();
    });

    it('a feed that is late: what this server stored comes all the same, and once', async () => {
        await known(server, 'late');
        const stream = await open(server, 'late');
        fake.feed.stuck = true;
        const began = Date.now();
        await server.post('late', upTo(3).map((v) => ({ v })));
        const [first, ...rest] = await stream.readings(3);
        assert.deepEqual(values([first, ...rest]), upTo(3));
        assert.ok(Date.now() - began < 1000 * SLOW, `${Date.now() - began} ms`);
        fake.feed.stuck = false;
        assert.deepEqual(await stream.within(600), []);
        const again = await open(server, 'late', { id: first.id });
        assert.deepEqual(values(await again.readings(2)), [2, 3]);
        assert.deepEqual(await again.within(400), []);
        stream.close();
        again.close();
    });

    it('a position that is none, and one that is too old: resync, then from now', async () => {
        await known(server, 'resync');
        for (const id of ['x', 'AAAA', 'A'.repeat(5000)]) {
            const stream = await open(server, 'resync', { id });
            const block = await stream.next('resync');
            assert.deepEqual(JSON.parse(block.data), { reason: 'expired' });
            await elsewhere('resync', id.length);
            assert.deepEqual(values(await stream.readings(1)), [id.length]);
            stream.close();
        }
    });
});

describe('streams over the npm emulator, whose change feed shows nothing', () => {
    const KEY = 'C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw==';
    let http;
    let client;
    let server;

    before(async () => {
        http = emulator.createHttpServer().unref();
        await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve));
        const endpoint = `http://127.0.0.1:${http.address().port}/`;
        client = new CosmosClient({ endpoint, key: KEY, connectionPolicy: { enableEndpointDiscovery: false } });
        const { database } = await client.databases.createIfNotExists({ id: 'iot' });
        await database.containers.createIfNotExists({ id: 'telemetry', partitionKey: { paths: ['/deviceId'] }, defaultTtl: -1 });
        server = await startServer({ env: { COSMOS_CONNECTION: `AccountEndpoint=${endpoint};AccountKey=${KEY};` }, ready: true });
    });
    after(async () => {
        await server?.stop();
        client.dispose();
        http.closeAllConnections();
        await new Promise((resolve) => http.close(resolve));
    });

    it('this server\'s own readings come, each once', async () => {
        await known(server, 'own');
        const stream = await open(server, 'own', { from: 'now-1h' });
        assert.deepEqual(values(await stream.readings(1)), [0]);
        for (const v of upTo(5))
            await server.post('own', { v });
        await server.post('own', upTo(5, 6).map((v) => ({ v })));
        const readings = await stream.readings(10);
        assert.deepEqual(values(readings), upTo(10));
        assert.deepEqual(await stream.within(1500), []);
        stream.close();
    });
});
