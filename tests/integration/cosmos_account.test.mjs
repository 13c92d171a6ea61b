// The Cosmos DB account as a whole: regions that fail, an account document that is stale, TLS, and a start with the upstream down.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { startCosmos, wire } from '../fakes/cosmos.mjs';
import { tempDirectory } from '../support/temp.mjs';
import { makeTls } from '../support/tls.mjs';
import { SLOW, assertProblem, startServer, waitFor } from '../support/server.mjs';

const json = { 'content-type': 'application/json' };
const NOW = Math.floor(Date.now() / 1000);
const THREE = ['West Europe', 'North Europe', 'East US'];

/** A fake with regions and a server on it, both gone after the test. */
async function boot(t, { fakeOptions = { regions: THREE }, change, env = {}, ready = true } = {}) {
    const fake = await startCosmos(fakeOptions);
    for (let i = 0; i < 3; i++)
        fake.put('d1', { data: { i }, ts: NOW - 10 });
    change?.(fake);
    t.after(() => fake.stop());
    const server = await startServer({ env: { ...fake.env, TELEMETRYD_WORKERS: '1', ...env }, ready });
    t.after(() => server.stop());
    const read = () => server.api('/devices/d1/telemetry');
    const queries = (region) => fake.requests.filter((r) => r.op === 'query' && (region === undefined || r.region === region)).length;
    return { fake, server, read, queries };
}

describe('regions', { concurrency: 4 }, () => {
    it('asks the first region while all is well', async (t) => {
        const { read, queries, fake } = await boot(t);
        for (let i = 0; i < 5; i++)
            assert.equal((await read()).json.count, 3);
        assert.equal(queries(0), 5);
        assert.deepEqual(fake.violations, []);
    });

    const failures = {
        'a reset': { wire: wire.reset },
        'a 503': { status: 503 },
        'a 403/1008': { status: 403, headers: { 'x-ms-substatus': '1008' } },
    };
    for (const [name, fault] of Object.entries(failures)) {
        it(`reads from the next region after ${name}, and leaves the failed one alone`, async (t) => {
            const { fake, read, queries } = await boot(t);
            fake.fault({ op: 'query', region: 0, times: Infinity, ...fault });
            assert.equal((await read()).json.count, 3);
            const failed = queries(0); // libcurl itself repeats what was reset on a connection that it reused
            assert.ok(failed === 1 || (failed === 2 && fault.wire), `${failed} requests`);
            for (let i = 0; i < 4; i++)
                assert.equal((await read()).status, 200);
            assert.equal(queries(0), failed, 'unavailable for 5 minutes');
            assert.equal(queries(1), 5);
        });
    }

    it('reads from the next region when connections are refused', async (t) => {
        const { fake, read, queries } = await boot(t);
        await fake.closeRegion(0);
        for (let i = 0; i < 3; i++)
            assert.equal((await read()).json.count, 3);
        assert.ok(queries(1) + queries(2) >= 3);
    });

    it('reads from the next region when the first one is silent, within the deadline', async (t) => {
        const { fake, server } = await boot(t, { env: { TELEMETRYD_REQUEST_TIMEOUT: '3s' } });
        fake.fault({ op: 'query', region: 0, times: Infinity, wire: wire.hang });
        const statuses = [];
        for (let i = 0; i < 2; i++)
            statuses.push((await server.api('/devices/d1/telemetry')).status);
        assert.equal(statuses.at(-1), 200, `the timed-out region is left alone: ${statuses}`);
    });

    it('follows a cursor into another region', async (t) => {
        const { fake, server } = await boot(t);
        const first = (await server.api('/devices/d1/telemetry?limit=2')).json;
        await fake.closeRegion(0);
        const { readings } = await server.readAll(first.nextLink);
        assert.deepEqual([...first.telemetry, ...readings].map((r) => r.data.i), [2, 1, 0]);
    });

    it('asks at most three times when every region fails, and recovers', async (t) => {
        const { fake, read, queries } = await boot(t);
        const fault = fake.fault({ op: 'query', times: Infinity, wire: wire.reset });
        assertProblem(await read(), 502, 'UpstreamUnavailable');
        assert.ok(queries() <= 3, `${queries()} requests`);
        fault.times = 0;
        assert.equal((await read()).status, 200, 'a candidate is always left');
    });

    it('asks an upstream that is down at most three times, also over connections that it kept', async (t) => {
        const { fake, read, queries } = await boot(t, { fakeOptions: { regions: ['West Europe'] } });
        for (let i = 0; i < 3; i++)
            await Promise.all([read(), read(), read()]);
        const before = queries();
        fake.fault({ op: 'query', times: Infinity, wire: wire.reset });
        assertProblem(await read(), 502, 'UpstreamUnavailable');
        assert.ok(queries() - before <= 3, `${queries() - before} requests`);
    });

    it('is not disturbed by kept connections that the upstream has closed meanwhile', async (t) => {
        const { fake, server, read, queries } = await boot(t);
        await Promise.all([read(), read(), read(), read()]);
        fake.closeConnections();
        for (let i = 0; i < 4; i++)
            assert.equal((await read()).status, 200);
        await server.post('kept', { a: 1 });
        assert.equal(queries(1) + queries(2), 0, 'a closed idle connection does not make a region unavailable');
    });

    it('moves writes to the region that the account names after a 403/3', async (t) => {
        const { fake, server } = await boot(t);
        await server.post('w', { n: 1 });
        fake.account.writableLocations = [fake.account.readableLocations[1]];
        fake.fault({ op: ['upsert', 'batch'], region: 0, times: Infinity, status: 403, headers: { 'x-ms-substatus': '3' }, body: '{"code":"Forbidden","message":"The requested operation cannot be performed at this region"}' });
        await server.post('w', { n: 2 });
        await server.post('w', [{ n: 3 }, { n: 4 }]);
        assert.deepEqual(fake.items('w').map((item) => item.data.n), [1, 2, 3, 4]);
        const regions = fake.requests.filter((r) => ['upsert', 'batch'].includes(r.op)).map((r) => r.region);
        assert.deepEqual(regions, [0, 0, 1, 1], 'the second write finds the new region at once');
    });

    const stale = {
        'a region on a dead port': (fake) => fake.account.readableLocations.unshift({ name: 'Gone', databaseAccountEndpoint: 'http://127.0.0.1:9/' }),
        'no region at all': (fake) => Object.assign(fake.account, { readableLocations: [], writableLocations: [] }),
        'only regions on dead ports': (fake) => Object.assign(fake.account, {
            readableLocations: [{ name: 'A', databaseAccountEndpoint: 'http://127.0.0.1:9/' }, { name: 'B', databaseAccountEndpoint: 'http://127.0.0.1:11/' }],
            writableLocations: [{ name: 'A', databaseAccountEndpoint: 'http://127.0.0.1:9/' }],
        }),
        'addresses that are none': (fake) => {
            fake.account.readableLocations = ['ftp://127.0.0.1/', 'not a url', 'http://user:pw@127.0.0.1:9/', 'http://127.0.0.1:9/path?x', '', 5, null, 'file:///etc/passwd']
                .map((databaseAccountEndpoint, i) => ({ name: `R${i}`, databaseAccountEndpoint }));
        },
        'no locations': (fake) => {
            delete fake.account.readableLocations;
            delete fake.account.writableLocations;
        },
    };
    for (const [name, change] of Object.entries(stale)) {
        it(`serves from the configured endpoint when the account names ${name}`, async (t) => {
            const { server, read } = await boot(t, { fakeOptions: { regions: ['West Europe'] }, change });
            assert.equal((await read()).json.count, 3);
            await server.post('stale', { a: 1 });
        });
    }
});

describe('TLS to Cosmos DB', { concurrency: 2 }, () => {
    let tls;
    before(() => (tls = makeTls()));

    it('is trusted through AZURE_CA_FILE', async (t) => {
        const { fake, read } = await boot(t, { fakeOptions: { tls }, env: { AZURE_CA_FILE: tls.caFile } });
        assert.equal((await read()).json.count, 3);
        assert.deepEqual(fake.violations, []);
    });

    it('is refused without it, and no key is sent', async (t) => {
        const { fake, server, read } = await boot(t, { fakeOptions: { tls }, ready: false });
        assert.equal((await server.api('/readyz')).status, 503);
        assertProblem(await read(), 502, 'UpstreamUnavailable');
        assert.equal(fake.requests.length, 0);
    });

    it('is refused for another host\'s certificate', async (t) => {
        const other = makeTls(['DNS:elsewhere.example']);
        const { fake, read } = await boot(t, { fakeOptions: { tls: other }, env: { AZURE_CA_FILE: other.caFile }, ready: false });
        assertProblem(await read(), 502, 'UpstreamUnavailable');
        assert.equal(fake.requests.length, 0);
    });
});

describe('a secret from a file', () => {
    it('is used, without the line feed at its end, and never shown', async (t) => {
        const fake = await startCosmos();
        fake.put('d1', { data: {}, ts: NOW - 5 });
        const { COSMOS_CONNECTION, ...rest } = fake.env;
        const path = join(tempDirectory(), 'connection');
        writeFileSync(path, `${COSMOS_CONNECTION}\n`);
        const server = await startServer({ env: { ...rest, COSMOS_CONNECTION_FILE: path, TELEMETRYD_LOG_LEVEL: 'debug' }, secrets: { COSMOS_CONNECTION }, ready: true });
        t.after(async () => (await server.stop(), await fake.stop()));
        assert.equal((await server.api('/devices/d1/telemetry')).json.count, 1);
        assert.equal((await server.api('/metrics')).status, 200);
        assert.deepEqual(fake.violations, []);
    });
});

describe('a start with Cosmos DB down', { concurrency: 3 }, () => {
    it('serves at once, is not ready, and recovers by itself', async (t) => {
        const fake = await startCosmos();
        const { env } = fake;
        const port = Number(new URL(fake.url()).port);
        fake.put('d1', { data: {}, ts: NOW - 5 });
        await fake.closeRegion(0);
        const server = await startServer({ env });
        t.after(async () => (await server.stop(), await fake.stop()));
        assert.equal((await server.api('/livez')).status, 200);
        const ready = await server.api('/readyz');
        assert.equal(ready.status, 503);
        assert.notEqual(ready.json.status, 'ok');
        assert.deepEqual(ready.json.checks.registry, { status: 'ok', mode: 'embedded' });
        assert.equal(ready.json.checks.telemetry.mode, 'cosmos');
        assertProblem(await server.api('/devices/d1/telemetry'), 502, 'UpstreamUnavailable');
        await fake.reopenRegion(0, port);
        assert.equal((await server.api('/devices/d1/telemetry')).status, 200, 'requests work at once');
        await waitFor(async () => (await server.api('/readyz')).status === 200, 'readyz recovers', 14_000 * SLOW);
    });

    for (const [name, fault] of [['a missing container', { op: 'container', status: 404, body: '{"code":"NotFound","message":""}' }], ['a refused key', { status: 401, body: '{"code":"Unauthorized","message":""}' }]]) {
        it(`is not ready with ${name}`, async (t) => {
            const fake = await startCosmos();
            fake.fault({ times: Infinity, ...fault });
            const server = await startServer({ env: fake.env });
            t.after(async () => (await server.stop(), await fake.stop()));
            assert.equal((await server.api('/readyz')).status, 503);
            const response = await server.api('/devices/d1/telemetry');
            assert.equal(response.status, 502, String(response));
            assert.equal((await server.api({ method: 'POST', path: '/devices/d1/telemetry', headers: json, body: '{}' })).status, 502);
        });
    }

    it('becomes not ready when the upstream goes, and answers probes from a check at most 10 s old', async (t) => {
        const fake = await startCosmos();
        const server = await startServer({ env: fake.env, ready: true });
        t.after(async () => (await server.stop(), await fake.stop()));
        for (let i = 0; i < 30; i++)
            await server.api('/readyz');
        assert.ok(fake.requests.length < 12, `${fake.requests.length} requests for 30 probes`);
        await fake.closeRegion(0);
        await waitFor(async () => (await server.api('/readyz')).status === 503, 'readyz notices', 14_000 * SLOW);
        assert.equal((await server.api('/livez')).status, 200);
    });
});
