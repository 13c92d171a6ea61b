// The issuer's keys: discovery, rollover, the cooldown, issuers that err, and what all that costs callers whose tokens are good.

import assert from 'node:assert/strict';
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { FakeIssuer, faults, makeKey, startIssuer } from '../fakes/issuer.mjs';
import { flood } from '../support/flood.mjs';
import { request } from '../support/http.mjs';
import { parseMetrics } from '../support/metrics.mjs';
import { SLOW, assertProblem, startServer, waitFor } from '../support/server.mjs';
import { tempDirectory } from '../support/temp.mjs';
import { makeTls } from '../support/tls.mjs';

const bearer = (token) => ({ authorization: `Bearer ${token}` });
const ask = (server, token, path = '/devices') => server.api({ path, headers: bearer(token) });
const status = async (server, token) => (await ask(server, token)).status;

/** Waits for the keys, as a caller sees it: a good token is taken. */
const loaded = async (server, token) => waitFor(async () => (await status(server, token)) === 200, 'the keys are loaded');

/** An issuer and a server that has its keys. env may be a function of the issuer. */
async function boot(t, { issuer: options, env = {} } = {}) {
    const issuer = await startIssuer(options);
    t.after(() => issuer.stop());
    const server = await startServer({ env: { ...issuer.env, TELEMETRYD_JWT_COOLDOWN: '1s', ...(typeof env === 'function' ? env(issuer) : env) } });
    t.after(() => server.stop());
    const good = await issuer.token();
    await loaded(server, good);
    return { issuer, server, good };
}

const logLines = (server, msg) => server.log.filter((line) => line.msg === msg);

describe('keys', { concurrency: 4 }, () => {
    it('finds the keys through discovery, with one fetch for all workers', async (t) => {
        const { issuer, server, good } = await boot(t, { env: { TELEMETRYD_WORKERS: '4' } });
        await issuer.addKey('RS256');
        for (let i = 0; i < 20; i++)
            assert.equal(await status(server, good), 200);
        assert.deepEqual(issuer.requests.map((r) => r.op), ['discovery', 'keys']);
        assert.equal(issuer.requests[0].path, '/tenant/v2.0/.well-known/openid-configuration');
        assert.deepEqual(logLines(server, 'keys loaded').map(({ source, keys }) => ({ source, keys })), [{ source: issuer.keysUrl, keys: 1 }]);
        const metrics = parseMetrics((await ask(server, await issuer.token({ scp: 'Ops.Read' }), '/metrics')).text);
        for (const operation of ['discovery', 'keys'])
            assert.equal(metrics.value('telemetryd_upstream_request_duration_seconds_count', { upstream: 'issuer', operation, status: '200' }), 1);
    });

    it('puts no second slash behind an issuer that ends in one', async (t) => {
        const { issuer } = await boot(t, { issuer: { path: '/tenant/' } });
        assert.equal(issuer.requests[0].path, '/tenant/.well-known/openid-configuration');
    });

    it('asks a key URL that is set as it stands, and no discovery document', async (t) => {
        const { issuer, server } = await boot(t, { env: (i) => ({ TELEMETRYD_JWT_JWKS: `${i.keysUrl}?appid=secretless` }) });
        assert.deepEqual(issuer.requests.map((r) => [r.op, r.path]), [['keys', `${issuer.keysPath}?appid=secretless`]]);
        assert.ok(!server.stderr.includes('appid'), 'queries are not logged');
    });

    it('trusts an https issuer with AZURE_CA_FILE, and only with it', async (t) => {
        const tls = makeTls();
        const { issuer } = await boot(t, { issuer: { tls }, env: { AZURE_CA_FILE: tls.caFile } });
        const server = await startServer({ env: issuer.env });
        t.after(() => server.stop());
        await waitFor(() => logLines(server, 'keys could not be loaded').length > 0, 'it says so');
        assert.equal(await status(server, await issuer.token()), 503);
        assert.equal(logLines(server, 'keys could not be loaded')[0].reason, 'no connection');
    });

    it('starts while the issuer is down, and takes tokens soon after it has come', async (t) => {
        const issuer = await startIssuer();
        const token = await issuer.token();
        await issuer.stop();
        const server = await startServer({ env: issuer.env });
        t.after(() => server.stop());
        const response = await ask(server, token);
        assertProblem(response, 503, 'KeysUnavailable');
        assert.ok(Number(response.header('retry-after')) >= 1);
        assert.equal((await server.api('/livez')).status, 200);
        assertProblem(await ask(server, 'not a token'), 401, 'Unauthorized');
        await sleep(2500);
        assert.equal(logLines(server, 'keys could not be loaded').length, 1, 'a failure that goes on is said once a minute');
        await issuer.start();
        t.after(() => issuer.stop());
        const started = Date.now();
        await loaded(server, token);
        assert.ok(Date.now() - started < 2500 * SLOW, `${Date.now() - started} ms`);
        assert.equal(issuer.count('keys'), 1);
        assert.equal(logLines(server, 'keys loaded').length, 1);
    });

    it('retries every second while no set was ever loaded, whatever callers ask for', async (t) => {
        const issuer = await startIssuer();
        t.after(() => issuer.stop());
        issuer.fault({ op: 'keys', times: Infinity, ...faults.broken });
        const server = await startServer({ env: { ...issuer.env, TELEMETRYD_JWT_COOLDOWN: '1s' } });
        t.after(() => server.stop());
        const token = await issuer.token();
        await waitFor(() => issuer.count('keys') >= 1, 'the first');
        const from = issuer.requests.find((r) => r.op === 'keys').at;
        while (Date.now() - from < 4000)
            await Promise.all(Array.from({ length: 10 }, () => ask(server, token)));
        const fetches = issuer.count('keys');
        assert.ok(fetches >= 3 && fetches <= 6, `${fetches} fetches in four seconds`);
        issuer.clearFaults();
        await loaded(server, token);
    });

    it('accepts a key that joins the set after one fetch, and RS256 beside ES256', async (t) => {
        const { issuer, server, good } = await boot(t, { env: { TELEMETRYD_JWT_COOLDOWN: '60s' } });
        const key = await issuer.addKey('RS256');
        assert.equal(await status(server, await issuer.token({}, { key })), 200);
        assert.equal(await status(server, await issuer.token({ sub: 'other' }, { key })), 200);
        assert.equal(await status(server, good), 200);
        assert.equal(issuer.count('keys'), 2);
        assert.equal(issuer.count('discovery'), 1);
    });

    it('refuses a key that left the set after the next fetch, for tokens that it knew as well', async (t) => {
        const { issuer, server, good } = await boot(t);
        const left = issuer.keys[0];
        const key = await issuer.addKey();
        issuer.removeKey(left);
        assert.equal(await status(server, good), 200, 'until then it is good');
        assert.equal(await status(server, await issuer.token({}, { key })), 200);
        assertProblem(await ask(server, good), 401, 'Unauthorized');
        assertProblem(await ask(server, await issuer.token({}, { key: left })), 401, 'Unauthorized');
    });

    it('keeps the cooldown from the start of one fetch to the start of the next', async (t) => {
        const { issuer, server } = await boot(t, { env: { TELEMETRYD_JWT_COOLDOWN: '2s' } });
        const stranger = await makeKey();
        const until = Date.now() + 7000;
        while (Date.now() < until) {
            const token = await issuer.token({}, { key: stranger, kid: `kid-${Math.random()}` });
            const response = await ask(server, token);
            assertProblem(response, 401, 'Unauthorized');
            assert.equal(response.header('www-authenticate'), 'Bearer error="invalid_token"');
        }
        const times = issuer.requests.filter((r) => r.op === 'keys').slice(1).map((r) => r.at);
        assert.ok(times.length >= 3 && times.length <= 4, `${times.length} fetches in seven seconds`);
        for (let i = 1; i < times.length; i++)
            assert.ok(times[i] - times[i - 1] > 1200, `${times[i] - times[i - 1]} ms between two fetches`); // they travel differently fast
    });

    it('serves however many wait with one fetch', async (t) => {
        const { issuer, server } = await boot(t, { env: { TELEMETRYD_JWT_COOLDOWN: '60s', TELEMETRYD_WORKERS: '4' } });
        const key = await issuer.addKey();
        issuer.fault({ op: 'keys', delay: 700 });
        const tokens = await Promise.all(Array.from({ length: 100 }, (_, i) => issuer.token({ sub: `s${i}` }, { key })));
        const answers = await Promise.all(tokens.map((token) => status(server, token)));
        assert.deepEqual([...new Set(answers)], [200]);
        assert.equal(issuer.count('keys'), 2);
    });

    it('lets 256 wait at most, and judges the others at once', async (t) => {
        const { issuer, server } = await boot(t, { env: { TELEMETRYD_JWT_COOLDOWN: '60s', TELEMETRYD_MAX_CONNECTIONS: '2000' } });
        const key = await issuer.addKey();
        let release;
        const released = new Promise((resolve) => (release = resolve));
        const fault = issuer.fault({ op: 'keys', wire: async (res, honest) => {
            await released;
            res.writeHead(200).end(honest().body);
        } });
        const counts = { 200: 0, 401: 0 };
        const token = await issuer.token({}, { key });
        // Each on a connection of its own, as server.api() has no more than 256 of them.
        const all = Array.from({ length: 300 }, () => request(server.url, { path: '/devices', headers: bearer(token), agent: false })
            .then((response) => counts[response.status]++));
        await waitFor(() => fault.hits === 1 && counts[401] >= 44, '44 are refused while the others wait');
        release();
        await Promise.all(all);
        assert.deepEqual(counts, { 200: 256, 401: 44 });
    });

    it('lets nobody wait whose key is in the set, while a fetch hangs that others wait for', async (t) => {
        const { issuer, server } = await boot(t, { env: { TELEMETRYD_REQUEST_TIMEOUT: '30s' } });
        const key = await issuer.addKey();
        issuer.fault({ op: 'keys', ...faults.silence });
        const started = Date.now();
        const waiting = ask(server, await issuer.token({}, { key })).then((response) => ({ response, ms: Date.now() - started }));
        await waitFor(() => issuer.count('keys') === 2, 'the fetch');
        for (let i = 0; i < 20; i++) {
            const from = Date.now();
            assert.equal(await status(server, await issuer.token({ sub: `s${i}` })), 200);
            assert.ok(Date.now() - from < 1000 * SLOW, `${Date.now() - from} ms`);
        }
        const { response, ms } = await waiting;
        assertProblem(response, 401, 'Unauthorized');
        assert.ok(ms > 4000 && ms < 5000 + 2500 * SLOW, `a fetch has five seconds; it took ${ms} ms`);
    });

    for (const [name, fault] of Object.entries(faults).filter(([name]) => name !== 'otherIssuer')) {
        it(`keeps the old keys when a fetch fails: ${name}`, async (t) => {
            const { issuer, server, good } = await boot(t);
            const key = await issuer.addKey();
            const late = await issuer.token({}, { key });
            const scripted = issuer.fault({ op: 'keys', times: Infinity, ...fault });
            // The first may still join the fetch of the start, and what is logged arrives on another way than the answer.
            await waitFor(async () => {
                assertProblem(await ask(server, late), 401, 'Unauthorized');
                return scripted.hits >= 1 && logLines(server, 'keys could not be loaded').length > 0;
            }, 'a fetch that fails, and says so');
            assert.equal(issuer.requests.filter((r) => r.path.endsWith('?again')).length, 0, 'a redirect is not followed');
            assert.equal(await status(server, good), 200);
            assert.equal(await status(server, await issuer.token({ sub: 'new' })), 200, 'also tokens not seen before');
            const [line] = logLines(server, 'keys could not be loaded');
            assert.equal(line.oldKeysStay, true);
            assert.equal(line.source, issuer.keysUrl);
            issuer.clearFaults();
            await loaded(server, late);
            assert.equal(await status(server, good), 200);
        });
    }

    for (const [name, fault] of Object.entries(faults).filter(([name]) => !['silence', 'slow'].includes(name))) {
        it(`takes no key by a discovery document that is none: ${name}`, async (t) => {
            const issuer = await startIssuer();
            t.after(() => issuer.stop());
            issuer.fault({ op: 'discovery', times: Infinity, ...fault });
            const server = await startServer({ env: issuer.env });
            t.after(() => server.stop());
            await waitFor(() => logLines(server, 'keys could not be loaded').length === 1, 'it says so');
            assert.equal(await status(server, await issuer.token()), 503);
            assert.equal(issuer.count('keys'), 0);
            issuer.clearFaults();
            await loaded(server, await issuer.token());
        });
    }

    it('asks for the discovery document anew once the keys are no longer where it said', async (t) => {
        const { issuer, server } = await boot(t);
        issuer.keysPath = '/moved/keys';
        const key = await issuer.addKey();
        await loaded(server, await issuer.token({}, { key }));
        assert.deepEqual(issuer.requests.map((r) => r.op), ['discovery', 'keys', 'other', 'discovery', 'keys']);
    });

    it('takes keys from a file, and reads it again when a kid is unknown', async (t) => {
        const issuer = new FakeIssuer({ port: 1 }); // never started: its name is all that counts
        issuer.keys = [await makeKey(), await makeKey('RS256')];
        const file = join(tempDirectory(), 'keys.json');
        const write = (keys) => {
            writeFileSync(`${file}.new`, JSON.stringify({ keys: keys.map((key) => key.jwk) }));
            renameSync(`${file}.new`, file);
        };
        write(issuer.keys.slice(0, 1));
        const server = await startServer({ env: { ...issuer.env, TELEMETRYD_JWT_JWKS: file, TELEMETRYD_JWT_COOLDOWN: '1s' } });
        t.after(() => server.stop());
        const tokens = await Promise.all(issuer.keys.map((key) => issuer.token({}, { key })));
        assert.equal(await status(server, tokens[0]), 200, 'at once');
        assert.equal(await status(server, tokens[1]), 401);
        write(issuer.keys.slice(1));
        await loaded(server, tokens[1]);
        assert.equal(await status(server, tokens[0]), 401);
        writeFileSync(file, 'garbage');
        const stranger = await issuer.token({}, { key: await makeKey() });
        await waitFor(async () => {
            await ask(server, stranger);
            return logLines(server, 'keys could not be loaded').length === 1;
        }, 'it is read again');
        assert.equal(await status(server, tokens[1]), 200);
        assert.ok(!server.stderr.includes('keys.json'), 'paths are not logged');
    });

    it('stops at once while a fetch hangs', async (t) => {
        const issuer = await startIssuer();
        t.after(() => issuer.stop());
        issuer.fault({ op: 'discovery', times: Infinity, ...faults.silence });
        const server = await startServer({ env: issuer.env });
        t.after(() => server.stop());
        await waitFor(() => issuer.count('discovery') === 1, 'the fetch');
        const started = Date.now();
        await server.stop();
        assert.ok(Date.now() - started < 2500 * SLOW, `${Date.now() - started} ms`);
    });

    it('stops while callers wait for a fetch that hangs', async (t) => {
        const { issuer, server } = await boot(t, { env: { TELEMETRYD_WORKERS: '4', TELEMETRYD_REQUEST_TIMEOUT: '3s' } });
        issuer.fault({ op: 'keys', times: Infinity, ...faults.silence });
        const token = await issuer.token({}, { key: await makeKey() });
        const waiting = Array.from({ length: 40 }, () => ask(server, token).catch(() => {}));
        await waitFor(() => issuer.count('keys') === 2, 'the fetch');
        server.kill('SIGTERM');
        await server.ended({ code: 0 });
        await Promise.all(waiting);
    });
});

const COUNT = process.env.TELEMETRYD_TEST_SLOW > 1 ? 10_000 : 100_000;

describe('a flood of unknown kids', () => {
    it(`of ${COUNT} causes one fetch, and valid callers keep their latency`, { timeout: 180_000 * SLOW }, async (t) => {
        const { issuer, server, good } = await boot(t, { env: { TELEMETRYD_JWT_COOLDOWN: '60s' } });
        const [, payload, signature] = (await issuer.token({}, { key: await makeKey() })).split('.');
        const from = Date.now();
        const flooding = flood({
            port: server.port, count: COUNT, connections: 16, batch: 8,
            before: 'GET /devices HTTP/1.1\r\nHost: flood\r\nAuthorization: Bearer ',
            encode: { prefix: '{"alg":"ES256","kid":"', suffix: '"}' },
            after: `.${payload}.${signature}\r\n\r\n`,
        });
        let over = false;
        flooding.finally(() => (over = true)).catch(() => {});
        const taken = [];
        while (!over) {
            const started = performance.now();
            assert.equal(await status(server, good), 200);
            taken.push(performance.now() - started);
            await sleep(5);
        }
        const { statuses, ms } = await flooding;
        assert.deepEqual(statuses, { 401: COUNT });
        const fetches = issuer.count('keys') - 1;
        assert.ok(fetches >= 1 && fetches <= 1 + Math.floor((Date.now() - from) / 60_000), `${fetches} fetches in ${Date.now() - from} ms`);
        taken.sort((a, b) => a - b);
        const median = taken[taken.length >> 1];
        const p99 = taken[Math.floor(taken.length * 0.99)];
        t.diagnostic(`${COUNT} in ${ms} ms; ${taken.length} valid requests: median ${median.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`);
        assert.ok(taken.length > 20, `${taken.length} valid requests beside the flood`);
        // Other tests run on the same machine; a caller who waited for a fetch would wait for seconds.
        assert.ok(median < 50 * SLOW && p99 < 500 * SLOW, `a valid caller's median is ${median} ms, p99 ${p99} ms`);
    });
});
