// Load, silence and shutdown: what is promised when an upstream hangs, when too much is in flight, and while draining.

import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startCosmos, wire } from '../fakes/cosmos.mjs';
import { startIotHub } from '../fakes/iothub.mjs';
import { checkGeneral } from '../support/contract.mjs';
import { parseAnswers, request, sendRaw } from '../support/http.mjs';
import { SLOW, assertProblem, startServer, waitFor } from '../support/server.mjs';

const NOW = Math.floor(Date.now() / 1000);

async function boot(t, env = {}) {
    const fake = await startCosmos();
    t.after(() => fake.stop());
    for (let i = 0; i < 3; i++)
        fake.put('d1', { data: { i }, ts: NOW - 10 });
    const server = await startServer({ env: { ...fake.env, ...env }, ready: true });
    t.after(() => server.stop());
    return { fake, server };
}

describe('resilience', { concurrency: 4 }, () => {
    const silences = { 'hangs': wire.hang, 'drips a byte now and then': wire.drip(200) };
    for (const [name, act] of Object.entries(silences)) {
        it(`answers 504 within the deadline when Cosmos DB ${name}`, async (t) => {
            const { fake, server } = await boot(t, { TELEMETRYD_REQUEST_TIMEOUT: '1s' });
            fake.fault({ op: ['query', 'upsert', 'batch'], times: Infinity, wire: act });
            const timed = async (what) => {
                const started = Date.now();
                const response = await server.api(what);
                assertProblem(response, 504, 'UpstreamTimeout');
                const ms = Date.now() - started;
                assert.ok(ms >= 800 && ms < 1000 + 4000 * SLOW, `${ms} ms`);
            };
            const json = { 'content-type': 'application/json' };
            await Promise.all([
                timed('/devices/d1/telemetry'), timed('/devices/d1/telemetry/latest'),
                timed({ method: 'POST', path: '/devices/d1/telemetry', headers: json, body: '{}' }),
                timed({ method: 'POST', path: '/devices/d1/telemetry', headers: json, body: '[{},{}]' }),
            ]);
            fake.clearFaults();
            await waitFor(async () => (await server.api('/devices/d1/telemetry')).status === 200, 'it recovers');
        });
    }

    it('sheds load with 503 Overloaded while probes and metrics answer', async (t) => {
        const { fake, server } = await boot(t, { TELEMETRYD_MAX_CONNECTIONS: '200', TELEMETRYD_REQUEST_TIMEOUT: '5s' });
        fake.fault({ op: 'query', times: Infinity, wire: wire.hang });
        const flood = Array.from({ length: 180 }, (_, i) => server.api(`/devices/f${i}/telemetry`));
        flood.forEach((promise) => promise.catch(() => {})); // a failure before they are awaited is the failure to show
        await sleep(500 * SLOW);
        for (const path of ['/livez', '/metrics', '/readyz']) {
            const started = Date.now();
            const response = await server.api(path);
            assert.equal(response.status, 200, String(response));
            assert.ok(Date.now() - started < 3000, `${path}: ${Date.now() - started} ms`);
        }
        const answers = await Promise.all(flood);
        const shed = answers.filter((a) => a.status === 503);
        assert.ok(shed.length > 0, 'something is shed');
        for (const response of shed) {
            assertProblem(response, 503, 'Overloaded');
            assert.match(response.header('retry-after'), /^[1-9]\d*$/);
        }
        assert.ok(answers.filter((a) => a.status === 504).length >= 50, 'the rest waits for its deadline');
        fake.clearFaults();
        assert.equal((await server.api('/devices/d1/telemetry')).status, 200);
    });

    it('makes room for a new connection when idle ones fill the limit', async (t) => {
        const server = await startServer({ env: { TELEMETRYD_MAX_CONNECTIONS: '40', TELEMETRYD_WORKERS: '1' } });
        const idle = Array.from({ length: 60 }, (_, i) => {
            const socket = net.connect(server.port, '127.0.0.1');
            socket.on('error', () => {});
            if (i % 2 === 0)
                socket.write('GET /livez HTTP/1.1\r\nHo');
            return socket;
        });
        t.after(async () => {
            idle.forEach((socket) => socket.destroy());
            await server.stop();
        });
        await sleep(300);
        for (let i = 0; i < 5; i++) {
            const { received } = await sendRaw(server.url, 'GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n', { timeout: 5000 * SLOW });
            assert.equal(parseAnswers(received)[0].status, 200);
        }
    });

    it('keeps serving when clients go away in the middle', async (t) => {
        const { fake, server } = await boot(t);
        fake.fault({ op: 'query', times: Infinity, delay: 300, change: () => {} });
        for (let round = 0; round < 5; round++) {
            await Promise.all(Array.from({ length: 40 }, async () => {
                const abort = new AbortController();
                setTimeout(() => abort.abort(), 50 + Math.random() * 300);
                await request(server.url, { path: '/devices/d1/telemetry', signal: abort.signal, agent: undefined }).catch(() => {});
            }));
        }
        assert.equal((await server.api('/devices/d1/telemetry')).json.count, 3);
    });

    it('survives a storm of mixed requests, each answered in its own right', async (t) => {
        const { fake, server } = await boot(t);
        const statuses = [];
        await Promise.all(Array.from({ length: 64 }, async (_, c) => {
            for (let i = 0; i < 8; i++) {
                const device = `storm-${c}-${i}`;
                const kind = (c + i) % 4;
                if (kind === 0) {
                    await server.post(device, { c, i });
                    statuses.push(fake.items(device)[0].data.c === c);
                } else if (kind === 1) {
                    const page = await server.api('/devices/d1/telemetry?limit=2');
                    statuses.push(page.json.count === 2);
                } else if (kind === 2) {
                    const response = await server.api({ path: `/devices/${device}/telemetry`, headers: { 'x-request-id': device } });
                    statuses.push(response.status === 404 && response.json.requestId === device);
                } else {
                    statuses.push((await server.api('/nope')).status === 404);
                }
            }
        }));
        assert.equal(statuses.filter(Boolean).length, 512);
        assert.deepEqual(fake.violations, []);
    });
});

describe('chaos', () => {
    it('answers whole and right or with a problem, whatever both upstreams and the clients do, and then drains', async (t) => {
        const fake = await startCosmos({ regions: ['A', 'B'] });
        const hub = await startIotHub();
        const server = await startServer({ env: { ...fake.env, ...hub.env, TELEMETRYD_REQUEST_TIMEOUT: '1s' }, ready: true });
        t.after(async () => {
            await server.stop();
            await Promise.all([fake.stop(), hub.stop()]);
        });
        for (let i = 0; i < 12; i++)
            fake.put('d1', { data: { i }, ts: NOW - 100 + i });
        hub.put('d1', { reported: { status: 'online' } });

        // A fixed sequence, so that a failure can be seen again.
        let seed = 20261123;
        const random = (n) => ((seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff) >> 8) % n;
        const acts = [wire.reset, wire.close, wire.hang, wire.diesInHeaders, wire.diesAfterHeaders, wire.shortBody, wire.cutBody, wire.cutChunks,
            wire.twoLengths, wire.garbage, wire.html, wire.drip(5), wire.untilClose];
        const statuses = [429, 449, 410, 408, 500, 503, 401, 404, 400];
        const fault = () => (random(3) === 0
            ? { status: statuses[random(statuses.length)], headers: { 'x-ms-retry-after-ms': '5', 'retry-after': '0' } }
            : random(4) === 0 ? { delay: random(300), change: () => {} } : { wire: acts[random(acts.length)] });
        const strike = () => {
            fake.fault({ op: ['query', 'upsert', 'batch', 'account'], ...fault() });
            hub.fault(fault());
        };

        const stored = new Map();
        const count = { good: 0, problem: 0 };
        const until = Date.now() + 3000;
        const enough = () => Date.now() > until && count.good > 50 && count.problem > 20;
        const post = { method: 'POST', headers: { 'content-type': 'application/json' } };
        const ask = {
            page: async () => {
                const response = await server.api('/devices/d1/telemetry?limit=5');
                if (response.status === 200)
                    assert.deepEqual(response.json.telemetry.map((r) => r.data.i), [11, 10, 9, 8, 7]);
                return response;
            },
            latest: async () => {
                const response = await server.api('/devices/d1/telemetry/latest');
                if (response.status === 200)
                    assert.equal(response.json.data.i, 11);
                return response;
            },
            status: async () => {
                const response = await server.api('/devices/d1/status');
                if (response.status === 200)
                    assert.equal(response.json.status, 'online');
                return response;
            },
            list: () => server.api(`/devices?limit=${1 + random(500)}`),
            write: async (c, i) => {
                const device = `chaos-${c}`;
                const readings = Array.from({ length: 1 + random(3) }, (_, k) => ({ id: `${i}.${k}` }));
                const response = await server.api({ ...post, path: `/devices/${device}/telemetry`, body: JSON.stringify(readings) });
                if (response.status === 201)
                    stored.set(device, [...(stored.get(device) ?? []), ...readings.map((r) => r.id)]);
                return response;
            },
        };
        const kinds = Object.values(ask);
        await Promise.all(Array.from({ length: 24 }, async (_, c) => {
            for (let i = 0; !enough() && Date.now() < until + 30_000 * SLOW; i++) {
                // By requests rather than by time, so that a slow machine meets no more faults than a fast one.
                if (random(3) > 0)
                    strike();
                const response = await kinds[random(kinds.length)](c, i);
                assert.ok([200, 201, 404, 502, 503, 504].includes(response.status), String(response));
                count[response.status < 300 ? 'good' : 'problem']++;
            }
        }));
        fake.clearFaults();
        hub.clearFaults();
        assert.ok(count.good > 50 && count.problem > 20, JSON.stringify(count));
        for (const [device, ids] of stored) {
            const there = new Set(fake.items(device).map((item) => item.data.id));
            assert.deepEqual(ids.filter((id) => !there.has(id)), [], 'every acknowledged reading is stored');
        }
        assert.equal((await server.api('/devices/d1/telemetry')).json.count, 12, 'and it recovers');
    });
});

describe('a drain', { concurrency: 3 }, () => {
    for (const signal of ['SIGTERM', 'SIGINT']) {
        it(`on ${signal} answers whatever was sent before it, whole, and exits 0`, async (t) => {
            const { fake, server } = await boot(t);
            fake.fault({ op: ['query', 'upsert'], times: Infinity, delay: 900 * SLOW, change: () => {} });
            const flight = [
                ...Array.from({ length: 30 }, () => server.api('/devices/d1/telemetry')),
                ...Array.from({ length: 10 }, (_, i) => server.post(`drain${i}`, { i })),
            ];
            await waitFor(() => fake.requestsOf('query').length + fake.requestsOf('upsert').length === 40, 'all are under way');
            server.kill(signal);
            const answers = await Promise.all(flight);
            assert.ok(answers.slice(0, 30).every((a) => a.status === 200 && a.json.count === 3));
            assert.ok(answers.every((a) => a.header('connection')?.toLowerCase() === 'close'), 'Connection: close');
            await server.ended();
            for (let i = 0; i < 10; i++)
                assert.equal(fake.items(`drain${i}`).length, 1);
        });
    }

    it('makes readyz 503 at once, and closes idle connections after a second', async (t) => {
        const { fake, server } = await boot(t);
        fake.fault({ op: 'query', times: Infinity, delay: 1500, change: () => {} });
        const keepAlive = 'GET /livez HTTP/1.1\r\nHost: x\r\n\r\n';
        const idle = sendRaw(server.url, keepAlive, { timeout: 8000 });
        const asked = sendRaw(server.url, [keepAlive, 600, 'GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n'], { timeout: 8000 });
        const slow = server.api('/devices/d1/telemetry');
        await sleep(300);
        const at = Date.now();
        server.kill('SIGTERM');
        const [, ready] = parseAnswers((await asked).received);
        assert.equal(ready.status, 503);
        assert.equal(ready.json.status, 'draining');
        assert.equal(ready.header('connection')?.toLowerCase(), 'close');
        checkGeneral(Object.assign(ready, { asked: { method: 'GET', path: '/readyz' } }));
        const idleResult = await idle;
        assert.ok(idleResult.closed, 'the idle connection is closed');
        assert.ok(idleResult.ms < 300 + 3000 * SLOW, `${idleResult.ms} ms`);
        assert.equal((await slow).status, 200);
        await server.ended();
        assert.ok(Date.now() - at < 6000 * SLOW);
    });

    it('answers a body that was still coming', async (t) => {
        const { fake, server } = await boot(t);
        const head = 'POST /devices/late/telemetry HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n';
        const coming = sendRaw(server.url, [head, 400, '{"a":1}'], { timeout: 8000 });
        await sleep(200);
        server.kill('SIGTERM');
        const [answer] = parseAnswers((await coming).received);
        assert.equal(answer.status, 201);
        assert.equal(fake.items('late').length, 1);
        await server.ended();
    });

    it('does not wait for ever: an upstream that hangs costs no more than the deadline', async (t) => {
        const { fake, server } = await boot(t, { TELEMETRYD_REQUEST_TIMEOUT: '1s' });
        fake.fault({ op: 'query', times: Infinity, wire: wire.hang });
        const hanging = server.api('/devices/d1/telemetry');
        await sleep(200);
        const at = Date.now();
        server.kill('SIGTERM');
        assertProblem(await hanging, 504, 'UpstreamTimeout');
        await server.ended();
        assert.ok(Date.now() - at < 5000 * SLOW);
    });

    it('embedded: every acknowledged reading survives', async (t) => {
        const server = await startServer({ data: 'drain.db' });
        t.after(() => server.stop());
        const sockets = new http.Agent({ keepAlive: true, maxSockets: 16 });
        let acknowledged = 0;
        let stop = false;
        const writers = Array.from({ length: 8 }, async (_, w) => {
            for (let i = 0; !stop; i++) {
                const response = await request(server.url, {
                    method: 'POST', path: `/devices/w${w}/telemetry`, headers: { 'content-type': 'application/json' }, body: `{"i":${i}}`, agent: sockets,
                }).catch(() => undefined);
                if (!response)
                    return;
                assert.equal(response.status, 201, String(response));
                acknowledged++;
            }
        });
        await sleep(300);
        server.kill('SIGTERM');
        await server.ended();
        stop = true;
        await Promise.all(writers);
        sockets.destroy();
        assert.ok(acknowledged > 0);
    });
});

describe('upstreams that are plain TCP listeners', () => {
    it('an upstream that accepts and says nothing is a 504 in its time, and readyz is 503', async (t) => {
        const listener = net.createServer(() => {}).unref();
        await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve));
        const hub = await startIotHub();
        const key = Buffer.alloc(64, 3).toString('base64');
        const server = await startServer({
            env: { ...hub.env, COSMOS_CONNECTION: `AccountEndpoint=http://127.0.0.1:${listener.address().port}/;AccountKey=${key};`, TELEMETRYD_REQUEST_TIMEOUT: '1s' },
        });
        t.after(async () => {
            await server.stop();
            await hub.stop();
            listener.close();
        });
        assert.equal((await server.api('/livez')).status, 200);
        assertProblem(await server.api('/devices/d1/telemetry'), 504, 'UpstreamTimeout');
        assert.equal((await server.api('/readyz')).status, 503);
        hub.put('d1');
        assert.equal((await server.api('/devices/d1/status')).status, 200, 'the other side is not affected');
    });
});
