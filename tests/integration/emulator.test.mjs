// Side by side with Microsoft's client: npm's Cosmos DB emulator, filled and read back by @azure/cosmos on one side and by
// telemetryd on the other, with device status from the fake hub.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import '../support/webcrypto.mjs';
import { CosmosClient } from '@azure/cosmos';
import emulator from '@vercel/cosmosdb-server';
import { startIotHub } from '../fakes/iothub.mjs';
import { makeTls } from '../support/tls.mjs';
import { startServer } from '../support/server.mjs';

const KEY = 'C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw==';

describe('beside @azure/cosmos', () => {
    let http;
    let client;
    let container;
    let hub;
    let server;

    before(async () => {
        http = emulator.createHttpServer().unref();
        await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve));
        const endpoint = `http://127.0.0.1:${http.address().port}/`;
        client = new CosmosClient({ endpoint, key: KEY, connectionPolicy: { enableEndpointDiscovery: false } });
        const { database } = await client.databases.createIfNotExists({ id: 'iot' });
        ({ container } = await database.containers.createIfNotExists({ id: 'telemetry', partitionKey: { paths: ['/deviceId'] }, defaultTtl: -1 }));
        const tls = makeTls();
        hub = await startIotHub({ tls });
        server = await startServer({
            env: { ...hub.env, AZURE_CA_FILE: tls.caFile, COSMOS_CONNECTION: `AccountEndpoint=${endpoint};AccountKey=${KEY};` }, ready: true,
        });
    });
    after(async () => {
        await server?.stop();
        await hub?.stop();
        client.dispose();
        http.closeAllConnections();
        await new Promise((resolve) => http.close(resolve));
    });

    const itemsOf = async (deviceId) => (await container.items.query({
        query: 'SELECT * FROM c WHERE c.deviceId = @d', parameters: [{ name: '@d', value: deviceId }],
    }, { partitionKey: deviceId }).fetchAll()).resources;
    const bare = (item) => Object.fromEntries(Object.entries(item).filter(([name]) => !name.startsWith('_')));

    it('what telemetryd stores the SDK reads, item by item', async () => {
        await server.post('written', { t: 21.5, timestamp: '2026-11-23T07:00:00Z' });
        const [item] = await itemsOf('written');
        assert.deepEqual({ ...bare(item), processedAt: '' }, {
            id: 'written-2026-11-23T07:00:00Z', deviceId: 'written', partitionKey: 'written', data: { t: 21.5, timestamp: '2026-11-23T07:00:00Z' }, processedAt: '', ttl: 604800,
        });
        assert.ok(!Number.isNaN(Date.parse(item.processedAt)));
        const { resource } = await container.item(item.id, 'written').read();
        assert.deepEqual(resource.data, { t: 21.5, timestamp: '2026-11-23T07:00:00Z' });
        await server.post('written', { t: 22, timestamp: '2026-11-23T07:00:00Z' });
        assert.deepEqual((await itemsOf('written')).map((i) => i.data.t), [22], 'a repeated delivery replaces');
    });

    it('arrays arrive whole', async () => {
        const values = Array.from({ length: 120 }, (_, n) => ({ n, s: 'é€😀\u0001"\\' }));
        await server.post('array', values);
        const items = await itemsOf('array');
        assert.deepEqual(items.map((i) => i.data.n).sort((a, b) => a - b), values.map((v) => v.n));
        assert.ok(items.every((i) => i.data.s === values[0].s && i.partitionKey === 'array' && i.ttl === 604800));
        assert.equal(new Set(items.map((i) => i.id)).size, 120);
    });

    it('what the SDK stores telemetryd serves: telemetry, latest, paging to the end', async () => {
        for (let n = 0; n < 23; n++)
            await container.items.upsert({ id: `s${n}`, deviceId: 'sdk', partitionKey: 'sdk', data: { n, nested: { list: [n] } }, processedAt: new Date().toISOString() });
        await container.items.upsert({ id: 'no-data', deviceId: 'sdk', partitionKey: 'sdk', note: 'another writer\'s' });
        for (const limit of [1, 4, 22, 23, 24, 1000]) {
            for (const order of ['asc', 'desc']) {
                const { readings } = await server.readAll(`/devices/sdk/telemetry?limit=${limit}&order=${order}`);
                assert.deepEqual(readings.map((r) => r.data.n).sort((a, b) => a - b), Array.from({ length: 23 }, (_, n) => n), `limit ${limit} ${order}`);
                const stamps = readings.map((r) => r.timestamp);
                assert.deepEqual(stamps, [...stamps].sort((a, b) => (order === 'asc' ? a - b : b - a)));
                assert.ok(readings.every((r) => r.data.nested.list[0] === r.data.n));
            }
        }
        const latest = (await server.api('/devices/sdk/telemetry/latest')).json;
        assert.equal(latest.deviceId, 'sdk');
        assert.ok(latest.timestamp >= (await server.api('/devices/sdk/telemetry')).json.telemetry[0].timestamp);
    });

    it('costs what the emulator says', async () => {
        assert.ok(Number((await server.api('/devices/sdk/telemetry')).header('x-ms-request-charge')) >= 1);
    });

    it('status comes from the hub beside it', async () => {
        hub.put('sdk', { reported: { status: 'online', firmwareVersion: '2.0' } });
        assert.deepEqual((await server.api('/devices/sdk/status')).json, {
            deviceId: 'sdk', status: 'online', lastSeen: null, firmwareVersion: '2.0', connectionState: 'Connected', enabled: true,
        });
        assert.equal((await server.api('/devices/written/status')).status, 404);
        assert.deepEqual((await server.api('/devices')).json.value.map((d) => d.deviceId), ['sdk']);
        hub.put('quiet');
        assert.equal((await server.api('/devices/quiet/telemetry')).json.count, 0);
        assert.equal((await server.api('/devices/nobody/telemetry')).status, 404);
    });

    it('says both modes', async () => {
        assert.ok(/cosmos/.test(server.firstLine) && /iothub/.test(server.firstLine), server.firstLine);
        assert.deepEqual((await server.api('/readyz')).json, { status: 'ok', checks: { telemetry: { status: 'ok', mode: 'cosmos' }, registry: { status: 'ok', mode: 'iothub' } } });
    });
});
