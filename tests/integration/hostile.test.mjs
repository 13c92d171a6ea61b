// Clients that take what others need: connections that are never used, requests that never end, answers that are never read. With twice
// as many of them as there may be connections, everybody else is served as if they were not there.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { request } from '../support/http.mjs';
import { SLOW, startServer } from '../support/server.mjs';
import { slowClients } from '../support/slow_clients.mjs';
import { tempDirectory } from '../support/temp.mjs';
import { Authority } from '../support/tls.mjs';

const LIMIT = 200;
const READERS_LIMIT = 60; // of tests in which each attacker costs a large answer
const PATIENCE = 2000 * SLOW;

const authority = new Authority();
const page = '/devices/large/telemetry?limit=2000'; // 3 MB: more than the buffers of a socket on this machine

/** A server with something to read that fills a socket's buffer. */
async function start(t, { secure = false, limit = LIMIT, ...env } = {}) {
    const server = await startServer({ tls: secure ? authority.server() : undefined, env: { TELEMETRYD_MAX_CONNECTIONS: String(limit), ...env } });
    t.after(() => server.stop());
    for (let i = 0; i < 4; i++)
        await server.post('large', Array.from({ length: 500 }, (_, n) => ({ n, text: 'x'.repeat(1500) })));
    return server;
}

/** Asks until `over` is true, on fresh connections and on one that is kept: every request is answered, soon. */
async function behaveWell(server, isOver) {
    const Agent = server.secure ? https.Agent : http.Agent;
    const kept = new Agent({ keepAlive: true, maxSockets: 1 });
    const times = [];
    const timed = async (options) => {
        const begin = performance.now();
        const ask = () => request(server.url, { secure: server.secure, timeout: 10_000 * SLOW, ...options });
        // A connection that waited may be closed under a request, and whoever keeps connections asks again (RFC 9112, 9.3.1).
        const again = (error) => (options.agent === kept && options.method === undefined && performance.now() - begin < 100 ? ask() : Promise.reject(error));
        const response = await ask().catch(again)
            .catch((error) => Promise.reject(new Error(`${options.path} on ${options.agent === kept ? 'the kept' : 'a fresh'} connection, request ${times.length}, after ${performance.now() - begin} ms: ${error.message}`)));
        assert.ok(response.status < 300, String(response));
        times.push(performance.now() - begin);
    };
    while (!isOver()) {
        await timed({ path: '/livez', agent: new Agent({ keepAlive: false }) });
        await timed({ path: '/devices/large/telemetry/latest', agent: kept });
        await timed({ path: '/devices/good/telemetry', method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"a":1}', agent: kept });
        await sleep(20);
    }
    kept.destroy();
    return { requests: times.length, slowest: Math.max(...times) };
}

async function assertServedDuring(server, attack) {
    let over = false;
    attack.finally(() => (over = true));
    const [{ requests, slowest }] = await Promise.all([behaveWell(server, () => over), attack]);
    assert.ok(requests > 30, `${requests} requests`);
    assert.ok(slowest < PATIENCE, `the slowest of ${requests} took ${slowest} ms`);
}

describe('slow clients, twice as many as there may be connections', { concurrency: 2 }, () => {
    // [what they do, over what]
    const kinds = [
        ['say nothing', 'TLS'],
        ['never finish a handshake', 'TLS'],
        ['never finish a header', 'plain'],
        ['never finish a header', 'TLS'],
        ['never finish a body', 'plain'],
        ['never finish a body', 'TLS'],
        ['never read', 'plain'],
        ['never read', 'TLS'],
        ['keep connections idle', 'plain'],
    ];
    for (const [kind, transport] of kinds) {
        it(`do not get in the way of others when they ${kind} over ${transport}`, async (t) => {
            const limit = kind === 'never read' ? READERS_LIMIT : LIMIT;
            const server = await start(t, { secure: transport === 'TLS', limit });
            const secure = kind === 'never finish a handshake' ? undefined : server.secure;
            await assertServedDuring(server, slowClients(kind, { port: server.port, secure, count: 2 * limit, ramp: 3 * SLOW, seconds: 3 + 3 * SLOW, page }));
        });
    }

    // slowhttptest's own modes: [mode, flags]
    const modes = [
        ['-H', ['-i', '2']],
        ['-B', ['-i', '2', '-s', '8192', '-t', 'POST', '-f', 'application/json', '-x', '24']],
        ['-X', ['-w', '1', '-y', '2', '-n', '2', '-z', '1']],
    ];
    for (const [mode, flags] of modes) {
        for (const secure of [false, true]) {
            it(`do not get in the way of others as slowhttptest ${mode} has them over ${secure ? 'TLS' : 'plain'}`, async (t) => {
                const limit = mode === '-X' ? READERS_LIMIT : LIMIT;
                const server = await start(t, { secure, limit });
                const target = server.url + (mode === '-X' ? page : '/devices/d/telemetry');
                const child = spawn('slowhttptest', [mode, '-c', String(2 * limit), '-r', String(Math.floor((2 * limit) / 3 / SLOW)), '-l', String(4 + 3 * SLOW), '-u', target, ...flags],
                    { cwd: tempDirectory(), stdio: ['ignore', 'pipe', 'pipe'] });
                let output = '';
                child.stdout.on('data', (chunk) => (output += chunk));
                child.stderr.on('data', (chunk) => (output += chunk));
                t.after(() => child.kill('SIGKILL'));
                await assertServedDuring(server, once(child, 'close'));
                // eslint-disable-next-line no-control-regex
                const text = output.replace(/\u001b\[[0-9;]*m/g, '');
                assert.match(text, /service available:\s+YES/, text.slice(-1500));
                assert.doesNotMatch(text, /service available:\s+NO/, 'its own probe was always answered');
            });
        }
    }
});
