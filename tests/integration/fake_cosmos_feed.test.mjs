// The change feed of the fake Cosmos DB, proved against the official SDK: its iterators read it from the beginning, from now and
// from a time, go on from their continuations, also over a split, and see each item's newest version.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import '../support/webcrypto.mjs';
import { ChangeFeedStartFrom, CosmosClient } from '@azure/cosmos';
import { masterKeyToken, startCosmos } from '../fakes/cosmos.mjs';
import { request } from '../support/http.mjs';

const connectionPolicy = { enableEndpointDiscovery: false };

/** The ids that an iterator gives until it says that nothing is new, and its continuation. */
async function drain(iterator) {
    const ids = [];
    for (;;) {
        const page = await iterator.readNext();
        if (page.statusCode === 304)
            return { ids, items: ids.length, continuation: page.continuationToken };
        assert.equal(page.statusCode, 200);
        ids.push(...page.result.map((item) => item.id));
    }
}

describe('fake change feed', () => {
    let fake;
    let client;
    let container;
    let written = 0;

    before(async () => {
        fake = await startCosmos();
        client = new CosmosClient({ endpoint: `${fake.url()}/`, key: fake.key, connectionPolicy });
        container = client.database('iot').container('telemetry');
    });
    after(async () => {
        client.dispose();
        await fake.stop();
    });

    const write = async (count, device = (i) => `d${i % 7}`) => {
        const ids = [];
        for (let i = 0; i < count; i++) {
            ids.push(`r${++written}`);
            await container.items.upsert({ id: ids.at(-1), deviceId: device(written), data: { v: written } });
        }
        return ids;
    };
    const read = (changeFeedStartFrom, maxItemCount = 10) => drain(container.items.getChangeFeedIterator({ changeFeedStartFrom, maxItemCount }));
    /** One request as a REST client makes it. */
    const get = (headers) => {
        const date = new Date().toUTCString();
        const authorization = encodeURIComponent(masterKeyToken(fake.key, 'GET', 'docs', 'dbs/iot/colls/telemetry', date));
        return request(fake.url(), {
            path: '/dbs/iot/colls/telemetry/docs',
            headers: {
                authorization, 'x-ms-date': date, 'x-ms-version': '2020-07-15', 'A-IM': 'Incremental Feed',
                'x-ms-documentdb-partitionkeyrangeid': fake.feed.rangeIds[0], ...headers,
            },
        });
    };

    it('from the beginning, page after page, in order', async () => {
        const ids = await write(25);
        assert.deepEqual((await read(ChangeFeedStartFrom.Beginning(), 4)).ids, ids);
    });

    it('from now: nothing, then what comes', async () => {
        const iterator = container.items.getChangeFeedIterator({ changeFeedStartFrom: ChangeFeedStartFrom.Now() });
        assert.deepEqual((await drain(iterator)).ids, []);
        const ids = await write(3);
        assert.deepEqual((await drain(iterator)).ids, ids);
    });

    it('from a time', async () => {
        fake.put('old', { id: 'old', data: {}, ts: Math.floor(Date.now() / 1000) - 3600 });
        const { ids } = await read(ChangeFeedStartFrom.Time(new Date(Date.now() - 60_000)));
        assert.ok(!ids.includes('old') && ids.length > 0);
    });

    it('a replaced item moves to the end, a deleted one disappears', async () => {
        const { continuation } = await read(ChangeFeedStartFrom.Now());
        await write(2, () => 'versions');
        const [first, second] = [`r${written - 1}`, `r${written}`];
        await container.items.upsert({ id: first, deviceId: 'versions', data: { v: 'again' } });
        assert.deepEqual((await read(ChangeFeedStartFrom.Continuation(continuation))).ids, [second, first]);
        await container.item(first, 'versions').delete();
        assert.deepEqual((await read(ChangeFeedStartFrom.Continuation(continuation))).ids, [second]);
    });

    it('a transaction shares one _lsn and is not cut', async () => {
        const now = await get({ 'If-None-Match': '*' });
        const operations = Array.from({ length: 20 }, (_, i) => (
            { operationType: 'Upsert', id: `t${i}`, resourceBody: { id: `t${i}`, deviceId: 'batch', data: { i } } }));
        assert.equal((await container.items.batch(operations, 'batch')).code, 200);
        const page = await get({ 'If-None-Match': now.header('etag'), 'x-ms-max-item-count': '3' });
        const { Documents } = JSON.parse(page.body);
        assert.equal(Documents.length, 20);
        assert.equal(new Set(Documents.map((item) => item._lsn)).size, 1);
        assert.equal(page.header('etag'), `"${Documents[0]._lsn}"`);
    });

    it('a 304 has an ETag and no body', async () => {
        const answer = await get({ 'If-None-Match': '*' });
        assert.equal(answer.status, 304);
        assert.match(answer.header('etag'), /^"\d+"$/);
        assert.equal(answer.body.length, 0);
    });

    it('a continuation goes on over a split, and over another', async () => {
        const before = await read(ChangeFeedStartFrom.Beginning());
        const known = await write(10);
        const [left, right] = fake.feed.split(fake.feed.rangeIds[0]);
        assert.deepEqual(fake.feed.list().PartitionKeyRanges.map((range) => range.parents), [['0'], ['0']]);
        const behind = await write(10);
        fake.feed.split(right);
        const latest = await write(10);
        const { ids } = await read(ChangeFeedStartFrom.Continuation(before.continuation), 3);
        assert.deepEqual(ids.sort(), [...known, ...behind, ...latest].sort());
        assert.equal(fake.feed.rangeIds.length, 3);
        assert.equal(fake.feed.rangeIds[0], left);
    });

    it('a range that was split is gone, with the substatus that says so', async () => {
        const answer = await get({ 'x-ms-documentdb-partitionkeyrangeid': '0' });
        assert.equal(answer.status, 410);
        assert.equal(answer.header('x-ms-substatus'), '1002');
    });

    const refused = [
        ['a range that never was', { 'x-ms-documentdb-partitionkeyrangeid': '77' }],
        ['no A-IM', { 'A-IM': '' }],
        ['a page of nothing', { 'x-ms-max-item-count': '0' }],
        ['an ETag that is not of the feed', { 'If-None-Match': '"x"' }],
        ['a time that is none', { 'If-Modified-Since': 'yesterday' }],
    ];
    for (const [name, headers] of refused)
        it(`refuses ${name}`, async () => assert.equal((await get(headers)).status, 400));
});
