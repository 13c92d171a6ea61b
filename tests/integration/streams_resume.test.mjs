// A listener that is cut off again and again, anywhere, also in the middle of an event, and whose server dies now and then: what it has
// heard in the end is what was stored, each reading once and in order.

import assert from 'node:assert/strict';
import net from 'node:net';
import { join } from 'node:path';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startServer } from '../support/server.mjs';
import { SseParser } from '../support/sse.mjs';
import { tempDirectory } from '../support/temp.mjs';

const CUTS = 200;
const KILL_EVERY = 10;
const DEVICES = ['a', 'b'];

/** The same cuts in every run. */
function generator(seed) {
    let state = seed;
    return (below) => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return Math.floor(state / 2 ** 32 * below);
    };
}

/** Listens until so many bytes have come, or `stop` settles, and returns the blocks that came whole. */
function listen(port, id, bytes, stop) {
    return new Promise((resolve, reject) => {
        const parser = new SseParser();
        const blocks = [];
        let text = Buffer.alloc(0);
        let body = 0; // how far of it was parsed
        const socket = net.connect(port, '127.0.0.1', () => socket.write(
            `GET /telemetry/stream?devices=${DEVICES.join(',')}&from=now-1h HTTP/1.0\r\n${id ? `Last-Event-ID: ${id}\r\n` : ''}\r\n`));
        socket.on('data', (chunk) => {
            text = Buffer.concat([text, chunk]).subarray(0, bytes);
            const head = text.indexOf('\r\n\r\n');
            if (head >= 0) {
                try {
                    assert.match(text.subarray(0, head).toString(), /^HTTP\/1\.[01] 200 /);
                    blocks.push(...parser.push(text.subarray(Math.max(body, head + 4))));
                } catch (error) {
                    reject(error);
                }
                body = text.length;
            }
            if (text.length === bytes)
                socket.destroy();
        });
        socket.on('error', () => {});
        socket.on('close', () => resolve(blocks));
        stop.then(() => socket.destroy());
    });
}

it(`${CUTS} cuts, a server killed at every ${KILL_EVERY}th, nothing lost and nothing twice`, async (t) => {
    const data = join(tempDirectory(), 'data.db');
    const random = generator(20261124);
    let server = await startServer({ data });
    t.after(() => server.stop());
    const stored = { a: [], b: [] }; // acknowledged
    const doubtful = new Set(); // no answer came: stored or not
    let next = 1;
    let writing = true;
    const write = async () => {
        while (writing) {
            const device = DEVICES[random(2)];
            const vs = Array.from({ length: 1 + random(4) }, () => next++);
            try {
                await server.post(device, vs.map((v) => ({ v })));
                stored[device].push(...vs);
            } catch {
                for (const v of vs) {
                    doubtful.add(v);
                    stored[device].push(v);
                }
                await sleep(20);
            }
            if (random(3) === 0)
                await sleep(random(10));
        }
    };
    const writer = write();

    const heard = { a: [], b: [] };
    let id;
    const take = (blocks) => {
        for (const block of blocks) {
            if (block.id !== undefined)
                id = block.id;
            assert.notEqual(block.event, 'resync');
            if (block.event === 'reading') {
                const { deviceId, data: { v } } = JSON.parse(block.data);
                heard[deviceId].push(v);
            }
        }
    };
    for (let cut = 1; cut <= CUTS; cut++) {
        const time = sleep(5 + random(60));
        const listening = listen(server.port, id, 300 + random(6000), time);
        if (cut % KILL_EVERY === 0) {
            await sleep(random(30));
            await server.killHard();
            server = await startServer({ data });
        }
        take(await listening);
    }
    writing = false;
    await writer;
    const there = {};
    for (const device of DEVICES)
        there[device] = (await server.readAll(`/devices/${device}/telemetry?order=asc&limit=1000`)).readings.map(({ data: { v } }) => v);
    const until = Date.now() + 20_000;
    while (DEVICES.some((device) => heard[device].at(-1) !== there[device].at(-1)) && Date.now() < until)
        take(await listen(server.port, id, Infinity, sleep(300)));

    for (const device of DEVICES) {
        assert.deepEqual(there[device].filter((v) => !doubtful.has(v)), stored[device].filter((v) => !doubtful.has(v)), 'what was acknowledged is stored');
        assert.deepEqual(heard[device], there[device], `device ${device}`);
        assert.ok(there[device].length > 300, `${there[device].length} readings`);
    }
});
