// The fake Cosmos DB, proved against the official SDK: what @azure/cosmos signs and sends it accepts, what it answers
// @azure/cosmos understands, and what the service refuses it refuses.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import '../support/webcrypto.mjs';
import { CosmosClient } from '@azure/cosmos';
import { masterKeyToken, startCosmos, wire } from '../fakes/cosmos.mjs';
import { request } from '../support/http.mjs';
import { makeTls } from '../support/tls.mjs';

const connectionPolicy = { enableEndpointDiscovery: false, retryOptions: { maxRetryAttemptCount: 3, fixedRetryIntervalInMilliseconds: 0, maxWaitTimeInSeconds: 5 } };
const clientOf = (fake, key = fake.key) => new CosmosClient({ endpoint: `${fake.url()}/`, key, connectionPolicy });
const containerOf = (client) => client.database('iot').container('telemetry');

describe('fake Cosmos DB', () => {
    let fake;
    let client;
    let container;

    before(async () => {
        fake = await startCosmos();
        client = clientOf(fake);
        container = containerOf(client);
    });
    after(async () => {
        client.dispose();
        await fake.stop();
    });

    const vectors = [
        ['the documentation\'s key', 'dsZQi3KtZmCv1ljt3VNWNm7sQUF1y5rJfC6kv5JiwvW0EndXdDku/dkKBp8/ufDToSxLzR4y+O/0H/t4bQtVNw==',
            'GET', 'dbs', 'dbs/ToDoList', 'c09PEVJrgp2uQRkr934kFbTqhByc7TVr3OHyqlu+c+c='],
        ['the emulator\'s key, a query', 'C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw==',
            'POST', 'docs', 'dbs/db/colls/tel', 'Bu+cGyzpfIJMJKU/3+324X7SjoLDkiRu0aA6YfQwxt0='],
        ['a name outside ASCII', 'C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw==',
            'GET', 'docs', 'dbs/db/colls/tel/docs/m 1é', '4pp93/FDgD8G849BlxpaLRSz5GEtN7Jcu0Sq/Sf4C7c='],
    ];
    for (const [name, key, verb, type, link, signature] of vectors) {
        it(`signs as Microsoft does: ${name}`, () => {
            assert.equal(masterKeyToken(key, verb, type, link, 'Thu, 27 Apr 2017 00:51:12 GMT'), `type=master&ver=1.0&sig=${signature}`);
        });
    }

    it('serves the SDK: account, container, upsert, read, replace, delete', async () => {
        const { resource: definition } = await container.read();
        assert.deepEqual(definition.partitionKey.paths, ['/deviceId']);
        const first = await container.items.upsert({ id: 'r 1é', deviceId: 'crud', v: 1 });
        assert.equal(first.statusCode, 201);
        assert.equal((await container.items.upsert({ id: 'r 1é', deviceId: 'crud', v: 2 })).statusCode, 200);
        const { resource } = await container.item('r 1é', 'crud').read();
        assert.equal(resource.v, 2);
        assert.equal(typeof resource._ts, 'number');
        await container.item('r 1é', 'crud').replace({ id: 'r 1é', deviceId: 'crud', v: 3 });
        assert.equal((await container.item('r 1é', 'crud').delete()).statusCode, 204);
        assert.equal((await container.item('r 1é', 'crud').read()).statusCode, 404);
        assert.deepEqual(fake.violations, []);
    });

    it('serves the SDK\'s queries in pages, by the continuation token', async () => {
        for (let i = 0; i < 25; i++)
            fake.put('paged', { id: `r${i}`, data: { i }, ts: 1000 + (i >> 1) });
        const spec = {
            query: 'SELECT c.data, c._ts AS timestamp FROM c WHERE c.deviceId = @d AND c._ts > @from AND c._ts <= @to AND IS_DEFINED(c.data) ORDER BY c._ts DESC',
            parameters: [{ name: '@d', value: 'paged' }, { name: '@from', value: 1000 }, { name: '@to', value: 1011 }],
        };
        const iterator = container.items.query(spec, { partitionKey: 'paged', maxItemCount: 4 });
        const seen = [];
        let pages = 0;
        while (iterator.hasMoreResults()) {
            const { resources, requestCharge } = await iterator.fetchNext();
            seen.push(...(resources ?? []));
            assert.ok(requestCharge > 0);
            pages++;
        }
        assert.deepEqual(seen.map((row) => row.data.i), Array.from({ length: 22 }, (_, k) => 23 - k));
        assert.ok(pages >= 6);
        assert.deepEqual(fake.violations, []);
    });

    it('tells TOP, ascending order, VALUE and an empty page apart', async () => {
        const rows = async (query, parameters = []) => (await container.items.query({ query, parameters }, { partitionKey: 'paged' }).fetchAll()).resources;
        assert.deepEqual((await rows('SELECT TOP 1 * FROM c ORDER BY c._ts DESC')).map((r) => r.id), ['r24']);
        assert.deepEqual((await rows('SELECT VALUE c.id FROM c WHERE c.data.i < 3 ORDER BY c._ts ASC')), ['r0', 'r1', 'r2']);
        fake.pagePlan = (n) => (n % 2 === 0 ? 0 : 3);
        try {
            const spaced = await container.items.query('SELECT VALUE c.data.i FROM c ORDER BY c._ts', { partitionKey: 'paged' }).fetchAll();
            assert.equal(spaced.resources.length, 25);
        } finally {
            fake.pagePlan = undefined;
        }
    });

    it('serves the SDK\'s batches as one: all, or nothing with 207 and 424', async () => {
        const upsert = (id, deviceId = 'batch') => ({ operationType: 'Upsert', resourceBody: { id, deviceId } });
        const ok = await container.items.batch([upsert('a'), upsert('b')], 'batch');
        assert.deepEqual(ok.result.map((r) => r.statusCode), [201, 201]);
        fake.fault({ op: 'batch-item', index: 1, itemStatus: 413 });
        const bad = await container.items.batch([upsert('c'), upsert('d'), upsert('e')], 'batch');
        assert.equal(bad.code, 207);
        assert.deepEqual(bad.result.map((r) => r.statusCode), [424, 413, 424]);
        assert.deepEqual(fake.items('batch').map((item) => item.id), ['a', 'b']);
    });

    it('refuses a wrong key with 401 and a header that is not the item\'s partition with 400/1001', async () => {
        const stranger = clientOf(fake, Buffer.alloc(64, 7).toString('base64'));
        await assert.rejects(containerOf(stranger).read(), (error) => error.code === 401);
        stranger.dispose();
        const signed = async (date) => {
            const token = encodeURIComponent(masterKeyToken(fake.key, 'POST', 'docs', 'dbs/iot/colls/telemetry', date));
            return request(fake.url(), {
                method: 'POST', path: '/dbs/iot/colls/telemetry/docs', body: '{"id":"x","deviceId":"b"}',
                headers: { authorization: token, 'x-ms-date': date, 'x-ms-version': '2020-07-15', 'x-ms-documentdb-is-upsert': 'True', 'x-ms-documentdb-partitionkey': '["a"]' },
            });
        };
        const mismatch = await signed(new Date().toUTCString());
        assert.equal(mismatch.status, 400);
        assert.equal(mismatch.header('x-ms-substatus'), '1001');
        assert.equal((await signed(new Date(Date.now() - 16 * 60_000).toUTCString())).status, 403);
        fake.violations.length = 0;
    });

    it('throttles: the SDK waits and asks again', async () => {
        const fault = fake.fault({ op: 'upsert', times: 2, status: 429, headers: { 'x-ms-retry-after-ms': '5', 'content-type': 'application/json' }, body: '{"code":"429","message":"slow"}' });
        assert.equal((await container.items.upsert({ id: 't', deviceId: 'throttled' })).statusCode, 201);
        assert.equal(fault.hits, 2);
    });

    it('enforces ttl, keeps partitions apart, and refuses what the gateway does not serve', async () => {
        const now = Math.floor(Date.now() / 1000);
        fake.put('ttl', { id: 'old', ttl: 10, ts: now - 11 });
        fake.put('ttl', { id: 'new', ttl: 10, ts: now });
        const { resources } = await container.items.query('SELECT VALUE c.id FROM c', { partitionKey: 'ttl' }).fetchAll();
        assert.deepEqual(resources, ['new']);
        await assert.rejects(container.items.query('SELECT VALUE COUNT(1) FROM c', { partitionKey: 'ttl' }).fetchAll(), (error) => error.code === 400);
        fake.violations.length = 0;
    });

    it('breaks answers on the wire', async () => {
        const broken = { reset: wire.reset, diesInHeaders: wire.diesInHeaders, shortBody: wire.shortBody, garbage: wire.garbage, cutChunks: wire.cutChunks };
        for (const [name, act] of Object.entries(broken)) {
            fake.fault({ op: 'account', wire: act });
            await assert.rejects(request(fake.url(), { path: '/', agent: undefined, timeout: 2000 }), undefined, name);
        }
    });

    it('has regions on ports of their own, and serves TLS', async () => {
        const tls = makeTls();
        const fakeTls = await startCosmos({ tls, regions: ['West Europe', 'North Europe'] });
        try {
            assert.equal(fakeTls.account.readableLocations.length, 2);
            assert.notEqual(fakeTls.url(0), fakeTls.url(1));
            assert.match(fakeTls.url(1), /^https:/);
        } finally {
            await fakeTls.stop();
        }
    });
});
