// How long a connection may keep the server waiting, and how many an address may have.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import { SLOW, startServer, waitFor } from '../support/server.mjs';
import { Authority } from '../support/tls.mjs';

const LIVEZ = 'GET /livez HTTP/1.1\r\nHost: x\r\n\r\n';

const authority = new Authority();
const page = '/devices/large/telemetry?limit=2000'; // 3 MB: more than the buffers of a socket on this machine

async function start(t, { secure = false, ...env } = {}) {
    const server = await startServer({ tls: secure ? authority.server() : undefined, env });
    t.after(() => server.stop());
    return server;
}

describe('deadlines of slow clients', { concurrency: 4 }, () => {
    for (const secure of [false, true]) {
        it(`a client that does not read is cut off 15 s past its deadline, over ${secure ? 'TLS' : 'plain'}`, async (t) => {
            const server = await start(t, { secure, TELEMETRYD_REQUEST_TIMEOUT: '1s' });
            for (let i = 0; i < 4; i++)
                await server.post('large', Array.from({ length: 500 }, (_, n) => ({ n, text: 'x'.repeat(1500) })));
            const where = { port: server.port, host: '127.0.0.1' };
            const socket = secure ? tls.connect({ ...where, ...server.secure }) : net.connect(where);
            await once(socket, secure ? 'secureConnect' : 'connect');
            socket.pause();
            socket.on('error', () => {});
            const begin = Date.now();
            socket.write(`GET ${page} HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(4));
            const cut = () => server.log.find(({ msg, aborted }) => msg === 'request' && aborted);
            await waitFor(cut, 'the log says that a request was cut off', 25_000);
            const ms = Date.now() - begin;
            assert.ok(ms > 14_000 && ms < 21_000 * SLOW, `${ms} ms`);
            socket.destroy();
        });
    }

    it('half a request of a client that goes away is given up at once', async (t) => {
        const server = await start(t);
        const head = 'POST /devices/d/telemetry HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n';
        server.kill('SIGSTOP'); // so that the end comes with the bytes
        const sockets = Array.from({ length: 50 }, () => net.connect(server.port, '127.0.0.1', function () {
            this.end(`${head}{"`);
        }).on('error', () => {}).resume());
        await sleep(300);
        server.kill('SIGCONT');
        const begin = Date.now();
        await Promise.all(sockets.map((socket) => once(socket, 'close')));
        assert.ok(Date.now() - begin < 3000 * SLOW, `${Date.now() - begin} ms`);
        assert.equal((await server.api('/devices/d/telemetry')).status, 404);
    });
});

describe('too many connections from one address', { concurrency: 4 }, () => {
    const connect = (server, localAddress, secure = server.secure) => new Promise((resolve, reject) => {
        const where = { port: server.port, host: '127.0.0.1', localAddress };
        const socket = secure ? tls.connect({ ...where, ...secure }) : net.connect(where);
        socket.on(secure ? 'secureConnect' : 'connect', () => socket.write(LIVEZ));
        socket.once('data', (bytes) => resolve({ socket, answered: bytes.toString().startsWith('HTTP/1.1 200 ') }));
        socket.on('error', (error) => (error.syscall ? reject(error) : resolve({ socket, answered: false }))); // node:tls has an ECONNRESET of its own
        socket.on('close', () => resolve({ socket, answered: false }));
    });
    const many = (n, make) => Promise.all(Array.from({ length: n }, make));
    const answered = (all) => all.filter((one) => one.answered).length;
    const end = (all) => all.forEach(({ socket }) => socket.destroy());

    for (const secure of [false, true]) {
        it(`are closed without a reset; other addresses and later connections are served, over ${secure ? 'TLS' : 'plain'}`, async (t) => {
            const server = await start(t, { secure, TELEMETRYD_MAX_CONNECTIONS_PER_ADDRESS: '5' });
            await sleep(100); // the connections of the preparation
            const greedy = await many(12, () => connect(server, '127.0.0.2'));
            assert.equal(answered(greedy), 5, 'as many as there may be');
            const modest = await many(5, () => connect(server, '127.0.0.3'));
            assert.equal(answered(modest), 5, 'another address has its own');
            end(greedy);
            await waitFor(async () => {
                const again = await many(5, () => connect(server, '127.0.0.2'));
                end(again);
                return answered(again) === 5;
            }, 'the places are free again');
            end(modest);
        });
    }

    it('are counted over all workers, and each close is taken back', async (t) => {
        const server = await start(t, { TELEMETRYD_MAX_CONNECTIONS_PER_ADDRESS: '8', TELEMETRYD_WORKERS: '4' });
        for (let i = 0; i < 10; i++) {
            let all;
            await waitFor(async () => {
                all = await many(20, () => connect(server, '127.0.0.4'));
                end(all);
                return answered(all) === 8;
            }, `round ${i}: 8 of 20`);
        }
    });

    it('are no matter where a proxy is trusted', async (t) => {
        const server = await start(t, { TELEMETRYD_MAX_CONNECTIONS_PER_ADDRESS: '3', TELEMETRYD_TRUSTED_PROXIES: '127.0.0.5,127.0.1.0/24' });
        for (const [from, count] of [['127.0.0.5', 20], ['127.0.1.77', 20], ['127.0.0.6', 3]]) {
            const all = await many(20, () => connect(server, from));
            assert.equal(answered(all), count, from);
            end(all);
        }
    });

    it('do not push out those of others when the server is full', async (t) => {
        const server = await start(t, { TELEMETRYD_MAX_CONNECTIONS: '30', TELEMETRYD_MAX_CONNECTIONS_PER_ADDRESS: '10', TELEMETRYD_WORKERS: '1' });
        const kept = await many(10, () => connect(server, '127.0.0.7'));
        assert.equal(answered(kept), 10);
        for (let i = 0; i < 20; i++)
            end(await many(20, () => connect(server, '127.0.0.8').catch(() => ({ socket: { destroy() {} } }))));
        for (const { socket } of kept) {
            const bytes = new Promise((resolve, reject) => {
                socket.once('data', resolve);
                socket.once('close', () => reject(new Error('pushed out')));
            });
            socket.write(LIVEZ);
            assert.match((await bytes).toString(), /^HTTP\/1\.1 200 /);
        }
        end(kept);
    });

    it('are counted where they come by IPv6', async (t) => {
        const server = await startServer({ listen: '[::1]:0', env: { TELEMETRYD_MAX_CONNECTIONS_PER_ADDRESS: '2' } });
        t.after(() => server.stop());
        const sockets = await many(6, () => new Promise((resolve) => {
            const socket = net.connect(server.port, '::1', () => socket.write(LIVEZ));
            socket.once('data', () => resolve({ socket, answered: true }));
            socket.on('close', () => resolve({ socket, answered: false }));
            socket.on('error', () => {});
        }));
        assert.equal(answered(sockets), 2);
        end(sockets);
    });
});
