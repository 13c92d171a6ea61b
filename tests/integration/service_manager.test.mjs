// Under a service manager: what the server tells it, the watchdog, and sockets that outlive the process.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { request } from '../support/http.mjs';
import { SLOW, startServer, waitFor } from '../support/server.mjs';
import { startServiceManager } from '../support/service_manager.mjs';

const LOOPBACK = { address: '127.0.0.1' };
const at = (port) => `http://127.0.0.1:${port}`;
const status = async (url, path = '/livez') => (await request(url, { path, agent: false })).status;

describe('a service manager', { concurrency: 4 }, () => {
    it('is told when the server is ready and when it stops, and is fed nothing that it does not want', async (t) => {
        const manager = await startServiceManager(t);
        await manager.ask('start', 'started');
        await manager.next('told');
        assert.deepEqual(manager.told, ['READY=1']);
        assert.equal(await status(manager.log[0].address), 200, 'and then it is');
        const ended = await manager.ask('signal TERM', 'ended');
        assert.equal(ended.status, 0);
        assert.deepEqual(manager.told, ['READY=1', 'STOPPING=1']);
    });

    it('is not told that a server is ready that could not start', async (t) => {
        const manager = await startServiceManager(t, { env: { TELEMETRYD_DATA: '/nowhere/at/all.db' } });
        await manager.ask('start', 'started');
        assert.equal((await manager.next('ended')).status, 1);
        assert.deepEqual(manager.told, []);
    });

    it('is fed for as long as every thread turns, and not while one hangs', async (t) => {
        const WATCHDOG_MS = 2000 * SLOW;
        const manager = await startServiceManager(t, { watchdog: WATCHDOG_MS * 1000 });
        const fed = () => manager.told.filter((line) => line === 'WATCHDOG=1').length;
        await manager.ask('start', 'started');
        await waitFor(() => fed() >= 4, 'it is fed');
        if ((await manager.ask('freeze', 'frozen')).threads === 0) {
            t.skip('this machine lets nobody trace a process');
            return;
        }
        await sleep(WATCHDOG_MS * 0.75); // after a half of it a thread counts as hanging
        const hungry = fed();
        await sleep(WATCHDOG_MS);
        assert.equal(fed(), hungry, 'though the thread that feeds turns');
        await manager.ask('thaw', 'thawed');
        await waitFor(() => fed() > hungry + 2, 'it is fed again');
        assert.equal((await manager.ask('signal TERM', 'ended')).status, 0);
    });

    it('hands over a socket in which nobody is turned away, while servers come and go', async (t) => {
        const manager = await startServiceManager(t, { sockets: [LOOPBACK] });
        const url = at(manager.ports[0]);
        let going = true;
        const statuses = {};
        const callers = Array.from({ length: 8 }, async () => {
            while (going) {
                const answer = await status(url);
                statuses[answer] = (statuses[answer] ?? 0) + 1;
            }
        });
        for (let i = 0; i < 4; i++) {
            await sleep(100); // they wait in the socket
            await manager.ask('start', 'started');
            await waitFor(() => manager.told.filter((line) => line === 'READY=1').length === i + 1, 'it is ready');
            await sleep(200);
            assert.equal((await manager.ask('signal TERM', 'ended')).status, 0);
        }
        going = false;
        await manager.ask('start', 'started');
        await Promise.all(callers);
        assert.deepEqual(Object.keys(statuses), ['200']);
        assert.ok(statuses[200] > 40, `${statuses[200]} answers`);
        for (const line of manager.log.filter(({ msg }) => msg === 'listening'))
            assert.equal(line.address, url);
        await manager.ask('signal TERM', 'ended');
    });

    it('hands over a socket for metrics, told apart by its name', async (t) => {
        const manager = await startServiceManager(t, { sockets: [{ ...LOOPBACK, name: 'metrics' }, LOOPBACK], env: { TELEMETRYD_METRICS_LISTEN: '127.0.0.1:0' } });
        await manager.ask('start', 'started');
        await manager.next('told');
        const [metrics, all] = manager.ports.map(at);
        assert.equal(manager.log[0].metricsAddress, metrics);
        assert.equal(manager.log[0].address, all);
        assert.deepEqual([await status(metrics, '/metrics'), await status(metrics, '/devices'), await status(all, '/devices')], [200, 404, 200]);
        await manager.ask('signal TERM', 'ended');
    });

    const METRICS = { ...LOOPBACK, name: 'metrics' };
    for (const [rule, options, message] of [
        ['an address that the settings do not name', { sockets: [{ address: '0.0.0.0' }] }, /^the socket that was handed over listens at tcp:\/\/0\.0\.0\.0:\d+, and the settings say 127\.0\.0\.1 port 0$/],
        ['a port that the settings do not name', { sockets: [LOOPBACK], env: { TELEMETRYD_LISTEN: '127.0.0.1:1' } }, /listens at tcp:\/\/127\.0\.0\.1:\d+, and the settings say 127\.0\.0\.1 port 1$/],
        ['another family', { sockets: [{ address: '::1' }] }, /listens at tcp:\/\/\[::1\]:\d+/],
        ['datagrams', { sockets: [{ ...LOOPBACK, type: 'datagram' }] }, /is not one that listens for TCP/],
        ['a socket that does not listen', { sockets: [{ ...LOOPBACK, type: 'bound' }] }, /is not one that listens for TCP/],
        ['two sockets to serve on', { sockets: [LOOPBACK, LOOPBACK] }, /more than one socket to serve on/],
        ['two sockets for metrics', { sockets: [METRICS, METRICS], env: { TELEMETRYD_METRICS_LISTEN: '127.0.0.1:0' } }, /more than one socket named metrics/],
        ['fewer sockets than it says', { sockets: [METRICS], count: 2, env: { TELEMETRYD_METRICS_LISTEN: '127.0.0.1:0' } }, /descriptor 4 is not a socket/],
        ['metrics that no setting asks for', { sockets: [LOOPBACK, METRICS] }, /TELEMETRYD_METRICS_LISTEN is not set/],
    ]) {
        it(`is refused: ${rule}`, async (t) => {
            const manager = await startServiceManager(t, options);
            await manager.ask('start', 'started');
            assert.equal((await manager.next('ended')).status, 1);
            await waitFor(() => manager.stderr.includes('\n'), 'it says why');
            assert.match(manager.log[0].msg, message);
            assert.deepEqual(manager.told, []);
        });
    }

    it('that hands its sockets to another process is not listened to', async (t) => {
        const manager = await startServiceManager(t, { sockets: [{ address: '0.0.0.0' }], pid: 1 });
        await manager.ask('start', 'started');
        await manager.next('told');
        assert.notEqual(new URL(manager.log[0].address).port, String(manager.ports[0]));
        await manager.ask('signal TERM', 'ended');
    });

    for (const [rule, env] of [
        ['a path that is not there', { NOTIFY_SOCKET: '/nowhere/notify' }],
        ['no path', { NOTIFY_SOCKET: 'notify' }],
        ['a path of any length', { NOTIFY_SOCKET: `/${'x'.repeat(300)}` }],
        ['an abstract name that nobody has', { NOTIFY_SOCKET: '@telemetryd-nobody' }],
        ['numbers that are none', { LISTEN_PID: '-1', LISTEN_FDS: '1e9', WATCHDOG_USEC: 'soon' }],
        ['descriptors of nobody', { LISTEN_FDS: '99999999999999999999' }],
    ]) {
        it(`may be wrong about itself: ${rule}`, async (t) => {
            const server = await startServer({ env });
            t.after(() => server.stop());
            assert.equal((await server.api('/livez')).status, 200);
        });
    }
});
