// Thousands of listeners on one device: every one hears every reading, once and in order. What each costs is in `./dev bench`.

import assert from 'node:assert/strict';
import net from 'node:net';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { SLOW, startServer, waitFor } from '../support/server.mjs';
import { SseParser } from '../support/sse.mjs';

const LISTENERS = SLOW > 1 ? 1000 : 5000;
const SECONDS = 30;
const WRITES_PER_S = 2;

/** A listener over a bare socket, for node:http costs more than the server; HTTP/1.0, so without chunks. Hears 1, 2, 3 .. or fails. */
class Listener {
    heard = 0;
    begun = false;
    fault;

    constructor(port) {
        const parser = new SseParser();
        let head = '';
        this.socket = net.connect(port, '127.0.0.1', () => this.socket.write('GET /telemetry/stream?devices=d1 HTTP/1.0\r\n\r\n'));
        this.socket.on('error', (error) => (this.fault ??= error));
        this.socket.on('data', (bytes) => {
            if (!this.begun) {
                head += bytes.toString('latin1');
                const end = head.indexOf('\r\n\r\n');
                if (end < 0)
                    return;
                this.begun = true;
                bytes = Buffer.from(head.slice(end + 4), 'latin1');
            }
            try {
                for (const block of parser.push(bytes)) {
                    if (block.event === undefined)
                        continue;
                    assert.equal(block.event, 'reading');
                    assert.equal(JSON.parse(block.data).data.v, ++this.heard);
                }
            } catch (error) {
                this.fault ??= error;
            }
        });
        this.socket.on('close', () => (this.fault ??= new Error('the connection broke off')));
    }
}

it(`${LISTENERS} listeners, ${WRITES_PER_S} writes a second for ${SECONDS} s`, async (t) => {
    const server = await startServer({ env: { TELEMETRYD_MAX_CONNECTIONS: '8000', TELEMETRYD_WORKERS: '2', TELEMETRYD_LOG_LEVEL: 'warn' } });
    t.after(() => server.stop());
    const listeners = [];
    while (listeners.length < LISTENERS) {
        listeners.push(new Listener(server.port));
        if (listeners.length % 200 === 0)
            await waitFor(() => listeners.every(({ begun, fault }) => begun || fault), 'so many have begun');
    }
    assert.deepEqual(listeners.filter(({ fault }) => fault).map(({ fault }) => fault.message), []);
    const began = performance.now();
    for (let v = 1; v <= SECONDS * WRITES_PER_S; v++) {
        await server.post('d1', { v });
        await sleep(Math.max(0, began + v * 1000 / WRITES_PER_S - performance.now()));
    }
    const all = SECONDS * WRITES_PER_S;
    await waitFor(() => listeners.every(({ heard, fault }) => heard >= all || fault), 'all have heard all');
    await sleep(300);
    const faults = listeners.filter(({ fault }) => fault).map(({ fault }) => fault.message);
    const counts = new Set(listeners.map(({ heard }) => heard));
    listeners.forEach(({ socket }) => socket.destroy());
    assert.deepEqual(faults, []);
    assert.deepEqual([...counts], [all]);
});
