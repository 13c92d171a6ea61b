// What docker/compose.yaml puts together, asked from inside: the image beside the emulator and the hub, seeded by Microsoft's SDK.
// `./dev docker test` runs it; BASE_URL and COSMOS_CONNECTION say where everything is.

import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import '../support/webcrypto.mjs';
import { CosmosClient } from '@azure/cosmos';
import { checkContract, checkGeneral } from '../support/contract.mjs';
import { request } from '../support/http.mjs';
import { openStream } from '../support/sse.mjs';

const url = process.env.BASE_URL;
const [, endpoint, key] = /^AccountEndpoint=([^;]+);AccountKey=([^;]+);?$/.exec(process.env.COSMOS_CONNECTION);

async function ask(path, more) {
    const response = await request(url, { path, ...more });
    checkGeneral(response);
    checkContract(response);
    return response;
}
const post = (device, body) => ask(`/devices/${device}/telemetry`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });

async function readAll(path) {
    const readings = [];
    for (let next = path; next;) {
        const { status, json } = await ask(next);
        assert.equal(status, 200);
        readings.push(...json.telemetry);
        next = json.nextLink;
    }
    return readings;
}

describe('the composed services', () => {
    const client = new CosmosClient({ endpoint, key, connectionPolicy: { enableEndpointDiscovery: false } });
    const container = client.database('iot').container('telemetry');
    after(() => client.dispose());

    it('are ready, with both upstreams', async () => {
        const { status, json } = await ask('/readyz');
        assert.equal(status, 200, JSON.stringify(json));
    });

    for (const [path, type] of [['/', 'text/html'], ['/docs', 'text/html'], ['/openapi.json', 'application/json'], ['/metrics', 'text/plain'], ['/livez', 'text/plain']])
        it(`serve ${path}`, async () => {
            const { status, header } = await request(url, { path });
            assert.equal(status, 200);
            assert.ok(header('content-type').startsWith(type), header('content-type'));
        });

    for (const device of ['press-1', 'press-2', 'oven']) {
        it(`serve the readings of ${device} that the SDK has stored, each once and in order`, async () => {
            const { resources } = await container.items.query({
                query: 'SELECT VALUE c.data FROM c WHERE c.deviceId = @d', parameters: [{ name: '@d', value: device }],
            }, { partitionKey: device }).fetchAll();
            const readings = await readAll(`/devices/${device}/telemetry?hours=1&order=asc&limit=40`);
            const byTime = (a, b) => a.timestamp.localeCompare(b.timestamp);
            assert.deepEqual(readings.map(({ data }) => data).sort(byTime), resources.sort(byTime));
            assert.ok(readings.length >= 96);
        });
    }

    it('serve the twins of the hub', async () => {
        const { json: { value } } = await ask('/devices');
        assert.deepEqual(value.map(({ deviceId }) => deviceId).sort(), ['oven', 'press-1', 'press-2', 'silent']);
        const { json: status } = await ask('/devices/press-2/status');
        assert.equal(status.firmwareVersion, '2.0.4');
        assert.equal(status.status, 'online');
        assert.equal((await ask('/devices/nobody/status')).status, 404);
    });

    it('store what is posted where the SDK finds it', async () => {
        const timestamp = new Date().toISOString();
        assert.equal((await post('press-1', [{ temperature: 1, timestamp }, { temperature: 2 }])).status, 201);
        const { resource } = await container.item(`press-1-${timestamp}`, 'press-1').read();
        assert.deepEqual(resource.data, { temperature: 1, timestamp });
        assert.equal(resource.ttl, 604800);
    });

    it('stream a reading to who listens', async () => {
        const stream = await openStream(new URL('/devices/press-2/telemetry/stream', url));
        await post('press-2', { heard: 1 });
        const [reading] = await stream.readings(1);
        assert.deepEqual(reading.data, { heard: 1 });
        stream.close();
    });

    for (const [path, status, code] of [
        ['/devices/press-1/telemetry?limit=0', 400, 'InvalidParameter'],
        ['/devices/nobody/telemetry', 404, 'DeviceNotFound'],
        ['/nowhere', 404, 'NotFound'],
    ])
        it(`answer ${path} with ${code}`, async () => {
            const response = await ask(path);
            assert.deepEqual([response.status, response.json.code], [status, code]);
        });
});
